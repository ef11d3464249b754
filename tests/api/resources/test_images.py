"""Images as resources: create, replace, edit, delete, import and export."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import images, keys
from service.app import utc_now
from service.contract.image_files import ImageFile
from service.contract.images import ImageFileAnswer
from service.model.documents import new_image
from tests.support import DEPLOY, NOON, a_deploy, an_image, told

IMAGES = "/api/images"
DOCUMENT = {
    "Name": "Paper",
    "Image": "java:21",
    "AltImages": ["java:21", "java:17"],
    "Env": ["EULA=true"],
    "Cmd": ["java", "-jar", "server.jar"],
    "Scripts": {"Install": [{"Uri": "https://example.org/server.jar", "Path": "server.jar"}]},
    "Variables": {"VERSION": {"type": "text", "default": "1.21", "required": True}},
    "StopCommand": "stop",
    "Description": "A game.",
    "Author": "ada@example.org",
    "AuthorName": "Ada",
    "Meta": {"version": 1, "tags": ["a"], "$odd.name": None},
    "features": ["eula"],
    "ready": {"log": "Done (", "timeout": 600},
    "process": False,
    "ports": [],
}
SECRET = {"TOKEN": {"type": "text", "default": "hush", "required": False, "secret": True}}
WRONG = [
    ({"Name": ""}, "Name"),
    ({"Image": None}, "Image"),
    ({"Env": ["no assignment"]}, "Env"),
    ({"Cmd": [1]}, "Cmd"),
    ({"Variables": {"a b": {}}}, "Variables"),
    ({"Variables": {"A": {"requird": True}}}, "Variables"),
    ({"Scripts": {"Install": [{"Uri": "ftp://x", "Path": "x"}]}}, "Scripts"),
    ({"Meta": {"a\0": 1}}, "Meta"),
    ({"Meta": {"a": 2**63}}, "Meta"),
    ({"process": True}, "process"),
    ({"process": 0}, "process"),
    ({"ready": {"port": "udp"}}, "ready"),
    ({"ready": {"prot": True}}, "ready"),
    ({"Scripts": [None]}, "Scripts"),
    ({"Variables": {"A": [None]}}, "Variables"),
    ({"Nmae": "Paper"}, "Nmae"),
]


@pytest.fixture
def made(api):
    """The answer of an image that was created."""
    return api.post(IMAGES, DOCUMENT)


def export(api, image_id):
    """Export an image."""
    return api.get(f"{IMAGES}/{image_id}/export").json


def test_an_image_is_created(api, made):
    """It is answered as it is listed, with its address."""
    assert (201, f"{IMAGES}/{made.json['Id']}") == (made.status, made.headers["Location"])
    assert [{**DOCUMENT, "Id": made.json["Id"]}] == [made.json] == api.get(IMAGES).json


@pytest.mark.parametrize(("over", "field"), WRONG)
def test_a_wrong_field_is_named_and_nothing_is_stored(api, look, over, field):
    """Of a new image."""
    answer = api.post(IMAGES, {**DOCUMENT, **over})

    assert (400, [field]) == (answer.status, list(answer.json["details"]))
    assert [] == look()["images"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(("over", "field"), WRONG)
def test_a_wrong_field_of_a_change_is_named(api, made, look, method, over, field):
    """Nothing is changed then."""
    before = look()

    body = {**DOCUMENT, **over} if method == "PUT" else over
    answer = api.send(method, f"{IMAGES}/Paper", json=body)

    assert (400, [field], before) == (answer.status, list(answer.json["details"]), look())


def test_all_wrong_fields_are_named_at_once(api):
    """Unknown ones with what may have been meant."""
    answer = api.post(IMAGES, {"Nmae": "x", "Env": 1})

    assert {"Name", "Image", "Env", "Nmae"} == answer.json["details"].keys()
    assert "Did you mean 'Name'?" in answer.json["details"]["Nmae"][0]


def test_a_name_is_taken_once(api, made, store):
    """By a new image, and by one that is renamed."""
    other = an_image(store, name="Spigot")

    answers = [
        api.post(IMAGES, DOCUMENT),
        api.send("PATCH", f"{IMAGES}/{other['_id']}", json={"Name": "Paper"}),
        api.send("PUT", f"{IMAGES}/{other['_id']}", json=DOCUMENT),
    ]

    assert [(409, "conflict", ["name"])] * 3 == [
        (answer.status, answer.json["code"], list(answer.json["details"])) for answer in answers
    ]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_an_unknown_image_is_a_404(api, look, method):
    """And nothing is made."""
    answer = api.send(method, f"{IMAGES}/nothing", json=DOCUMENT)

    assert (404, "image_not_found", []) == (answer.status, answer.json["code"], look()["images"])


def test_an_unknown_image_is_not_exported(api):
    """It is a 404 too."""
    assert 404 == api.get(f"{IMAGES}/nothing/export").status


def test_an_image_is_replaced(api, made):
    """It keeps its id; what the new document does not say is as in a new image."""
    answer = api.send("PUT", f"{IMAGES}/Paper", json={"Name": "Folia", "Image": "java:22"})

    listed = api.get(IMAGES).json
    assert (200, [answer.json]) == (answer.status, listed)
    assert (made.json["Id"], "Folia", ["java:22"], {}) == (
        answer.json["Id"],
        answer.json["Name"],
        answer.json["AltImages"],
        answer.json["Variables"],
    )


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_what_is_listed_replaces(api, made, method):
    """With its id, which must be the one of the address."""
    other = api.post(IMAGES, {**DOCUMENT, "Name": "Other"}).json

    body = {**made.json, "Author": "b", "Meta": {"version": 1, "tags": ["a"]}}

    fine = api.send(method, f"{IMAGES}/Paper", json=body)
    wrong = api.send(method, f"{IMAGES}/Paper", json={**body, "Id": other["Id"]})

    assert (200, made.json["Id"], "b") == (fine.status, fine.json["Id"], fine.json["Author"])
    assert (400, ["Id"]) == (wrong.status, list(wrong.json["details"]))


def test_an_image_is_edited(api, made):
    """By a merge patch: what is absent stays, null removes, objects are merged."""
    patch = {
        "StopCommand": None,
        "Variables": {"VERSION": {"default": 1.22}, "SEED": {}},
        "Meta": {"version": None, "$odd.name": [1]},
    }

    answer = api.send("PATCH", f"{IMAGES}/{made.json['Id']}", json=patch)

    assert 200 == answer.status
    assert {
        **made.json,
        "StopCommand": None,
        "Variables": {
            "VERSION": {"type": "text", "default": "1.22", "required": True},
            "SEED": {"type": "text", "default": None, "required": False},
        },
        "Meta": {"tags": ["a"], "$odd.name": [1]},
    } == answer.json


def test_a_new_container_image_is_the_one_to_choose(api):
    """Where no others were offered, the old one is not offered any more."""
    api.post(IMAGES, {"Name": "Echo", "Image": "echo:1"})

    answer = api.send("PATCH", f"{IMAGES}/Echo", json={"Image": "echo:2"})

    assert ["echo:2"] == answer.json["AltImages"]


def test_an_exact_id_wins(api, store):
    """Over an older image whose name it is."""
    an_image(store, name="decoy")
    image = an_image(store, name="meant")
    store.images._collection.update_one({"name": "decoy"}, {"$set": {"name": image["_id"]}})

    api.delete(f"{IMAGES}/{image['_id']}")

    assert [image["_id"]] == [left["name"] for left in store.images.all()]


def test_an_image_is_deleted(api, made):
    """The answer is empty; a second time it is unknown."""
    answers = [api.delete(f"{IMAGES}/Paper") for _ in range(2)]

    assert [204, 404] == [answer.status for answer in answers]
    assert (None, None) == (answers[0].json, answers[0].headers.get("Content-Type"))
    assert [] == api.get(IMAGES).json


def test_an_image_in_use_stays(api, place, look):
    """The answer has the number of its instances."""
    for port in (8080, 8081):
        api.post(DEPLOY, a_deploy(*place, ports=f"80:{port}", primary=port))

    answer = api.delete(f"{IMAGES}/{place[2]['_id']}")

    assert (409, "image_in_use", {"instances": 2}) == (
        answer.status,
        answer.json["code"],
        answer.json["details"],
    )
    assert [place[2]["_id"]] == [image["_id"] for image in look()["images"]]


def test_an_instance_stays_as_it_was_deployed(api, place, ready, store):
    """A change of its image does not reach it."""
    before = store.instances.get(ready)

    api.send("PATCH", f"{IMAGES}/{place[2]['_id']}", json={"process": False, "Cmd": "other"})

    assert before == store.instances.get(ready)


# Import and export


def test_an_image_document_is_imported(api):
    """Its oddities included, as on the command line; again it replaces, and keeps the id."""
    odd = {"Name": "Web", "Image": "web:1", "Env": {"A": 1}, "Cmd": "", "Other": 1}

    first, second = (api.post(f"{IMAGES}/import", {**odd, "Author": name}) for name in "ab")

    assert [201, 201] == [first.status, second.status]
    assert f"{IMAGES}/{first.json['Id']}" == second.headers["Location"]
    assert {**first.json, "Author": "b"} == second.json
    assert (["A=1"], None, ["web:1"]) == (
        second.json["Env"],
        second.json["Cmd"],
        second.json["AltImages"],
    )


@pytest.mark.parametrize(
    ("over", "field"), [case for case in WRONG if case[1] not in ("Nmae", "Variables")]
)
def test_what_is_no_image_document_is_not_imported(api, made, look, over, field):
    """The one that is there stays as it is."""
    before = look()

    answer = api.post(f"{IMAGES}/import", {**DOCUMENT, **over})

    assert (400, [field], before) == (answer.status, list(answer.json["details"]), look())


def test_what_is_exported_is_the_document(api, made):
    """Without the id, which is not a part of it."""
    assert DOCUMENT == export(api, "Paper") == export(api, made.json["Id"])


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)
VARIABLES = st.dictionaries(
    NAMES,
    st.fixed_dictionaries(
        {"type": TEXT, "default": st.none() | TEXT, "required": st.booleans()},
    ),
    max_size=3,
)
META = st.dictionaries(
    TEXT,
    st.recursive(
        st.none() | st.booleans() | TEXT | st.integers(-(2**63) + 1, 2**63 - 1),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
        max_leaves=4,
    ),
    max_size=3,
)
SCRIPT = st.fixed_dictionaries(
    {"Uri": st.just("https://example.org/a"), "Path": st.sampled_from(["a", "b.jar"])}
)
STORED = st.builds(
    dict,
    name=TEXT.filter(bool),
    image=TEXT.filter(bool),
    alt_images=st.lists(TEXT, min_size=1, max_size=2),
    env=st.lists(st.builds("{}={}".format, NAMES, TEXT), max_size=2),
    cmd=st.none() | TEXT.filter(bool) | st.lists(TEXT, min_size=1, max_size=3),
    scripts=st.fixed_dictionaries({"Install": st.lists(SCRIPT, max_size=2)}),
    variables=VARIABLES,
    stop_command=st.none() | TEXT,
    description=TEXT,
    author=TEXT,
    author_name=TEXT,
    meta=META,
    features=st.lists(TEXT, max_size=2),
    process=st.booleans(),
)


@given(fields=STORED)
def test_every_export_loads_as_what_was_exported(fields):
    """All of an image but its id and times is in the document."""
    image = new_image("i1", **fields, now=NOON)

    loaded = ImageFile().load(ImageFileAnswer.shape(image))

    assert image == new_image("i1", **loaded, now=NOON)


@pytest.mark.heavy
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=STORED)
def test_an_export_that_is_imported_changes_nothing(api, store, database, fields):
    """Nor does one that runs as a process, and whose secret no document has."""
    database["images"].delete_many({})
    fields["variables"] = {**fields["variables"], **SECRET}
    image = images.put(store, fields, now=NOON)

    answer = api.post(f"{IMAGES}/import", export(api, image["_id"]))

    assert 201 == answer.status
    touched = {"updated_at": None, "revision": None, "changed_by": None}
    assert {**image, **touched} == {**store.images.get(image["_id"]), **touched}


# Secret defaults and images that run as processes


def test_the_default_of_a_secret_is_never_answered(api):
    """Neither by a change, nor in the list, the document or the audit log."""
    answers = [
        api.post(IMAGES, {**DOCUMENT, "Variables": SECRET}),
        api.get(IMAGES),
        api.get(f"{IMAGES}/Paper/export"),
        api.send("PATCH", f"{IMAGES}/Paper", json={"Author": "x"}),
        api.get("/api/audit"),
    ]

    assert [True] * 5 == [
        answer.status < 300 and "hush" not in str(answer.json) for answer in answers
    ]


@pytest.mark.parametrize(
    ("default", "kept"), [(None, "hush"), ("", ""), ("new", "new")], ids=["none", "empty", "new"]
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_secret_default_stays_until_another_is_sent(api, store, method, default, kept):
    """Who changes an image cannot repeat what he cannot read."""
    api.post(IMAGES, {**DOCUMENT, "Variables": SECRET})

    variables = {"TOKEN": {**SECRET["TOKEN"], "default": default}}
    answer = api.send(method, f"{IMAGES}/Paper", json={**DOCUMENT, "Variables": variables})

    [image] = store.images.all()
    assert (200, kept) == (answer.status, image["variables"]["TOKEN"]["default"])


@pytest.mark.parametrize(
    "change",
    [
        {"Cmd": "evil"},
        {"Image": "evil"},
        {"Env": ["LD_PRELOAD=x"]},
        {"Variables": {"LD_PRELOAD": {}}},
        {"StopCommand": "evil"},
    ],
)
@pytest.mark.parametrize("way", ["PUT", "PATCH", "import"])
def test_what_runs_as_a_process_is_not_changed(api, store, look, change, way):
    """Only an operator on the machine says what runs there."""
    image = an_image(store, name="Web", cmd="good", variables={}, process=True)
    before, whole = look(), {**export(api, "Web"), **change}

    answer = (
        api.post(f"{IMAGES}/import", whole)
        if way == "import"
        else api.send(way, f"{IMAGES}/{image['_id']}", json=change if way == "PATCH" else whole)
    )

    assert (400, ["process"], before) == (answer.status, list(answer.json["details"]), look())


def test_what_is_said_of_a_process_may_be_changed(api, store):
    """Its name and its description run nothing."""
    an_image(store, name="Web", process=True)

    answer = api.send("PATCH", f"{IMAGES}/Web", json={"Name": "Webs", "Description": "Serves."})

    assert (200, "Webs", True) == (answer.status, answer.json["Name"], answer.json["process"])


# Keys and the audit log


def test_a_limited_key_changes_no_image(api, store, made):
    """Even one with all scopes: the catalogue is everybody's."""
    grant = {"scopes": ["*"], "node_ids": ["n1"]}
    limited = replace(api, key=keys.create(store, name="k", grant=grant, now=NOON)[1])

    answer = limited.delete(f"{IMAGES}/Paper")

    assert (403, ["images:write"]) == (answer.status, answer.json["details"]["scope"])


