"""Everything that can go over the wire as an error, drawn once.

    ServiceError                500 internal_error
    ├── InvalidInput            400 invalid_input         the request is wrong; names the field
    │   ├── NotFound            400 <what>_not_found      what the request names does not exist
    │   ├── AmbiguousName       400 ambiguous_name        several things have this name
    │   ├── NodeNotEmpty        400 node_not_empty
    │   ├── NoDrain             404 drain_not_found       the node was never drained
    │   └── NotSupported        400 not_supported         the node's driver cannot do it
    ├── Unauthorized            401 unauthorized
    ├── Forbidden               403 forbidden             a valid key, which may not do this
    ├── Conflict                409 conflict              somebody else has it already
    │   ├── PortTaken           409 port_taken
    │   ├── NoFreePorts         409 no_ports
    │   ├── Maintenance         409 maintenance
    │   ├── NoNodeFits          409 no_node_fits
    │   ├── ImageInUse          409 image_in_use          instances were made of it
    │   ├── NodeExists          409 node_exists
    │   ├── DifferentEngine     409 different_engine      not the engine that the node is
    │   ├── UserNotEmpty        409 user_not_empty        the user still owns instances
    │   ├── CapacityExceeded    409 capacity_exceeded
    │   ├── QuotaExceeded       409 quota_exceeded
    │   ├── UserSuspended       409 user_suspended        none of the user's instances may run
    │   ├── TooManyKeys         409 too_many_keys         a limited key has made all it may
    │   ├── TooManyWebhooks     409 too_many_webhooks
    │   ├── WebhookDisabled     409 webhook_disabled      nothing is sent there
    │   ├── InstanceNotReady    409 instance_not_ready    not in a state that allows it
    │   ├── NotCleared          409 not_cleared           the node has leftovers of it
    │   ├── NotRestorable       409 not_restorable        nothing to undo
    │   ├── InstanceSuspended   409 instance_suspended    it may not run
    │   ├── WrongStatus         409 wrong_status          the operation is past that, or never so
    │   ├── IdempotencyInProgress 409 idempotency_in_progress  the same request is carried out now
    │   └── AlreadyDone         409 already_done          an earlier request did it
    ├── CursorTooOld        410 cursor_too_old        what came after it is forgotten
    ├── PreconditionFailed      412 precondition_failed   it was changed since the client read it
    ├── IdempotencyKeyReused    422 idempotency_key_reused    the key was sent with another request
    ├── Throttled               429 too_many_requests     too many in a short time; wait
    ├── NodeFailure             500 node_failure          a node could not do its part; try again
    │   ├── NodeOffline         500 node_offline          known to be down: not even tried
    │   ├── NodeUnreachable     500 node_unreachable      no answer; what it did is unknown
    │   └── NodeRefused         500 node_refused          it answered no, and will do so again
    │       └── PortInUse       500 port_in_use           another program has a host port
    ├── Busy                    503 busy                  too many others wait already; ask again
    ├── Unready                 503 not_ready             something that it needs is not there
    ├── StoreUnavailable        503 database_unavailable  no answer in time; ask again
    ├── StoreFailure            500 database_error        the database said no: our mistake
    └── NoSecretKey             500 no_secret_key         nothing to encrypt with

At endpoints beyond the reference NotFound is a 404 where the path names what does not exist, and
NodeNotEmpty a 409: their `web_status`. Each class carries its HTTP status and its code; each error
carries the facts as ``details``. They are raised where the fact is known, and rendered in one
place, ``service/api/rendering.py``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar


class ServiceError(Exception):
    """An error with an HTTP status, a code for programs and a sentence for people."""

    status: int = 500
    code: str = "internal_error"
    web_status: ClassVar[int | None] = None
    """The status at endpoints beyond the reference, about what their path names: `what`."""
    retry_after_s: int | None = None

    def __init__(self, message: str, /, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInput(ServiceError):
    """The request is wrong. `details` has the name of each wrong field with its reasons."""

    status = 400
    code = "invalid_input"
    what: str = ""
    """The noun of the document that it is about, if it is about one."""
    others: Sequence["InvalidInput"] = ()
    """What else is wrong in the request; `details` has it too."""


class NotFound(InvalidInput):
    """What the request names does not exist. The API's reference answers 400, not 404."""

    web_status = 404

    def __init__(self, what: str, identifier: str, *, field: str = "id") -> None:
        self.reason = f"There is no {what} {identifier!r}."
        super().__init__(f"There is no such {what}.", **{field: [self.reason]})
        self.what, self.identifier, self.field = what, identifier, field
        self.code = f"{what.replace(' ', '_')}_not_found"


