"""What is stored, a module a document: its fields, and the one factory that makes a new one.

`_id` is the public id everywhere; times are UTC datetimes. A new optional field is a line in its
class and one in its factory. Whoever changes a shape adds a migration too: store/admin/validators.
"""

from service.model.documents.audit import AuditEntry, new_audit_entry
from service.model.documents.drain import Drain, Moving, Stuck, new_drain
from service.model.documents.event import Cause, Event, Removal
from service.model.documents.idempotency import IdempotencyRecord, KeptAnswer
from service.model.documents.image import (
    Image,
    ImagePort,
    ReadyCheck,
    ReadyKind,
    Variable,
    new_image,
)
from service.model.documents.instance import (
    Arrival,
    BeforeSuspension,
    ContainerSettings,
    Instance,
    Observed,
    Reserved,
    Settings,
    new_instance,
)
from service.model.documents.key import Key, RetiringKey, new_key
from service.model.documents.leftover import LeftBehind, Leftover
from service.model.documents.node import (
    Allocated,
    Capacity,
    ConfigureKey,
    Deploying,
    HeldPort,
    Node,
    Report,
    new_node,
)
from service.model.documents.operation import (
    NO_NODE,
    Bulk,
    BulkItem,
    Lease,
    Operation,
    Replacement,
    SealedUser,
    Step,
    Transfer,
    new_bulk_item,
    new_bulk_operation,
    new_operation,
    new_removal,
    new_transfer,
    removed_id,
)
from service.model.documents.sampling import Sampling, Usage, new_sampling
from service.model.documents.setting import Setting
from service.model.documents.ticket import NewTicket, Ticket
from service.model.documents.user import (
    Amounts,
    Quota,
    QuotaChanges,
    User,
    new_amounts,
    new_quota,
    new_user,
)
from service.model.documents.webhook import (
    Attempt,
    Delivery,
    Disabled,
    RetiringSecret,
    Webhook,
    new_delivery,
    new_webhook,
)

__all__ = [
    "NO_NODE",
    "Allocated",
    "Amounts",
    "Arrival",
    "Attempt",
    "AuditEntry",
    "BeforeSuspension",
    "Bulk",
    "BulkItem",
    "Capacity",
    "Cause",
    "ConfigureKey",
    "ContainerSettings",
    "Delivery",
    "Deploying",
    "Disabled",
    "Drain",
    "Event",
    "HeldPort",
    "IdempotencyRecord",
    "Image",
    "ImagePort",
    "Instance",
    "KeptAnswer",
    "Key",
    "Lease",
    "LeftBehind",
    "Leftover",
    "Moving",
    "NewTicket",
    "Node",
    "Observed",
    "Operation",
    "Quota",
    "QuotaChanges",
    "ReadyCheck",
    "ReadyKind",
    "Removal",
    "Replacement",
    "Report",
    "Reserved",
    "RetiringKey",
    "RetiringSecret",
    "Sampling",
    "SealedUser",
    "Setting",
    "Settings",
    "Step",
    "Stuck",
    "Ticket",
    "Transfer",
    "Usage",
    "User",
    "Variable",
    "Webhook",
    "new_amounts",
    "new_audit_entry",
    "new_bulk_item",
    "new_bulk_operation",
    "new_delivery",
    "new_drain",
    "new_image",
    "new_instance",
    "new_key",
    "new_node",
    "new_operation",
    "new_quota",
    "new_removal",
    "new_sampling",
    "new_transfer",
    "new_user",
    "new_webhook",
    "removed_id",
]
