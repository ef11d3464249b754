"""What an endpoint asks of its callers, and what is done around its view."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EndpointPolicy:
    """One endpoint's line in the table, which is `endpoints.POLICIES`."""

    scope: str | None = None
    """What the key must be allowed to do; None: any key is enough."""

    is_live: bool = False
    """Whether it can answer server-sent events. These may be asked for with a ticket, too."""

    needs_key: bool = True

    needs_database: bool = True
    """False: it answers while the database is away, to a key that was valid before, if to any."""

    changes: str | None = None
    """The kind of what it changes, if anything: that goes to the audit log then."""

    named_by: str | None = None
    """The field of the body with the id of what it changes. Else that is the parameter
    `<kind>_id` of the path; where there is neither, it makes something new."""

    can_be_dry: bool = False
    """Whether it can be only tried, with `?dryRun=true`: then it changes nothing."""

    for_monitoring: bool = False
    """Whether it is asked again and again, so that no rate counts it, and it is logged as DEBUG."""