class AmbiguousName(InvalidInput):
    """Several things have the name that the request gives. `details` has their ids."""

    code = "ambiguous_name"

    def __init__(self, what: str, name: str, ids: Iterable[str], *, field: str = "id") -> None:
        super().__init__(
            f"Several {what}s have this name.",
            **{field: [f"{name!r} is the name of {', '.join(ids)}: give one of these ids."]},
        )
        self.what = what


class NodeNotEmpty(InvalidInput):
    """Instances still live on the node, so it stays."""

    code = "node_not_empty"
    web_status = 409
    what = "node"


class NoDrain(InvalidInput):
    """The node was never drained."""

    status = 404
    code = "drain_not_found"


class NotSupported(InvalidInput):
    """Nodes of this driver cannot do what is asked. `details` has the fields."""

    code = "not_supported"


class Unauthorized(ServiceError):
    """The API key is missing, unknown, revoked or expired."""

    status = 401
    code = "unauthorized"


class Forbidden(ServiceError):
    """The API key is valid, and may not do this. `details` has the scope that is missing."""

    status = 403
    code = "forbidden"


class Conflict(ServiceError):
    """It conflicts with something that exists."""

    status = 409
    code = "conflict"


class PortTaken(Conflict):
    """Another instance of the node holds one of the host ports. `details` may have its id."""

    code = "port_taken"

    def __init__(self, node_id: str, port: int, *others: int, advice: str = "") -> None:
        ports = (port, *others)
        named = ", ".join(map(str, ports))
        what = f"ports {named} are" if others else f"port {named} is"
        super().__init__(
            f"The host {what} taken on this node.{advice}",
            ports=[f"{each} is taken." for each in ports],
        )
        self.node_id, self.port = node_id, port


class NoFreePorts(Conflict):
    """The node's range has not as many free host ports as are wanted. `details` has both."""

    code = "no_ports"


class Maintenance(Conflict):
    """The node is to get no more instances for now."""

    code = "maintenance"


class NoNodeFits(Conflict):
    """No node can get the instance. `details` has the `reasons`, and `nodes` with theirs."""

    code = "no_node_fits"


class ImageInUse(Conflict):
    """Instances were made of the image, so it stays. `details` has their number."""

    code = "image_in_use"


class NodeExists(Conflict):
    """Another node is of the same engine, and nobody said that it may be. `details` has its id."""

    code = "node_exists"

    def __init__(self, name: str, node_id: str) -> None:
        super().__init__(
            f"This is the engine of the node {name} ({node_id}). Host ports, memory and cores are "
            "counted for each node, so one engine should be one node.",
            nodeId=[node_id],
        )


class DifferentEngine(Conflict):
    """Another engine than the node's answers at the address that it would get."""

    code = "different_engine"


class UserNotEmpty(Conflict):
    """The user still owns instances, so it stays. `details` has their number."""

    code = "user_not_empty"


class CapacityExceeded(Conflict):
    """The node has no room left. `details` has the numbers."""

    code = "capacity_exceeded"


class QuotaExceeded(Conflict):
    """The user's quota does not allow as much. `details` has the numbers of each limit."""

    code = "quota_exceeded"


class UserSuspended(Conflict):
    """The user is suspended, so none of the user's instances may run. `details` has the id."""

    code = "user_suspended"

    def __init__(self, user_id: str) -> None:
        super().__init__("The user is suspended.", userId=[user_id])


class TooManyKeys(Conflict):
    """A limited key, with those that it made, has made as many keys as it may."""

    code = "too_many_keys"


