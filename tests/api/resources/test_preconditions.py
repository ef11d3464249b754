"""`If-Match`: a resource is changed only while it is as its editor has read it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from service import images, instance_changes, key_edits, keys, node_edits, users
from service.errors import NotFound, PreconditionFailed
from service.model.lifecycle import Power
from service.model.node_policy import NodePolicy
from service.model.precondition import Precondition, name_state
from tests.support import AT_NOON, NOON, a_user, an_image, told

NOUNS = ("users", "images", "nodes", "instances", "keys")
EDITS = {
    "users": {"username": "somebody"},
    "images": {"Description": "new"},
    "nodes": {"name": "another"},
    "instances": {"name": "another"},
    "keys": {"name": "another"},
}


@pytest.fixture
def paths(store, ready, node):
    """The address of a resource of each noun."""
    key, _ = keys.create(store, name="a key", now=NOON)
    ids = {
        "users": a_user(store)["_id"],
        "images": an_image(store)["_id"],
        "nodes": node["_id"],
        "instances": ready,
        "keys": key["_id"],
    }
    return {noun: f"/api/{noun}/{document_id}" for noun, document_id in ids.items()}


def read(api, path):
    """Return the ETag of a resource."""
    return api.get(path).headers["ETag"]


def edit(api, path, etag, body):
    """Change a resource that is as it was read."""
    return api.send("PATCH", path, json=body, headers={"If-Match": etag})


@pytest.mark.parametrize("noun", NOUNS)
def test_of_two_edits_of_one_state_the_first_is_done(api, paths, noun):
    """The second is refused, changes nothing, and succeeds with the new ETag."""
    path, body = paths[noun], EDITS[noun]
    etag = read(api, path)
    first = edit(api, path, etag, body)
    before = api.get(path).json
    second = edit(api, path, etag, dict.fromkeys(body, "lost"))

    assert (200, (412, "precondition_failed", ["ifMatch"])) == (first.status, told(second))
    assert before == api.get(path).json
    assert 200 == edit(api, path, read(api, path), dict.fromkeys(body, "kept")).status


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize("etag", ['"other"', "W/{}", '""'])
def test_what_is_not_its_etag_deletes_nothing(api, paths, noun, etag):
    """Nor does its own, made weak."""
    path = paths[noun]
    answer = api.send("DELETE", path, headers={"If-Match": etag.format(read(api, path))})

    assert (412, 200) == (answer.status, api.get(path).status)


@pytest.mark.parametrize("noun", ["users", "images", "keys"])
@pytest.mark.parametrize("form", ["{}", "*"])
def test_what_is_as_it_was_read_is_deleted(api, paths, noun, form):
    """With its ETag, or whatever it is."""
    path = paths[noun]

    answer = api.send("DELETE", path, headers={"If-Match": form.format(read(api, path))})

    assert answer.status in (200, 204)
    assert 404 == api.get(path).status


@pytest.mark.parametrize("action", ["suspend", "unsuspend"])
def test_an_instance_that_was_changed_is_not_suspended(api, store, paths, action):
    """Nor unsuspended, at the reference's paths too."""
    path, etag = paths["instances"], read(api, paths["instances"])
    edit(api, path, etag, EDITS["instances"])
    there, instance_id = path.rsplit("/", 1)
    before = store.instances.get(instance_id)

    answer = api.post(f"{there}/{action}/{instance_id}", headers={"If-Match": etag})

    assert (412, before) == (answer.status, store.instances.get(instance_id))


@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill", "reinstall"])
def test_an_instance_that_was_changed_is_left_alone(api, store, paths, action):
    """No operation is made."""
    path, etag = paths["instances"], read(api, paths["instances"])
    edit(api, path, etag, EDITS["instances"])
    count = len(store.operations.all())

    answer = api.post(f"{path}/{action}", headers={"If-Match": etag})

    assert (412, count) == (answer.status, len(store.operations.all()))


def test_a_key_that_was_changed_is_not_rotated(api, paths):
    """Its value works on."""
    path, etag = paths["keys"], read(api, paths["keys"])
    edit(api, path, etag, EDITS["keys"])

    assert 412 == api.post(f"{path}/rotate", headers={"If-Match": etag}).status


def test_an_image_is_replaced_as_it_was_read(api, paths):
    """And only so."""
    path, body = paths["images"], {"Name": "one", "Image": "i:1"}
    etag = read(api, path)
    first = api.send("PUT", path, json=body, headers={"If-Match": etag})
    second = api.send("PUT", path, json={**body, "Name": "two"}, headers={"If-Match": etag})

    assert (200, 412, "one") == (first.status, second.status, api.get(path).json["Name"])


