"""This machine itself as a node: instances are processes, for trying Skyquay without Docker."""

from service.drivers.process.runner import ProcessRunner

__all__ = ["ProcessRunner"]
