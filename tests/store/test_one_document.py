"""Store code that touches one document at a time, on mongomock: no database is needed.

It has no transactions, no pipelines in updates and no partial indexes, and nothing of it is atomic:
whatever depends on one of these is tested on MongoDB itself.
"""

from datetime import timedelta

import mongomock
import pytest

from service.errors import NotFound
from service.store.images import Images
from service.store.keys import Keys
from service.store.read_cache import ReadCache
from service.store.users import Users
from tests.support import NOON


@pytest.fixture
def database():
    """A database in memory."""
    return mongomock.MongoClient(tz_aware=True)["x"]


@pytest.fixture
def users(database):
    """A user, and the collection."""
    users = Users(database["users"])
    users.add({"_id": "u1", "email_key": "ada@example.org", "username_key": "ada",
               "password_hash": "first", "created_at": NOON})  # fmt: skip
    return users


@pytest.fixture
def images(database):
    """The images."""
    return Images(database["images"])


def an_image(image_id, **over):
    """Make an image."""
    return {"_id": image_id, "name": image_id, "image": "web:1", "alt_images": [],
            "created_at": NOON, **over}  # fmt: skip


def test_a_user_is_found_in_any_letter_case(users):
    """By name and by e-mail address."""
    found = [users.find_by_email("Ada@Example.org"), users.find_by_username("ADA")]

    assert ["u1", "u1"] == [user["_id"] for user in found]


def test_what_is_not_there_is_none_or_an_error(users):
    """`find` returns None; `get` raises, and names the field that was sent."""
    with pytest.raises(NotFound) as caught:
        users.get("u2", field="userId")

    assert (None, ["userId"]) == (users.find("u2"), list(caught.value.details))


def test_what_may_not_be_seen_is_not_there(database, users):
    """Neither by its id nor in the list."""
    others = Users(database["users"], only={"_id": "u2"})

    assert (None, []) == (others.find("u1"), others.all())


@pytest.mark.parametrize(("only_if", "kept"), [(None, "new"), ("first", "new"), ("other", "first")])
def test_a_password_is_replaced_unless_it_changed(users, only_if, kept):
    """A hash that another request replaced meanwhile stays."""
    users.set_password_hash("u1", "new", only_if=only_if, now=NOON)

    assert kept == users.get("u1")["password_hash"]


def test_an_image_of_the_same_name_is_replaced(images):
    """It keeps its id and the time at which it was made."""
    images.put(an_image("i1", name="web"))

    stored = images.put(
        an_image("i2", name="web", image="web:2", created_at=NOON + timedelta(days=1))
    )

    assert ("i1", "web:2", NOON) == (stored["_id"], stored["image"], stored["created_at"])
    assert [stored] == images.all()


@pytest.mark.parametrize("reference", ["i1", "web", "web:1", "web:latest"])
def test_an_image_matches_by_all_that_names_it(images, reference):
    """Its id, its name, its container image and the others that it may have."""
    images.put(an_image("i1", name="web", alt_images=["web:latest"]))
    images.put(an_image("i2", image="db:1"))

    assert ["i1"] == [image["_id"] for image in images.list_matching(reference)]


def test_a_list_begins_with_the_oldest(images):
    """What was made at the same time is in the order of the ids."""
    for image_id, days in (("i3", 0), ("i1", 1), ("i2", 0)):
        images.put(an_image(image_id, created_at=NOON + timedelta(days=days)))

    assert ["i2", "i3", "i1"] == [image["_id"] for image in images.all()]


def test_a_key_is_found_by_its_digest(database):
    """And by nothing else."""
    keys = Keys(database["keys"], cache=ReadCache())
    keys.add({"_id": "k1", "digest": "d1", "created_at": NOON})

    assert ("k1", None) == (keys.find_by_digest("d1")["_id"], keys.find_by_digest("k1"))
