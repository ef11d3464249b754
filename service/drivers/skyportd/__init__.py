"""Nodes that run Skyport's daemon. Only here are its protocol and its spelling known."""

from service.drivers.skyportd.daemon import Skyportd

__all__ = ["Skyportd"]
