"""Nodes that are Docker Engines."""

from service.drivers.docker.engine import DockerEngine

__all__ = ["DockerEngine"]
