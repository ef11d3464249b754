"""Nodes that run Skyport's daemon. Only here are its protocol and its spelling known."""
