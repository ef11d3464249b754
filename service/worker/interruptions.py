"""What ends a worker's turn at an operation although nothing failed.

    Interruption                of drivers, which let it through: boundary.py
    ├── OperationSuperseded     no longer wanted: the operation ends, and the rest is left undone
    ├── OperationCancelled      somebody asked to stop: the same, and a deployment is FAILED
    ├── LeaseLost               no longer ours: nothing more is touched or written
    ├── DrainChanged            a drain is not as it was: nothing of it is begun
    └── NodeBusy                something else must end first: nothing was tried

None of them leaves the worker: `carry_out` writes down what each means for the operation.
"""

from service.drivers.boundary import Interruption


class OperationSuperseded(Interruption):
    """The operation is no longer wanted."""


class OperationCancelled(Interruption):
    """Somebody asked to stop the operation."""


class LeaseLost(Interruption):
    """The operation is perhaps somebody else's by now."""

    def __init__(self) -> None:
        super().__init__("The lease was lost.")


class DrainChanged(Interruption):
    """The drain was paused or undone meanwhile, or another worker attends to it."""


class NodeBusy(Interruption):
    """Something else on the node must end first."""
