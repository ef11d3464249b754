"""Which events a change is."""

from typing import get_type_hints

import pytest

from service.model.documents import Image, Instance, Key, Node, Operation, User, Webhook
from service.model.events import KINDS, SILENT, TYPES, name_update

DOCUMENTS = {
    "instance": Instance,
    "operation": Operation,
    "node": Node,
    "user": User,
    "image": Image,
    "key": Key,
    "webhook": Webhook,
}
FIELDS = [
    (kind, field)
    for kind, document in DOCUMENTS.items()
    for field in get_type_hints(document)
    if field not in SILENT[kind]
]


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_every_field_is_told(kind, field):
    """A field of a document is named as one that tells nobody anything, or changes are an event."""
    named = name_update(kind, {field: "another"}) or name_update(kind, {}, [field])

    assert [] != named


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        ("instance", {"state": "READY", "container_id": "c"}, ["instance.ready"]),
        ("instance", {"state": "FAILED", "error": "e"}, ["instance.failed"]),
        ("instance", {"power": "stopped"}, ["instance.power"]),
        ("instance", {"state": "READY", "power": "running"}, ["instance.ready", "instance.power"]),
        ("instance", {"power": "stopped", "exit_code": 1, "oom_killed": False}, ["instance.power"]),
        ("instance", {"power": "running", "started_at": 1}, ["instance.power"]),
        ("instance", {"restarts": 1, "started_at": 1}, ["instance.power"]),
        ("instance", {"suspended": True}, ["instance.suspended"]),
        ("instance", {"suspended": False}, ["instance.unsuspended"]),
        ("instance", {"name": "n"}, ["instance.updated"]),
        ("instance", {"state": "READY", "name": "n"}, ["instance.ready", "instance.updated"]),
        ("instance", {"container_id": "c"}, ["instance.updated"]),
        ("instance", {"updated_at": 1, "revision": 2, "changed_by": None}, []),
        ("operation", {"status": "running", "lease": {}, "attempts": 1}, ["operation.running"]),
        ("operation", {"lease.until": 1}, []),
        ("operation", {"steps.0.ended_at": 1}, ["operation.step"]),
        ("operation", {"cancel_requested": True}, ["operation.updated"]),
        ("node", {"status": "Offline", "probe_error": "e"}, ["node.offline"]),
        ("node", {"probed_at": 1, "probing": None, "last_seen_at": 2}, []),
        ("node", {"allocated.memory_mib": 1}, ["node.allocated"]),
        ("node", {"labels": {}}, ["node.updated"]),
        ("key", {"digest": "d", "prefix": "p"}, ["key.rotated"]),
        ("key", {"last_used_at": 1}, []),
        ("user", {"email": "e", "email_key": "e"}, ["user.updated"]),
        ("webhook", {"enabled": False, "disabled": {}, "updated_at": 1}, ["webhook.disabled"]),
        ("webhook", {"enabled": True, "disabled": None}, ["webhook.enabled"]),
        ("webhook", {"secret": "s", "retiring": {}}, ["webhook.rotated"]),
        ("webhook", {"url": "u"}, ["webhook.updated"]),
    ],
)
def test_a_change_has_its_names(kind, values, named):
    """What is written beside other things is no event of its own; what workers keep is none."""
    assert named == name_update(kind, values)


def test_a_field_that_is_gone_is_a_change():
    """To take a field away is a change of it."""
    assert ["user.updated"] == name_update("user", {}, ["labels"])


def test_all_names_are_known():
    """Whatever a change is named is in the catalogue."""
    named = {
        name
        for kind, field in FIELDS
        for value in ("READY", "running", "Online", True, False)
        for name in name_update(kind, {field: value})
    }
    made = {f"{kind}.{end}" for kind in KINDS.values() for end in ("created",)}

    assert set() == (named | made) - TYPES.keys()
