"""What users have and use, on the wire."""

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.quotas import AmountsAnswer, QuotaAnswer
from service.model.quantities import print_cores
from service.model.quotas import Measured, UserUsage, list_warnings, quota_of, used_of


class MeasuredUseAnswer(Answer[Measured]):
    """What instances used together when each was sampled last."""

    instances = answers.integer(
        1,
        of=lambda measured: measured.instances,
        description="How many were sampled: those that run on nodes that are Online.",
    )
    cpu = answers.number(
        0.25, of=lambda measured: print_cores(measured.cpu_milli), description="Cores."
    )
    memoryBytes = answers.integer(33554432, of=lambda measured: measured.memory_bytes)
    diskBytes = answers.integer(
        1048576, of=lambda measured: measured.disk_bytes, description="Of volumes, where known."
    )


class UserUsageAnswer(Answer[UserUsage]):
    """What a user's instances are promised, may be, and use."""

    userId = answers.text(fields.USER_ID, of=lambda usage: usage.user["_id"])
    promised = answers.nested(
        AmountsAnswer,
        of=lambda usage: used_of(usage.user),
        description="From a deploy on until the instance is gone.",
    )
    quota = answers.nested(QuotaAnswer, of=lambda usage: quota_of(usage.user))
    measured = answers.nested(
        MeasuredUseAnswer,
        of=lambda usage: usage.measured,
        null=True,
        description="null: there are more than 500 instances; see `GET /api/stats`.",
    )
    warnings = answers.texts(
        [],
        of=lambda usage: list_warnings(usage.user),
        description="Which limits of the quota are exceeded.",
    )
