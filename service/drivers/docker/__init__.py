"""Nodes that are Docker Engines."""
