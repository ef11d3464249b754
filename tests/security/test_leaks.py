"""Nothing leaks: a walk through all endpoints, with everything that is secret."""

import secrets
from dataclasses import replace

import pytest

from service import keys, probing
from service.app import make_drivers
from tests.endpoints import ENDPOINTS
from tests.fake_skyportd import FakeSkyportd
from tests.support import (
    DEPLOY,
    NODE,
    NOON,
    ApiClient,
    a_deploy,
    a_user,
    an_app,
    an_image,
    free_port,
    run_due,
)

SECRET_KEY = "a secret key of the tests"
PASSWORD = "password-sesame"
VARIABLE = "variable-sesame"
PRINTS_AND_ENDS = 'echo "my password is $PASSWORD"; env; exit 3'


class Scenario:
    """An operator's day, on nodes that are talked to for real: each answer is kept."""

    def __init__(self, config, store, daemon):
        self.settings = replace(config, secret_key=SECRET_KEY)
        self.store, self.daemon = store, daemon
        self.open_driver = make_drivers(self.settings, store)
        app = an_app(self.settings, store)
        _, self.key = keys.create(store, name="operator", now=NOON)
        self.api = ApiClient(app.test_client(), self.key)
        self.answers = []
        self.node_key = secrets.token_hex(32)
        self.wrong_key = f"sq_{secrets.token_hex(20)}"
        self.shown = []  # what is answered once, on purpose

    def send(self, method, path, body=None, **options):
        """Send a request and keep the answer, headers included."""
        answer = self.api.send(method, path, json=body, **options)
        self.answers.append(f"{answer.status} {answer.json} {answer.headers}")
        return answer.json

    def send_for(self, name, method, path, body=None):
        """Send a request whose answer shows a new secret, this once; keep the rest of it."""
        answer = self.api.send(method, path, json=body)
        secret = answer.json[name]
        self.shown.append(secret)
        self.answers.append(str(answer.json).replace(secret, "(shown once)"))
        return answer.json

    def run(self):
        """Enrol a node, deploy, fail, suspend, log in, make keys, try without, and delete."""
        ada = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}
        self.send("POST", "/api/auth/create-user", ada)
        for password in (PASSWORD, "another-sesame"):
            self.send("POST", "/api/auth/verify", {"username": "ada", "password": password})
        node = self.send_for(
            "configureKey", "POST", "/api/nodes/create", {**NODE, "port": self.daemon.port}
        )
        configure_key = self.send_for(
            "configureKey", "POST", f"/api/nodes/{node['id']}/configure-key"
        )["configureKey"]
        self.send(
            "POST", f"/nodes/configure?configureKey={configure_key}&accessKey={self.node_key}"
        )
        probing.probe(self.store, self.open_driver, self.store.nodes.get(node["id"]), now=NOON)
        self.daemon.key = self.node_key
        probing.probe(self.store, self.open_driver, self.store.nodes.get(node["id"]), now=NOON)
        local = self.send("POST", "/api/nodes/create", {"name": "local", "driver": "process"})
        made = self.send_for("key", "POST", "/api/keys", {"name": "bot", "scopes": ["users:read"]})
        self.send_for("key", "POST", f"/api/keys/{made['id']}/rotate")

        variables = {
            "PASSWORD": {
                "type": "text",
                "default": "default-sesame",
                "required": True,
                "secret": True,
            },
            "NAME": {"type": "text", "default": "open", "required": False},
        }
        user = a_user(self.store)
        ids = []
        for node_id, cmd in ((node["id"], None), (local["id"], PRINTS_AND_ENDS)):
            image = an_image(self.store, variables=variables, cmd=cmd)
            port = free_port()
            where = (user, self.store.nodes.get(node_id), image)
            body = a_deploy(*where, variables={"PASSWORD": VARIABLE}, ports=f"80:{port}")
            body["primary"] = port
            ids.append(self.send("POST", DEPLOY, body)["Id"])
            run_due(self.store, self.open_driver)
        self.walk(ids, node["id"])
        for instance_id in ids:
            self.send("POST", f"/api/instances/suspend/{instance_id}")
            run_due(self.store, self.open_driver)
            self.send("POST", f"/api/instances/unsuspend/{instance_id}")
            run_due(self.store, self.open_driver)
            self.send("POST", "/api/getInstance", {"id": instance_id})
            self.send("GET", f"/api/instances/{instance_id}/logs")
        self.daemon.die()
        probing.probe(self.store, self.open_driver, self.store.nodes.get(node["id"]), now=NOON)
        for instance_id in ids:
            self.send("DELETE", "/api/instance/delete", {"id": instance_id})
            run_due(self.store, self.open_driver)
        self.send("GET", "/api/audit", query_string={"limit": 1000})
        self.send("GET", "/api/users", headers={"x-api-key": self.wrong_key})
        self.send("DELETE", "/api/instance/delete", {"id": ids[0], "force": True})
        return ids

    def walk(self, ids, node_id):
        """Call every endpoint, with ids that there are, and with none."""
        operation_id = self.store.operations.all()[0]["_id"]
        for method, path in ENDPOINTS:
            for instance_id in (*ids, "nothing"):
                named = path.replace("{instance_id}", instance_id).replace("{node_id}", node_id)
                named = named.replace("{operation_id}", operation_id).replace("{key_id}", "none")
                if "configure-key" not in named:
                    self.send(method, named, {"id": "nothing", "nodeId": "nothing"})
                if "{" not in path:
                    break

    def list_secrets(self, mongo_client):
        """List all that nobody may see, by what it is."""
        database = mongo_client[self.settings.database]
        found = {
            "password": PASSWORD,
            "another": "another-sesame",
            "variable": VARIABLE,
            "default": "default-sesame",
            "node key": self.node_key,
            "api key": self.key,
            "wrong key": self.wrong_key,
            "secret key": SECRET_KEY,
            "known key": "d" * 64,
        }
        found |= {f"shown {number}": secret for number, secret in enumerate(self.shown)}
        for number, key in enumerate(database["keys"].find()):
            found[f"digest {number}"] = key["digest"]
        for number, user in enumerate(database["users"].find()):
            found[f"hash {number}"] = user["password_hash"]
        for number, node in enumerate(database["nodes"].find({"secret": {"$ne": None}})):
            found[f"sealed {number}"] = node["secret"]
        return found


