"""Skyquay, a control plane for containers that people host themselves.

A request enters through a **blueprint**, is loaded by a **schema**, becomes one call to a **use
case**, which reads and writes documents in the **store**; whatever a node must do becomes an
**operation**, which a **worker** carries out through a **driver**. The answer is shaped by the
schema that documents it.

Imports go one way only: ``api`` -> use cases -> ``store``, and ``worker`` -> ``drivers``. Only
``store`` knows pymongo, only ``api`` knows Flask, only ``contract`` the wire, only a driver its
node's protocol, and only ``app`` and ``cli`` wire them together.
``tests/test_imports.py`` checks it.
"""
