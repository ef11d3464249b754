"""Booleans: true and false alone beyond the reference's paths; there, what stands for them too."""

import pytest

from tests.support import DEPLOY, a_body, told

NEAR = [1, 0, 1.0, "true", "yes", "on", "False", "0", "maybe", [], {}]


def an_image_body(**variable):
    """Make the body of an image with one variable."""
    return {"Name": "b", "Image": "registry.example.org/b:1", "Variables": {"V": variable}}


@pytest.mark.parametrize("value", NEAR)
@pytest.mark.parametrize("field", ["queue", "autoStart"])
def test_a_new_instance_takes_true_and_false_alone(api, look, place, field, value):
    """
    All else is a 400 that names the field once, and nothing is stored.
    """
    before = look()

    answer = api.post("/api/instances", a_body(place, **{field: value}))

    assert (400, "invalid_input", [field]) == told(answer)
    assert ["Not a valid boolean."] == answer.json["details"][field]
    assert before == look()


@pytest.mark.parametrize("value", NEAR)
def test_a_change_takes_true_and_false_alone(api, look, ready, value):
    """
    Of an instance, and of what a reinstallation keeps: its files are not lost by a misreading.
    """
    before = look()

    answers = [
        api.send("PATCH", f"/api/instances/{ready}", json={"autoStart": value}),
        api.post(f"/api/instances/{ready}/reinstall", {"keepVolume": value}),
    ]

    assert [["autoStart"], ["keepVolume"]] == [list(each.json["details"]) for each in answers]
    assert [400, 400] == [each.status for each in answers]
    assert before == look()


@pytest.mark.parametrize("value", NEAR)
@pytest.mark.parametrize("field", ["required", "secret"])
def test_an_images_variables_take_true_and_false_alone(api, store, field, value):
    """
    The flags of variables, deep in the body, too.
    """
    before = store.images.all()

    answer = api.post("/api/images", an_image_body(**{field: value}))

    assert (400, ["Variables"]) == (answer.status, list(answer.json["details"]))
    assert field in str(answer.json["details"])
    assert before == store.images.all()


@pytest.mark.parametrize("value", NEAR)
def test_a_node_takes_true_and_false_alone(api, store, value):
    """
    `allowSameEngine`, which was strict from the start, is at both addresses.
    """
    body = {"name": "n", "driver": "docker", "address": "10.1.2.3", "allowSameEngine": value}

    answers = [api.post(path, body) for path in ("/api/nodes", "/api/nodes/create")]

    assert [(400, "invalid_input")] * 2 == [told(each)[:2] for each in answers]
    assert all("allowSameEngine" in each.json["details"] for each in answers)
    assert 0 == store.nodes.count()


@pytest.mark.parametrize("value", [1, "true", "yes", 0, "False", True, None])
def test_the_references_deploy_takes_what_stands_for_them(api, place, value):
    """
    As before.
    """
    answer = api.post(DEPLOY, a_body(place, queue=value, autoStart=value))

    assert 201 == answer.status


def test_null_is_no_word_where_it_was(api, place):
    """
    It is the default of a new instance.
    """
    answer = api.post("/api/instances", a_body(place, queue=None, autoStart=None))

    assert (202, True) == (answer.status, answer.json["autoStart"])
