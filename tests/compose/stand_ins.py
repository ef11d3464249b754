"""Images that stand in for those of a registry, where there is none: Debian, and our own mongod.

They have the names that the Dockerfile and docker-compose.yml ask for, and what those rely on.
Where the engine has the real one already, that is used. A stand-in that was made otherwise, such as
for another index of Python's packages, is made anew.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from service.serving.embedded_mongod.program import find_mongod
from tests.docker_images import ensure_image
from tests.support import need

BASE = "skyquay-test/debian:bookworm"
PACKAGES = "python3,python3-venv,nginx-light,wget,ca-certificates,libcurl4"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
BUILD_TIMEOUT_S = 600
INSTANCE = "skyquay-test/compose:1"

PIP_SETTINGS = {"index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "cert"}
"""What tells pip where packages are. Others may name files that the image does not have."""

DOCKERFILES = {
    "python:3.13-slim-bookworm": """
        RUN ln -s python3 /usr/bin/python
        """,
    # The logs and the folders for large bodies are where the real image has them.
    "nginx:1.28-alpine": """
        RUN rm -r /etc/nginx/sites-enabled /var/lib/nginx \\
            && ln -s /var/cache/nginx /var/lib/nginx \\
            && ln -sf /dev/stdout /var/log/nginx/access.log \\
            && ln -sf /dev/stderr /var/log/nginx/error.log
        CMD ["nginx", "-g", "daemon off;"]
        """,
    "mongo:7.0": """
        COPY mongod /usr/bin/mongod
        RUN groupadd --gid 999 mongodb && useradd --uid 999 --gid 999 mongodb \\
            && mkdir -p /data/db /data/configdb && chown -R mongodb:mongodb /data
        VOLUME /data/db /data/configdb
        """,
}


def ensure_stand_ins(client: docker.DockerClient, folder: Path) -> list[str]:
    """Make the images that are missing, and tell which names have a stand-in."""
    client.api.timeout = BUILD_TIMEOUT_S
    recipe = _describe_recipe()
    for name, dockerfile in DOCKERFILES.items():
        if not _has(client, name, recipe):
            _ensure_base(client, folder, recipe)
            context = folder / name.partition(":")[0]
            context.mkdir()
            if "mongod" in dockerfile:
                shutil.copy(find_mongod(), context / "mongod")
            _build(client, name, f"FROM {BASE}\n{dockerfile}", context)
    return [name for name in DOCKERFILES if client.images.get(name).labels.get("stand-in")]


def ensure_instance_image(client: docker.DockerClient, folder: Path) -> None:
    """Make the image of an instance, which runs until it is told to stop."""
    parent = ensure_image(client, "skyquay-test/python:1")
    context = folder / "instance"
    context.mkdir()
    _build(client, INSTANCE, f'FROM {parent}\nCMD ["httpd", "-f", "-p", "8080"]', context)


def _describe_recipe() -> str:
    """Name what stand-ins are made of; it is their label."""
    made_of = repr((PACKAGES, DOCKERFILES, _read_pip_settings()))
    return hashlib.sha256(made_of.encode()).hexdigest()[:16]


def _has(client: docker.DockerClient, name: str, recipe: str) -> bool:
    try:
        return client.images.get(name).labels.get("stand-in", recipe) == recipe
    except docker.errors.ImageNotFound:
        return False


def _ensure_base(client: docker.DockerClient, folder: Path, recipe: str) -> None:
    if _has(client, BASE, recipe):
        return
    if os.geteuid() != 0:
        pytest.skip("only root can make stand-ins of images: `docker-compose pull` gets real ones")
    root = folder / "root"
    command = [need("debootstrap"), "--variant=minbase", f"--include={PACKAGES}", "bookworm", root]
    subprocess.run(command, check=True, timeout=BUILD_TIMEOUT_S, stdout=subprocess.DEVNULL)
    shutil.rmtree(root / "var/cache/apt")
    # The build asks the same index of Python's packages as this machine, and trusts whom it trusts.
    if Path("/", CERTIFICATES).exists():
        shutil.copy(Path("/", CERTIFICATES), root / CERTIFICATES)
    (root / "etc/pip.conf").write_text(_read_pip_settings())
    packed = shutil.make_archive(str(root), "tar", root)
    shutil.rmtree(root)
    repository, _, tag = BASE.partition(":")
    client.api.import_image_from_file(packed, repository, tag, changes=[f"LABEL stand-in={recipe}"])
    Path(packed).unlink()


def _read_pip_settings() -> str:
    """Give the settings that say where packages are, as a configuration file of pip has them."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    settings = {}
    for line in told.stdout.splitlines():  # such as: global.timeout='60'
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in PIP_SETTINGS and "file:" not in value:
            settings[option] = value.strip("'")
    return "".join(["[global]\n", *(f"{name} = {value}\n" for name, value in settings.items())])


def _build(client: docker.DockerClient, name: str, dockerfile: str, context: Path) -> None:
    (context / "Dockerfile").write_text(dockerfile)
    client.images.build(path=str(context), tag=name, network_mode="none", rm=True)
