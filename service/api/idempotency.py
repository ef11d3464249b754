"""The header `Idempotency-Key`: a POST that bears it is carried out once, however often it comes.

As in draft-ietf-httpapi-idempotency-key-header. What changes nothing is carried out each time.
Answers of success are kept; an error means that nothing was done, so a repeat tries anew.
"""

import logging
import re
from contextlib import suppress

import orjson
from flask import Response

from service import idempotency
from service.api.call import Call
from service.errors import InvalidInput, ServiceError
from service.model.documents import KeptAnswer
from service.model.origin import Claim

log = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
VALUE = "[!-~]{1,255}"


def begin(call: Call) -> Response | None:
    """Claim the request, or answer what it was answered before.

    Raises InvalidInput for a key that is none, and like `idempotency.begin`.
    """
    value = call.request.headers.get(HEADER)
    if value is None or call.request.method != "POST":
        return None
    if not re.fullmatch(VALUE, value):
        reason = "Must have 1 to 255 visible ASCII characters, and no spaces."
        raise InvalidInput(f"The header {HEADER} is not valid.", **{HEADER: [reason]})
    if call.key is None or call.policy.changes is None or call.is_dry:
        return None
    found = idempotency.begin(
        call.store,
        call.ctx.vault,
        key_id=call.key["_id"],
        acts_for=call.acts_for,
        idempotency_key=value,
        request=_identify(call),
    )
    if isinstance(found, Claim):
        call.claim = found
        return None
    answer = Response(found["body"], status=found["status"], content_type="application/json")
    if found["location"] is not None:
        answer.headers["Location"] = found["location"]
    answer.headers[REPLAYED] = "true"
    return answer


def finish(call: Call, answer: Response) -> Response:
    """Keep the answer for repeats of the request; or let these try anew, if it is an error."""
    claim = call.claim
    if claim is None:
        return answer
    if claim.made is not None and answer.status_code < 300:
        answer.headers[REPLAYED] = "true"
    try:
        _finish(call, claim, answer)
    except ServiceError as exc:
        # A repeat finds the change itself, once the lease has run out.
        log.error("idempotency.unfinished", extra={"reason": exc.message})
    return answer


def _finish(call: Call, claim: Claim, answer: Response) -> None:
    records = call.store.idempotency
    if answer.status_code >= 300:
        records.release(claim)
    elif call.shows_secret:
        records.close(claim, {call.policy.changes or "": call.target_id or ""})
    else:
        kept = KeptAnswer(
            status=answer.status_code,
            body=answer.get_data(as_text=True),
            location=answer.headers.get("Location"),
        )
        records.keep(claim, kept)


def _identify(call: Call) -> bytes:
    """Write down what a repeat has in common with it. The order of JSON's names may differ."""
    request = call.request
    body = request.get_data(cache=True)
    with suppress(orjson.JSONDecodeError):  # which is the view's to say
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
    return b"\0".join((request.full_path.encode(), body))
