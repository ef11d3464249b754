"""A process that carries out one request, and is killed before it answers.

Run `python -m tests.dying_server API_KEY IDEMPOTENCY_KEY PATH BODY`, with the settings of
`skyquay serve`.
"""

import os
import signal
import sys

from service.api import audit_trail
from service.app import create_app
from service.config import Config


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    api_key, idempotency_key, path, body = sys.argv[1:]
    vars(audit_trail)["finish"] = _die  # the first that is done after the view
    create_app(Config.from_env(os.environ)).test_client().post(
        path,
        data=body,
        headers={"x-api-key": api_key, "Idempotency-Key": idempotency_key},
    )
