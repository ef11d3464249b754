"""This machine itself as a node: instances are processes, for trying Skyquay without Docker."""