def test_changes_are_in_the_audit_log(api):
    """With the image before and after, by its id also where it was named."""
    made = api.post(IMAGES, DOCUMENT).json
    api.send("PATCH", f"{IMAGES}/Paper", json={"Author": "b"})
    api.post(f"{IMAGES}/import", {**DOCUMENT, "Author": "c"})
    api.delete(f"{IMAGES}/Paper")

    entries = api.get("/api/audit").json["entries"]
    seen = [
        (
            entry["action"].partition(".")[2],
            entry["target"],
            (entry["before"] or {}).get("Author"),
            (entry["after"] or {}).get("Author"),
        )
        for entry in entries
    ]
    ada = "ada@example.org"
    assert [
        ("delete_image", made["Id"], "c", None),
        ("import_image", made["Id"], "b", "c"),
        ("edit_image", made["Id"], ada, "b"),
        ("create_image", made["Id"], None, ada),
    ] == seen


@pytest.mark.parametrize("key", ["_id", "name"])
def test_an_image_is_read_by_its_id_and_by_its_name(api, store, key):
    """
    It is as in the list.
    """
    image = an_image(store, name="Static web server")

    answer = api.get(f"/api/images/{image[key]}")

    assert (200, api.get("/api/images").json[0]) == (answer.status, answer.json)