@pytest.mark.heavy
def test_what_is_only_observed_refuses_no_edit(api, store, paths):
    """Probes, deploys and the use of a key change nothing that an editor would overwrite."""
    etags = {noun: read(api, path) for noun, path in paths.items()}
    ids = {noun: path.rpartition("/")[2] for noun, path in paths.items()}
    store.probes.claim("t", interval_s=0, lease_s=30)
    store.probes.end(ids["nodes"], "t", seen_at=NOON)
    store.nodes.update(ids["nodes"], {"status": "Offline", "probe_error": "away"})
    store.instances.update(ids["instances"], {"power": Power.STOPPED})
    store.keys.touch(ids["keys"], now=NOON, unless_since=NOON)
    store.transaction(lambda session: store.users.count_key(ids["users"], session=session))
    store.images.mark_deleting(ids["images"], now=NOON)

    answers = {
        noun: edit(api, path, etags[noun], EDITS[noun]).status for noun, path in paths.items()
    }

    assert dict.fromkeys(NOUNS, 200) == answers


def test_an_etag_is_of_the_resource_whoever_reads_it(api, store, paths):
    """One that a key read that is limited, and sees less, is the other's as well."""
    [instance] = store.instances.all()
    grant = {"scopes": ["instances:read"], "user_id": instance["user_id"]}
    _, value = keys.create(store, name="limited", grant=grant, now=NOON)
    seen = api.get(paths["instances"], headers={"x-api-key": value})

    assert 200 == edit(api, paths["instances"], seen.headers["ETag"], {"name": "another"}).status


def test_an_image_that_is_not_deleted_can_be_deployed(store):
    """Also when it was changed between the check and the deletion's mark."""
    image = an_image(store)
    only_if = Precondition(frozenset({"other"}))

    class Passing(Precondition):
        """What holds at the first look, and not in the transaction."""

        def check(self, document):
            if "deleting_at" in document:
                only_if.check(document)

    with pytest.raises(PreconditionFailed):
        images.delete(store, image["_id"], only_if=Passing(), now=NOON)

    assert "deleting_at" not in store.images.get(image["_id"])


def change_name(store, noun, document, name):
    """Change a name, if the document is as it was read."""
    only_if = Precondition(frozenset({name_state(document)}))
    match noun:
        case "users":
            users.edit(store, document["_id"], {"username": name}, only_if=only_if, now=NOON)
        case "keys":
            key_edits.edit(
                store, document, document["_id"], {"name": name}, only_if=only_if, now=NOON
            )
        case "nodes":
            node_edits.edit(
                store, None, document["_id"], {"name": name},
                policy=NodePolicy(), only_if=only_if, now=NOON,
            )  # fmt: skip
        case "instances":
            instance_changes.edit(
                store, document["_id"], {"name": name}, only_if=only_if, origin=AT_NOON
            )
        case "images":
            images.change(
                store,
                document["_id"],
                lambda image: {"name": name, "image": image["image"]},
                only_if=only_if,
                now=NOON,
            )


@pytest.mark.parametrize("noun", NOUNS)
def test_of_editors_who_race_one_wins(store, paths, noun):
    """Whoever read the same state; and what the winner wrote is what is stored."""
    collection = getattr(store, noun)
    document = collection.get(paths[noun].rpartition("/")[2])
    names = [f"editor-{number}" for number in range(8)]

    def attempt(name):
        try:
            change_name(store, noun, document, name)
        except PreconditionFailed:
            return None
        return name

    with ThreadPoolExecutor(len(names)) as pool:
        won = [name for name in pool.map(attempt, names) if name is not None]

    stored = collection.get(document["_id"])
    assert won == [stored["username" if noun == "users" else "name"]]


@pytest.mark.heavy
def test_of_an_edit_and_a_deletion_that_race_one_wins(store, paths):
    """A deletion takes nothing away that it has not seen."""
    for _ in range(5):
        user = a_user(store)
        only_if = Precondition(frozenset({name_state(user)}))

        def attempt(change, only_if=only_if):
            try:
                change(only_if)
            except (PreconditionFailed, NotFound):
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            done = list(
                pool.map(
                    attempt,
                    [
                        lambda only_if, user=user: users.delete(
                            store, user["_id"], only_if=only_if
                        ),
                        lambda only_if, user=user: users.edit(
                            store, user["_id"], {"admin": True}, only_if=only_if, now=NOON
                        ),
                    ],
                )
            )

        assert 1 == sum(done)


def test_every_change_of_one_resource_takes_if_match(api):
    """The document says so, and describes the 412."""
    changes = {
        (path, method): operation
        for path, operations in api.get("/openapi.json").json["paths"].items()
        for method, operation in operations.items()
        if method in ("patch", "put", "delete") and path.endswith("_id}")
    }
    without = [
        place
        for place, operation in changes.items()
        if {"$ref": "#/components/parameters/IfMatch"} not in operation.get("parameters", [])
        or "412" not in operation["responses"]
    ]

    assert (13, []) == (len(changes), without)
