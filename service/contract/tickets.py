"""Tickets on the wire."""

from service.contract import answers, fields
from service.contract.answers import Answer
from service.model.documents import NewTicket


class TicketAnswer(Answer[NewTicket]):
    """What opens one live answer."""

    ticket = answers.text(
        "kJ0x...", of=lambda made: made.value, secret=True, description="For `?ticket=`, once."
    )
    expiresAt = answers.time(fields.WHEN, of=lambda made: made.expires_at)
