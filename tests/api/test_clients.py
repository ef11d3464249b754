"""The dashboards and bots that exist: what they really send, and what they read of the answers.

Read from their sources: Hydren (and PalPod and ustakly, its relatives), the Light family, HydraDash
and Cryptalis, Molactyl, and Sedar. All of them send their bodies with axios.
"""

from datetime import timedelta

import pytest
import requests

from tests.support import NOON, a_node, an_image, eventually

JAVA = "quay.io/skyport/java:21"
DISCORD_ID = "318924857203654657"
EMAIL = "Ada@example.org"
ACCOUNT = {"username": "ada", "email": EMAIL, "password": "x" * 16, "userId": DISCORD_ID}

COMMON = {"name": "survival", "user": DISCORD_ID, "ports": "25565:25565"}
NUMBERS = {"memory": 1024, "cpu": 2}
DEPLOYS = {
    "Hydren": {**NUMBERS, "image": JAVA, "imagename": "Paper", "primary": "25565:25565"},
    "Hydren of 2024-10": {**NUMBERS, "image": JAVA, "imagename": "Paper",
                          "primary": "25565:25565", "variables": {"Version": "1.20"}},
    "PalPod": {**NUMBERS, "image": JAVA, "imagename": "Paper", "primary": "25565:25565"},
    "ustakly": {**NUMBERS, "image": JAVA, "primary": "25565:25565"},
    "Light": {**NUMBERS, "image": JAVA, "imagename": "Paper", "disk": 10, "primary": "25565",
              "variables": '{"Version":"1.20"}'},
    "HydraDash": {**NUMBERS, "image": JAVA, "imagename": "Paper", "disk": None,
                  "primary": "25565", "variables": '{"Version":"1.20"}'},
    "Cryptalis": {**NUMBERS, "image": JAVA, "imagename": "Paper", "disk": 10, "primary": "25565",
                  "variables": "{}"},
    "Molactyl": {"memory": "1024", "cpu": "2", "image": "<Id>", "imagename": "Paper",
                 "primary": 25565, "variables": '{"Version":"1.20"}'},
}  # fmt: skip
SENSELESS = {
    "Hydren with another primary": {**DEPLOYS["Hydren"], "primary": "25566:25566"},
    "Hydren of 9524092 without a primary": {**NUMBERS, "image": JAVA},
    "Hydren with no cpu left": {**DEPLOYS["Hydren"], "cpu": 0},
}


class Axios:
    """What axios sends of itself, to a server on loopback."""

    def __init__(self, url, key):
        self._url = url
        self._headers = {"Accept": "application/json, text/plain, */*",
                         "User-Agent": "axios/1.7.7", "x-api-key": key}  # fmt: skip

    def __call__(self, method, path, body=None, **headers):
        """Send a request; the answer's status, JSON and headers are what clients read."""
        return requests.request(
            method,
            self._url + path,
            json=body,
            headers={**self._headers, **headers},
            timeout=20,
            allow_redirects=False,
        )


@pytest.fixture
def axios(live_server):
    """A client of a live server."""
    return Axios(live_server.url, live_server.key)


@pytest.fixture
def node(store, memory_nodes):
    """A node as dashboards know it."""
    return a_node(store, memory_nodes, tags="eu", ram="32", disk="500", processor="Ryzen 7")


@pytest.fixture
def paper(store):
    """One of two images that run the same container image."""
    version = {"Version": {"type": "text", "default": "1.21", "required": True}}
    fields = {"image": JAVA, "variables": version, "author_name": "Ada"}
    an_image(store, **fields, name="Spigot", now=NOON + timedelta(hours=1))
    return an_image(store, **fields, name="Paper")


@pytest.fixture
def account(axios):
    """The account of somebody who logged in with Discord."""
    return axios("POST", "/api/auth/create-user", ACCOUNT).json()["userId"]


def deploy(axios, node, paper, body):
    """Deploy as a client does."""
    image = paper["_id"] if body.get("image") == "<Id>" else body["image"]
    body = {**COMMON, **body, "image": image, "nodeId": node["_id"]}
    return axios("POST", "/api/instances/deploy", body)


