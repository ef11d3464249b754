"""What is shipped to run Skyquay: the Compose file is valid and closed, the image has no rights."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pymongo.uri_parser import parse_uri

from service.config import Config
from service.serving.embedded_mongod.program import find_mongod
from tests.support import free_port, need

pytestmark = pytest.mark.spawns

ROOT = Path(__file__).resolve().parent.parent.parent
APIS = {"api-1", "api-2"}
MEMBERS = {"mongo-1", "mongo-2", "mongo-3"}


def run_compose_config(env_file: Path, settings: str = "") -> subprocess.CompletedProcess[str]:
    """Let Compose check and print what it is told to run, with these settings in `.env`."""
    env_file.write_text(settings)
    return subprocess.run(
        [need("docker-compose"), "--env-file", str(env_file), "config"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def make_secrets(folder: Path) -> dict[str, str]:
    """Run deploy/make-secrets, and read what is in the folder then."""
    subprocess.run(
        [ROOT / "deploy" / "make-secrets", folder], check=True, timeout=60, capture_output=True
    )
    return {file.name: file.read_text() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def compose(tmp_path_factory):
    """What docker-compose.yml says, as Compose understands it."""
    result = run_compose_config(tmp_path_factory.mktemp("compose") / "env")
    assert 0 == result.returncode, result.stderr
    return yaml.safe_load(result.stdout)


@pytest.fixture
def services(compose):
    """The services of docker-compose.yml."""
    return compose["services"]


def test_compose_file_is_valid(services):
    """
    Compose accepts the file, and it has the services that docs/deploy.md names.
    """
    assert {"nginx", "worker", "mongo-init", *APIS, *MEMBERS} == set(services)


def test_nginx_knows_each_api(services):
    """
    nginx is told the address that each API has.
    """
    told = dict(host.split(":") for host in services["nginx"]["extra_hosts"])
    given = {name: services[name]["networks"]["outside"]["ipv4_address"] for name in APIS}
    upstream = ROOT.joinpath("deploy/nginx/upstream.compose.conf").read_text()

    assert given == told
    assert APIS == set(re.findall(r"^ +server ([a-z0-9-]+):8000", upstream, re.MULTILINE))


def test_compose_serves_https_with_another_file(services, tmp_path):
    """
    The line for `.env` in docs/deploy.md adds the port, the file and the certificate to nginx,
    beside what is there.
    """
    [setting] = re.findall(
        r"^echo (COMPOSE_FILE=\S+) >> \.env$",
        ROOT.joinpath("docs/deploy.md").read_text("utf-8"),
        re.MULTILINE,
    )

    result = run_compose_config(tmp_path / "env", f"{setting}\n")

    assert 0 == result.returncode, result.stderr
    before, after = services["nginx"], yaml.safe_load(result.stdout)["services"]["nginx"]
    assert [*before["ports"], {"published": 443, "target": 443}] == after["ports"]
    assert [
        *before["volumes"],
        f"{ROOT}/deploy/nginx/tls.conf:/etc/nginx/skyquay.d/tls.conf:ro",
        f"{ROOT}/tls:/etc/skyquay/tls:ro",
    ] == after["volumes"]


def test_no_secret_is_in_the_environment(services):
    """
    Whoever may inspect a container sees its environment, so it only names the files with secrets.
    """
    names = {
        name
        for service in services.values()
        for name in service.get("environment", {})
        if re.search("KEY|URI|PASSWORD", name)
    }

    assert [] == [name for name in names if not name.endswith("_FILE")]


def test_make_secrets_makes_what_compose_names(compose, tmp_path):
    """
    The script makes each file that docker-compose.yml mounts, in the folder beside it.
    """
    made = make_secrets(tmp_path / "secrets")

    assert made.keys() == compose["secrets"].keys()
    assert {str(ROOT / "secrets" / name) for name in made} == {
        secret["file"] for secret in compose["secrets"].values()
    }


def test_make_secrets_makes_settings_that_are_taken(tmp_path):
    """
    The secrets that it makes are long enough, and the URI names all members.
    """
    made = make_secrets(tmp_path / "secrets")

    config = Config.from_env(
        {f"SKYQUAY_{name.upper()}_FILE": str(tmp_path / "secrets" / name)
         for name in made if name != "mongodb_key"}
    )  # fmt: skip

    uri = parse_uri(config.mongodb_uri)
    assert MEMBERS == {host for host, _ in uri["nodelist"]}
    assert (64, 64, 64, 512) == tuple(
        map(len, (config.api_key, config.secret_key, uri["password"], made["mongodb_key"]))
    )


def test_a_key_of_several_lines_makes_a_set(tmp_path):
    """
    As `openssl rand -base64 756` makes it: the members and who makes a set of them take it alike.
    """
    key, uri, port = tmp_path / "key", tmp_path / "uri", free_port()
    key.write_text("\n".join(["a" * 64] * 8) + "\n")
    key.chmod(0o600)
    uri.write_text(f"mongodb://skyquay:sesame@127.0.0.1:{port}/skyquay?replicaSet=one\n")
    tmp_path.joinpath("db").mkdir()
    member = [
        find_mongod(), "--replSet", "one", "--keyFile", key, "--dbpath", tmp_path / "db",
        "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket",
        "--wiredTigerCacheSizeGB", "0.25", "--setParameter", "enableLocalhostAuthBypass=false",
    ]  # fmt: skip

    with subprocess.Popen(member, stdout=subprocess.DEVNULL) as mongod:
        made = subprocess.run(
            [sys.executable, ROOT / "deploy" / "mongo" / "initiate.py", uri, key],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        mongod.kill()

    assert (0, True) == (made.returncode, "and knows skyquay." in made.stdout), made.stderr


def test_make_secrets_leaves_alone_what_exists(tmp_path):
    """
    A second run changes nothing, and makes a file that is missing.
    """
    before = make_secrets(tmp_path / "secrets")
    (tmp_path / "secrets" / "api_key").unlink()

    after = make_secrets(tmp_path / "secrets")

    assert before.pop("api_key") != after.pop("api_key")
    assert before == after


def test_secrets_are_for_the_owner_and_the_containers(tmp_path):
    """
    Any user of a container reads the files, but on the machine nobody else gets into the folder.
    """
    folder = tmp_path / "secrets"
    make_secrets(folder)

    modes = {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}

    assert (0o700, {0o444}) == (stat.S_IMODE(folder.stat().st_mode), modes)


def test_only_nginx_is_published(services):
    """
    No service but nginx can be reached from outside, and no service shares the host's network.
    """
    published = [name for name, service in services.items() if "ports" in service]
    on_host = [name for name, service in services.items() if "network_mode" in service]

    assert (["nginx"], []) == (published, on_host)


def test_plain_http_is_published_to_this_machine_only(services):
    """
    API keys travel in each request, so what has no TLS listens on loopback unless told otherwise.
    """
    assert ["127.0.0.1:8080:80/tcp"] == services["nginx"]["ports"]


def test_the_database_is_on_a_network_of_its_own(services):
    """
    nginx cannot reach the database, and the database cannot reach the world.
    """
    assert [{"database"}] * 3 == [set(services[member]["networks"]) for member in MEMBERS]
    assert "database" not in services["nginx"]["networks"]


def test_services_have_few_rights_and_bounds(services):
    """
    Every container has a file system that it cannot change, no rights that it does not need, and a
    limit of memory.
    """
    for service in services.values():
        assert (True, ["ALL"]) == (service["read_only"], service["cap_drop"])
        assert ["no-new-privileges:true"] == service["security_opt"]
        assert service["mem_limit"]
    assert {"nginx"} == {name for name, service in services.items() if "cap_add" in service}


def test_no_service_is_given_the_docker_socket(services):
    """
    Who has the socket is root on this machine, so no service has it.
    """
    volumes = [
        str(volume) for service in services.values() for volume in service.get("volumes", [])
    ]

    assert [] == [volume for volume in volumes if "docker.sock" in volume]


def test_every_mounted_file_exists():
    """
    Compose makes an empty folder of a file that is missing, so a wrong path would go unnoticed.
    """
    text = ROOT.joinpath("docker-compose.yml").read_text()

    mounted = re.findall(r"- \./([^:]+):", text)

    assert mounted
    assert [] == [path for path in mounted if not ROOT.joinpath(path).is_file()]


def test_long_running_services_come_back(services):
    """
    After a crash or a reboot every service that keeps running is started again.
    """
    policies = {name: service["restart"] for name, service in services.items()}

    assert "on-failure:3" == policies.pop("mongo-init")
    assert {"unless-stopped"} == set(policies.values())


def test_image_runs_without_rights():
    """
    The last USER of the Dockerfile is a number other than root's.
    """
    users = re.findall(r"^USER (\S+)", ROOT.joinpath("Dockerfile").read_text(), re.MULTILINE)

    assert "10001:10001" == users[-1]


def test_image_takes_only_what_is_named():
    """
    The build sees nothing by default, so no `.env` and no database ends in an image.
    """
    lines = ROOT.joinpath(".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]

    assert "*" == rules[0]
    assert [] == [rule for rule in rules if rule.startswith("!.")]
