"""What is shipped to run Skyquay: the Compose file is valid and closed, the image has no rights."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support import need

ROOT = Path(__file__).resolve().parent.parent
SECRETS = {
    "SKYQUAY_API_KEY": "key-of-sixteen-characters",
    "SKYQUAY_SECRET_KEY": "a-secret-key-of-tests",
}


def run_compose_config(env_file: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Let Compose check and print docker-compose.yml, with an empty `.env` and these settings."""
    env_file.write_text("")
    return subprocess.run(
        [need("docker-compose"), "--env-file", str(env_file), "-f", "docker-compose.yml", "config"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """The services of docker-compose.yml as Compose understands them."""
    result = run_compose_config(tmp_path_factory.mktemp("compose") / "env", SECRETS)
    assert 0 == result.returncode, result.stderr
    return yaml.safe_load(result.stdout)["services"]


def test_compose_file_is_valid(services):
    """
    Compose accepts the file, and it has the services that the operations page names.
    """
    assert {"nginx", "api", "worker", "mongo", "mongo-init"} == set(services)


@pytest.mark.parametrize("missing", sorted(SECRETS))
def test_compose_names_a_missing_secret(tmp_path, missing):
    """
    Without one of the secrets nothing starts, and the message says which one to set.
    """
    environ = {name: value for name, value in SECRETS.items() if name != missing}

    result = run_compose_config(tmp_path / "env", environ)

    assert 0 != result.returncode
    assert f"Set {missing}" in result.stderr


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
    assert {"database"} == set(services["mongo"]["networks"])
    assert "database" not in services["nginx"]["networks"]


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

    assert "on-failure" == policies.pop("mongo-init")
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
