"""What the service logs: one line an event, as JSON or, on a terminal, to be read.

Whatever is bound to the context (the id of the request, of the key, of the operation) is in every
line that follows, also in those of libraries. As text a line at INFO is short, and there is one for
what an operation came to, but none for its other moves and for requests, unless the level is DEBUG.
"""

import logging
import sys

import structlog

from service.config import Config, pop_ignored
from service.model.lifecycle import ENDED
from service.telemetry.json_lines import JsonFormatter

log = logging.getLogger(__name__)

# Below this level these print what they send and get: documents, with hashes of passwords.
NOISY_LOGGERS = ("pymongo", "urllib3", "docker", "websocket", "werkzeug")

# What a person at a terminal does not look for in a line that all is well.
_DETAILS = ("level", "logger", "request_id", "requested_in", "operation_id", "key_id", "node_id",
            "attempts")  # fmt: skip


def set_up(config: Config, *, colors: bool = False) -> None:
    """Log to standard error, as the settings say; text in `colors`.

    Doing it again replaces what was set up.
    """
    as_json = config.log_format == "json" or (
        config.log_format == "auto" and not sys.stderr.isatty()
    )
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else _for_people(colors))
    if not as_json and config.log_level != "DEBUG":
        handler.addFilter(_is_for_people)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.log_level)
    # No line says where in the code, or by which thread, it was logged: see Optimization in
    # the Logging HOWTO.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    # It warns of each request that waits for a thread: hundreds of lines in a busy second.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def report_ignored() -> None:
    """Warn of each variable that looks like a setting and has no effect, once."""
    for why in pop_ignored():
        log.warning("setting.ignored", extra={"reason": why})


def _is_for_people(record: logging.LogRecord) -> bool:
    if record.levelno > logging.INFO:
        return True
    if record.name == "skyquay.move":
        fields = vars(record)
        return "kind" in fields and (fields["to"] in ENDED or fields["error"] is not None)
    return record.name != "skyquay.request"


def _for_people(colors: bool) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _shorten,
            structlog.dev.ConsoleRenderer(
                colors=colors,
                pad_event_to=0,
                pad_level=False,
                # The default shows the values of all variables, keys and passwords among them.
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ],
    )


def _shorten(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    if event["level"] != "info":
        return event
    if event["logger"] == "skyquay.move" and "kind" in event:
        event["event"] = " ".join(event.pop(name) for name in ("kind", "instance_id", "to"))
        event.pop("from")
    error = event.pop("error", None)
    if error is not None:
        event["event"] += f": {str(error).partition(chr(10))[0]}"
    return {
        name: value for name, value in event.items() if name not in _DETAILS and value is not None
    }