@pytest.mark.spawns
def test_nothing_leaks(config, store, mongo_client, logged):
    """
    No answer and no log line of the whole scenario has a hash, a key or a secret variable.
    """
    with FakeSkyportd(key="d" * 64) as daemon:
        scenario = Scenario(config, store, daemon)
        scenario.run()

    everything = scenario.list_secrets(mongo_client)
    answered, told = "\n".join(scenario.answers), logged.getvalue()
    assert [] == [name for name, secret in everything.items() if secret in answered]
    assert [] == [name for name, secret in everything.items() if secret in told]
    assert "$argon2" not in answered + told
    # The walk saw what it was to see: programs that printed, failures, and lines of the log.
    assert "my password is ********" in answered
    assert "NAME=open" in answered
    assert told.count('"event":"request.answered"') > 50
    assert len(everything) > 14


@pytest.mark.heavy
def test_what_is_secret_reaches_the_program(config, store):
    """
    The value that no answer has is in the environment of the container that the daemon made.
    """
    with FakeSkyportd(key="d" * 64) as daemon:
        scenario = Scenario(config, store, daemon)
        order = scenario.send_for(
            "configureKey", "POST", "/api/nodes/create", {**NODE, "port": daemon.port}
        )
        key, access = order["configureKey"], scenario.node_key
        scenario.send("POST", f"/nodes/configure?configureKey={key}&accessKey={access}")
        daemon.key = access
        probing.probe(store, scenario.open_driver, store.nodes.get(order["id"]), now=NOON)
        image = an_image(
            store,
            variables={"PASSWORD": {"type": "text", "default": "", "required": True,
                                    "secret": True}},
        )  # fmt: skip
        body = a_deploy(a_user(store), store.nodes.get(order["id"]), image,
                        variables={"PASSWORD": VARIABLE})  # fmt: skip
        instance_id = scenario.send("POST", DEPLOY, body)["Id"]
        run_due(store, scenario.open_driver)
        answer = scenario.send("POST", "/api/getInstance", {"id": instance_id})

        [container] = [daemon.find(instance_id)]
        assert f"PASSWORD={VARIABLE}" in str(container.config)
        assert ({}, ["PASSWORD"]) == (answer["Variables"], answer["secretVariables"])