@pytest.fixture
def server(axios, account, node, paper):
    """A server of the account, that runs, as the dashboards list it."""
    assert 201 == deploy(axios, node, paper, DEPLOYS["Light"]).status_code

    def look():
        [item] = axios("POST", "/api/getUserInstance", {"userId": account}).json()
        return item if item["InternalState"] == "READY" else None

    return eventually(look)


# Starting


def test_dashboards_start(axios):
    """
    Hydren and HydraDash exit when GET / is not 200; HTML would switch HydraDash's quota off.
    """
    answer = axios("GET", "/", **{"x-api-key": None})

    assert (200, "application/json") == (answer.status_code, answer.headers["Content-Type"])


def test_ustakly_shows_the_name(axios):
    """
    ustakly reads `data.name` of GET /api/name.
    """
    answer = axios("GET", "/api/name")

    assert "Skyquay" == answer.json()["name"]


# Logging in


@pytest.mark.parametrize("key", ["email", "id"])
def test_a_stranger_is_a_400(axios, key):
    """
    Light, Cryptalis and HydraDash go on to make an account on 400; Molactyl only on exactly 400.
    """
    answer = axios("POST", "/api/getUser", {"type": key, "value": "nobody@example.org"})

    assert (400, str) == (answer.status_code, type(answer.json()["error"]))


def test_an_account_keeps_its_discord_id(axios):
    """
    Dashboards look servers up by the Discord id, and deploy with the `userId` of the answer.
    """
    answer = axios("POST", "/api/auth/create-user", ACCOUNT)

    assert (201, DISCORD_ID) == (answer.status_code, answer.json()["userId"])


@pytest.mark.parametrize(
    ("key", "value"), [("email", EMAIL), ("email", EMAIL.lower()), ("id", DISCORD_ID)]
)
def test_an_account_is_found(axios, account, key, value):
    """
    Hydren and others look it up by e-mail address, HydraDash by id; Molactyl wants exactly 201.
    """
    answer = axios("POST", "/api/getUser", {"type": key, "value": value})

    assert (201, account) == (answer.status_code, answer.json()["userId"])


@pytest.mark.parametrize(
    "again", [{}, {"userId": "99", "username": "other"}, {"userId": "99", "email": "o@example.org"}]
)
def test_a_second_account_is_a_409(axios, account, again):
    """
    HydraDash creates first and asks afterwards: a known name, e-mail address or id must be 409.
    """
    answer = axios("POST", "/api/auth/create-user", {**ACCOUNT, **again})

    assert 409 == answer.status_code


# Listing


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param({}, {}, id="PalPod"),
        pytest.param({"discordserver": "77"}, {}, id="Hydren"),
        pytest.param({"discordserver": "77"}, {"Accept": "application/json"}, id="HydraDash"),
    ],
)
def test_servers_are_a_bare_array(axios, server, body, headers):
    """
    `Array.isArray(data)`, with `Name` and `Id` in each item, or dashboards show nothing.
    """
    answer = axios("POST", "/api/getUserInstance", {"userId": DISCORD_ID, **body}, **headers)

    [item] = answer.json()
    assert (200, "survival", server["Id"]) == (answer.status_code, item["Name"], item["Id"])


def test_a_newcomer_has_an_empty_array(axios, account):
    """
    Who has no server yet must get an array too, or `/create` of Hydren hangs.
    """
    answer = axios("POST", "/api/getUserInstance", {"userId": account})

    assert (200, []) == (answer.status_code, answer.json())


@pytest.mark.heavy
@pytest.mark.parametrize("client", DEPLOYS)
def test_resources_can_be_added_up(axios, account, node, paper, client):
    """
    Dashboards add up `Memory`, `Cpu` and `Disk` with `+`, which must not glue texts together.
    """
    deploy(axios, node, paper, DEPLOYS[client])

    [item] = axios("POST", "/api/getUserInstance", {"userId": account}).json()

    assert (1024, 2, int, int) == (
        item["Memory"],
        item["Cpu"],
        type(item["Memory"]),
        type(item["Cpu"]),
    )
    assert item.get("Disk") in (None, 10)


