"""Whose the containers and volumes of a Docker Engine are, which their labels tell.

Several installations of Skyquay may use one engine. What an installation makes bears the instance's
id and the installation's own. What was made before there was the second label is whoever's
documents know it: Docker changes no labels, so the documents are asked each time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from service.drivers import Owner

LABEL = "io.skyquay.instance"
"""Marks what is Skyquay's; its value is the instance's id. Nothing without it is ever touched."""

INSTALLATION_LABEL = "io.skyquay.installation"
"""Marks whose it is. Nothing of another installation is ever touched, or listed."""

SPEC_LABEL = "io.skyquay.spec"
"""What the container was made from, so that it can be made, and known, again."""

DATA_FOLDER = "/app/data"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A container of the engine's list that is an instance's."""

    instance_id: str
    container: Mapping[str, Any]
    is_ours: bool
    """False: it was made before there were installations, and no document of ours knows it."""


class Labels:
    """The labels of one installation."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def make(self, instance_id: str) -> dict[str, str]:
        """Make the labels of what is made for an instance."""
        return {LABEL: instance_id, INSTALLATION_LABEL: self._owner.find_id()}

    def owns_container(
        self, instance_id: str, labels: Mapping[str, str] | None, container_id: str
    ) -> bool:
        """Return whether the container of an instance's name is ours."""
        labels = labels or {}
        if labels.get(LABEL) != instance_id:
            return False
        if self._is_marked(labels):
            return self._is_marked_ours(labels)
        claims = self._owner.find_claims([instance_id])
        return instance_id in claims and claims[instance_id] in (None, container_id)

    def owns_volume(self, instance_id: str, labels: Mapping[str, str] | None) -> bool:
        """Return whether the volume of an instance's name is ours."""
        labels = labels or {}
        if labels.get(LABEL) != instance_id:
            return False
        if self._is_marked(labels):
            return self._is_marked_ours(labels)
        return instance_id in self._owner.find_claims([instance_id])

    def find(self, containers: Iterable[Mapping[str, Any]]) -> list[Labelled]:
        """Find the instances' containers among these of the engine's list; the likeliest first.

        Those of other installations are left out, and those that bear our labels only because they
        were made from an image that somebody made of a container of ours: an instance's container
        has its name or, should somebody have renamed it, its volume.
        """
        candidates = [each for each in containers if _has_name(each) or _has_volume(each)]
        unmarked = {
            each["Labels"][LABEL] for each in candidates if not self._is_marked(each["Labels"])
        }
        claims = self._owner.find_claims(unmarked) if unmarked else {}
        found = []
        for each in candidates:
            instance_id = each["Labels"][LABEL]
            if not self._is_marked(each["Labels"]):
                known = (each["Id"], None) if _has_name(each) else (each["Id"],)
                is_ours = instance_id in claims and claims[instance_id] in known
                found.append(Labelled(instance_id, each, is_ours))
            elif self._is_marked_ours(each["Labels"]):
                found.append(Labelled(instance_id, each, is_ours=True))
        # What was made from an image of a container is younger than that.
        found.sort(
            key=lambda it: (not it.is_ours, not _has_name(it.container), it.container["Created"])
        )
        return found

    def _is_marked(self, labels: Mapping[str, str]) -> bool:
        return INSTALLATION_LABEL in labels or self._owner.find_id() == ""

    def _is_marked_ours(self, labels: Mapping[str, str]) -> bool:
        return labels.get(INSTALLATION_LABEL, "") == self._owner.find_id()


def _has_name(container: Mapping[str, Any]) -> bool:
    return f"/{container['Labels'][LABEL]}" in container["Names"]


def _has_volume(container: Mapping[str, Any]) -> bool:
    return any(
        mount.get("Name") == container["Labels"][LABEL] and mount.get("Destination") == DATA_FOLDER
        for mount in container.get("Mounts") or ()
    )