def test_a_container_image_names_no_image(api, store):
    """
    Several images may run it: a 404 with its code.
    """
    an_image(store, image="busybox:1")

    assert (404, "image_not_found", ["id"]) == told(api.get("/api/images/busybox:1"))


# Typed variables


TYPED = {
    "SLOTS": {
        "type": "text",
        "default": "8",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "maximum": 64},
        "description": "How many play.",
        "editableBy": "owner",
    },
    "LICENCE": {"type": "text", "default": "free", "required": False, "editableBy": "admin"},
}


def test_typed_variables_are_answered_and_exported(api, made):
    """The new members stand beside those that clients know."""
    api.send("PATCH", f"{IMAGES}/Paper", json={"Variables": TYPED})

    [listed] = api.get(IMAGES).json
    assert {**DOCUMENT["Variables"], **TYPED} == listed["Variables"]
    assert listed["Variables"] == export(api, "Paper")["Variables"]
    assert 201 == api.post(f"{IMAGES}/import", export(api, "Paper")).status


@pytest.mark.parametrize(
    "over",
    [{"schema": {"type": "object"}}, {"schema": 3}, {"editableBy": "me"}, {"default": "many"}],
)
def test_a_wrong_variable_is_named(api, look, over):
    """And no image is stored."""
    answer = api.post(IMAGES, {**DOCUMENT, "Variables": {"SLOTS": {**TYPED["SLOTS"], **over}}})

    assert (400, []) == (answer.status, look()["images"])
    assert ["SLOTS"] == list(answer.json["details"]["Variables"])