class TooManyWebhooks(Conflict):
    """There are as many webhooks as there may be, of the key and those it made, or of all."""

    code = "too_many_webhooks"


class WebhookDisabled(Conflict):
    """Nothing is sent to the webhook. `details` says why."""

    code = "webhook_disabled"


class InstanceNotReady(Conflict):
    """The instance is being installed, failed or does not run, so this cannot be done to it."""

    code = "instance_not_ready"


class NotCleared(Conflict):
    """What the instance left on the node, when it was there before, is still to be removed."""

    code = "not_cleared"


class NotRestorable(Conflict):
    """The instance is not deleted, or is being purged. `details` has its state."""

    code = "not_restorable"


class InstanceSuspended(Conflict):
    """The instance is suspended, so it may not run."""

    code = "instance_suspended"


class WrongStatus(Conflict):
    """The operation has ended, or is of a kind that this cannot be done to."""

    code = "wrong_status"


class CursorTooOld(ServiceError):
    """Events after this one are forgotten. Names the `oldest` one to go on after."""

    status = 410
    code = "cursor_too_old"


class PreconditionFailed(ServiceError):
    """What is to be changed is not as `If-Match` says. Nothing was done."""

    status = 412
    code = "precondition_failed"


class IdempotencyInProgress(Conflict):
    """A request with this `Idempotency-Key` is being carried out. Wait, and repeat it."""

    code = "idempotency_in_progress"
    retry_after_s = 1


class AlreadyDone(Conflict):
    """An earlier request with this `Idempotency-Key` did it. `details` has the ids of what it made.

    Its answer cannot be given again: it had a secret, or what it made is gone.
    """

    code = "already_done"

    def __init__(self, made: Mapping[str, str]) -> None:
        super().__init__(
            "An earlier request with this Idempotency-Key did this.",
            **{f"{kind}Id": made_id for kind, made_id in made.items()},
        )


class IdempotencyKeyReused(ServiceError):
    """The `Idempotency-Key` was sent before with another path or body. Nothing was done."""

    status = 422
    code = "idempotency_key_reused"


class Throttled(ServiceError):
    """Too many requests, or failed attempts, came lately. Wait as long as `Retry-After` says."""

    status = 429
    code = "too_many_requests"

    def __init__(self, message: str, *, limit: int, retry_after_s: int) -> None:
        super().__init__(message, retryAfter=[retry_after_s])
        self.limit = limit
        self.retry_after_s = retry_after_s


class NodeFailure(ServiceError):
    """A node answered with an error of its own. Trying again may help."""

    code = "node_failure"

    def __init__(self, node_id: str, reason: str) -> None:
        super().__init__(reason, nodeId=node_id)
        self.node_id = node_id
        self.reason = reason


class NodeOffline(NodeFailure):
    """The node is known to be down, so nothing was tried."""

    code = "node_offline"


class NodeUnreachable(NodeFailure):
    """The node gave no answer. Whether it did what was asked is unknown; asking again is safe."""

    code = "node_unreachable"


class NodeRefused(NodeFailure):
    """The node answered no, for a reason that trying again does not change."""

    code = "node_refused"


class PortInUse(NodeRefused):
    """A program of the node's, or a container that is not the instance's, has the host port."""

    code = "port_in_use"

    def __init__(self, node_id: str, port: int) -> None:
        super().__init__(node_id, f"Host port {port} is in use on the node by another program.")
        self.port = port


class Busy(ServiceError):
    """As many requests as may wait do so already. Nothing was done; ask again."""

    status = 503
    code = "busy"
    retry_after_s = 1


class Unready(ServiceError):
    """The service cannot do its work yet. `details` has what is missing."""

    status = 503
    code = "not_ready"
    retry_after_s = 5


class StoreUnavailable(ServiceError):
    """The database gave no answer in time. Nothing is known to be done; ask again."""

    status = 503
    code = "database_unavailable"
    retry_after_s = 2


class StoreFailure(ServiceError):
    """The database refused an operation, which asking again does not change."""

    code = "database_error"


class NoSecretKey(ServiceError):
    """There is no secret key to encrypt with."""

    code = "no_secret_key"
