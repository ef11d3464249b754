"""How the service tells what it does: one line an event, as JSON or, on a terminal, to be read.

Whatever is bound to the context (the id of the request, of the key, of the operation) is in every
line that follows, also in those of libraries.
"""

import logging
import sys

import structlog

from service.config import Config

# Below this level these print what they send and get: documents, with hashes of passwords.
_TOO_TALKATIVE = ("pymongo", "urllib3", "docker", "websocket", "werkzeug")

_SHARED: list[structlog.types.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def set_up(config: Config) -> None:
    """Log to standard error, as the settings say. Doing it again replaces what was set up."""
    as_json = config.log_format == "json" or (
        config.log_format == "auto" and not sys.stderr.isatty()
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_for_machines() if as_json else [_for_people()]),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.log_level)
    for name in _TOO_TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    # It warns of each request that waits for a thread: hundreds of lines in a busy second.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def _for_people() -> structlog.types.Processor:
    # The default shows the values of all variables, keys and passwords among them.
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def _for_machines() -> list[structlog.types.Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