@pytest.mark.parametrize(
    ("given_", "named"),
    [
        ({"SLOTS": 65}, ["SLOTS"]),
        ({"SLOTS": "many", "LICENCE": "pro"}, ["SLOTS"]),
        ({"SLOTS": 64, "LICENCE": "pro"}, None),
    ],
)
def test_a_deploy_is_checked_by_the_schemas(api, store, place, look, given_, named):
    """Each wrong variable is named, and nothing is stored."""
    api.send("PATCH", f"{IMAGES}/{place[2]['_id']}", json={"process": False, "Variables": TYPED})

    answer = api.post(DEPLOY, a_deploy(*place, variables=given_))

    if named is None:
        assert (201, {"SLOTS": "64", "LICENCE": "pro"}) == (
            answer.status,
            store.instances.get(answer.json["Id"])["variables"],
        )
    else:
        assert (400, named) == (answer.status, list(answer.json["details"]["variables"]))
        assert [] == look()["instances"]


@pytest.mark.parametrize(
    ("licence", "status"), [("pro", 400), ("free", 201), (None, 201)], ids=["other", "same", "none"]
)
def test_a_key_of_an_owner_sets_no_variable_of_administrators(api, store, place, licence, status):
    """It may repeat the default, as forms do."""
    api.send("PATCH", f"{IMAGES}/{place[2]['_id']}", json={"process": False, "Variables": TYPED})
    grant = {"scopes": ["*"], "user_id": place[0]["_id"]}
    owner = replace(api, key=keys.create(store, name="k", grant=grant, now=NOON)[1])

    answer = owner.post(DEPLOY, a_deploy(*place, variables={"LICENCE": licence}))

    assert status == answer.status
    assert ["LICENCE"] * (status == 400) == list(
        answer.json.get("details", {}).get("variables", [])
    )


def test_a_deletion_that_was_cut_off_is_void_soon(api, store, place):
    """An image that is being deleted is not deployed, nor for ever kept from it."""
    store.images.mark_deleting(place[2]["_id"], now=utc_now())
    refused = api.post(DEPLOY, a_deploy(*place))
    store.images.mark_deleting(place[2]["_id"], now=utc_now() - timedelta(seconds=61))
    deployed = api.post(DEPLOY, a_deploy(*place))

    assert (400, "image_not_found") == (refused.status, refused.json["code"])
    assert 201 == deployed.status


def test_an_image_that_stays_can_be_deployed_again(api, place):
    """A deletion that was refused leaves no mark."""
    api.post(DEPLOY, a_deploy(*place))
    api.delete(f"{IMAGES}/{place[2]['_id']}")

    assert 201 == api.post(DEPLOY, a_deploy(*place, ports="80:8081", primary=8081)).status
