"""The catalogue over HTTP."""

from tests.support import an_image


def test_a_fresh_catalogue_is_empty(api):
    """
    Without images the list is empty, and a list.
    """
    answer = api.get("/api/images")

    assert (200, []) == (answer.status, answer.json)


def test_images_are_listed_in_full(api, store):
    """
    The list is a bare array with all that clients copy of an image, spelled as they read it.
    """
    image = an_image(
        store,
        name="Paper",
        image="quay.io/skyport/java:21",
        alt_images=["quay.io/skyport/java:21", "quay.io/skyport/java:17"],
        env=["EULA=true"],
        cmd=["java", "-jar", "server.jar"],
        variables={"VERSION": {"type": "text", "default": "1.21", "required": True}},
        stop_command="stop",
        description="A game.",
        author="ada@example.org",
        author_name="Ada",
        meta={"version": "1"},
        features=["eula"],
        process=False,
    )

    answer = api.get("/api/images")

    assert (200, [
        {
            "Id": image["_id"],
            "Name": "Paper",
            "Image": "quay.io/skyport/java:21",
            "AltImages": ["quay.io/skyport/java:21", "quay.io/skyport/java:17"],
            "Env": ["EULA=true"],
            "Cmd": ["java", "-jar", "server.jar"],
            "Scripts": {"Install": []},
            "Variables": {"VERSION": {"type": "text", "default": "1.21", "required": True}},
            "StopCommand": "stop",
            "Description": "A game.",
            "Author": "ada@example.org",
            "AuthorName": "Ada",
            "Meta": {"version": "1"},
            "features": ["eula"],
            "process": False,
            "ready": None,
            "ports": [],
        }
    ]) == (answer.status, answer.json)  # fmt: skip


def test_images_that_share_a_container_image_are_all_listed(api, store):
    """
    Two entries of one container image are two images with ids of their own.
    """
    for name in ("Spigot", "Paper"):
        an_image(store, name=name, image="quay.io/skyport/java:21")

    answer = api.get("/api/images")

    assert ({"Paper", "Spigot"}, 2) == (
        {image["Name"] for image in answer.json},
        len({image["Id"] for image in answer.json}),
    )


def test_the_catalogue_needs_a_key(api):
    """
    Without a key nobody sees the catalogue.
    """
    answer = api.get("/api/images", headers={"x-api-key": ""})

    assert (401, "unauthorized") == (answer.status, answer.json["code"])