def test_images_are_a_bare_array(axios, paper):
    """
    Admin pages copy eleven fields of each image; HydraDash cuts `Id`, Hydren lists `Variables`.
    """
    answer = axios("GET", "/api/images")

    found = {image["Name"]: image for image in answer.json()}
    copied = {"Image": str, "Env": list, "Variables": dict, "Scripts": dict, "Name": str,
              "Description": str, "Author": str, "AuthorName": str, "Meta": dict,
              "Id": str}  # fmt: skip
    assert copied == {name: type(found["Paper"][name]) for name in copied}
    assert (200, {"type": "text", "default": "1.21", "required": True}) == (
        answer.status_code,
        found["Paper"]["Variables"]["Version"],
    )
    assert "Cmd" in found["Paper"]


def test_nodes_are_a_bare_array(axios, node):
    """
    Admin pages copy six fields of each node; a null among them would break every dashboard.
    """
    answer = axios("GET", "/api/nodes")

    read = ("id", "name", "tags", "processor", "ram", "disk")
    assert [(node["_id"], "node", "eu", "Ryzen 7", "32", "500")] == [
        tuple(item[name] for name in read) for item in answer.json()
    ]


# Deploying


@pytest.mark.heavy
@pytest.mark.parametrize("client", DEPLOYS)
def test_deploys_are_taken(axios, account, node, paper, client):
    """
    Each client's body is a 201; Molactyl wants exactly that, and makes a link of `volumeId`.
    """
    answer = deploy(axios, node, paper, DEPLOYS[client])

    made = axios("POST", "/api/getInstance", {"id": answer.json()["volumeId"]}).json()
    version = "1.20" if "1.20" in str(DEPLOYS[client]) else "1.21"
    assert (201, made["Id"]) == (answer.status_code, answer.json()["volumeId"])
    assert (JAVA, "Paper", {"Version": version}, DEPLOYS[client]["primary"], "25565:25565") == (
        made["Image"],
        made["ImageName"],
        made["Variables"],
        made["Primary"],
        made["Ports"],
    )


@pytest.mark.parametrize("body", SENSELESS.values(), ids=SENSELESS)
def test_senseless_deploys_are_an_error(axios, account, node, paper, body):
    """
    What no node could run is a 400 at once, which dashboards show as ERRORONCREATE.
    """
    answer = deploy(axios, node, paper, body)

    assert (400, []) == (answer.status_code, axios("GET", "/api/instances").json())


# Deleting


@pytest.mark.heavy
@pytest.mark.parametrize("field", ["Id", "VolumeId", "ContainerId"])
def test_owners_delete_their_servers(axios, server, field):
    """
    The link bears the id (Hydren) or the container's (PalPod); `User` must be the stored userId.
    """
    found = axios("POST", "/api/getInstance", {"id": server[field]})
    deleted = axios("DELETE", "/api/instance/delete", {"id": server[field]})

    assert (200, DISCORD_ID, 201) == (
        found.status_code,
        found.json()["User"],
        deleted.status_code,
    )
    assert eventually(
        lambda: axios("POST", "/api/getUserInstance", {"userId": DISCORD_ID}).json() == []
    )


# Watching over servers


@pytest.mark.heavy
def test_sedar_reads_all_servers(axios, server):
    """
    Sedar wants exactly 200, a bare array, `Id` and `suspended`; its key must be in the header.
    """
    answer = axios("GET", "/api/instances?key=x")

    assert (200, [(server["Id"], False)]) == (
        answer.status_code,
        [(item["Id"], item["suspended"]) for item in answer.json()],
    )


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        pytest.param("GET", "/api/instances?key=x", None, 401, id="Sedar's key in the query"),
        pytest.param(
            "GET", "/api/instances/suspend?key=x&id=y", "", 404, id="Sedar's suspend by GET"
        ),
        pytest.param(
            "GET", "/api/auth/create-user?username=a", "", 405, id="Light's account by GET"
        ),
        pytest.param("POST", "/api/users/create", "", 404, id="ustakly's older path"),
    ],
)
def test_what_only_forks_had_is_a_plain_error(axios, method, path, key, status):
    """
    Requests of other panels' own are refused in JSON, which clients can show.
    """
    answer = axios(method, path, **({"x-api-key": None} if key is None else {}))

    assert (status, "application/json", str) == (
        answer.status_code,
        answer.headers["Content-Type"],
        type(answer.json()["error"]),
    )
