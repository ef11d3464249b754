"""How a node differs from the documents, and what became of each difference."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.model.container import ContainerStatus
from service.model.documents import Instance, Leftover


@dataclass(frozen=True, slots=True)
class Orphan:
    """A container with our label that no document knows."""

    instance_id: str
    status: ContainerStatus


@dataclass(frozen=True, slots=True)
class Changed:
    """An instance that runs where its document says that it does not, or the other way round."""

    instance: Instance
    status: ContainerStatus


@dataclass(frozen=True, slots=True)
class Drift:
    """How a node differs from the documents. What operations are under way with is left out."""

    orphans: Sequence[Orphan]
    unclaimed: Sequence[Orphan]  # which may be another installation's
    missing: Sequence[Instance]
    changed: Sequence[Changed]
    deleting: Sequence[Instance]  # on their way out, or deleted and to be stopped
    leftovers: Sequence[Leftover] = ()  # as far as they were read

    @property
    def concerns_worker(self) -> bool:
        """Whether there is something that a worker brings in line by itself."""
        return bool(self.missing or self.changed or self.deleting)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What became of one difference, and the operation that does it on the node, if any."""

    instance_id: str
    action: str
    operation_id: str | None
