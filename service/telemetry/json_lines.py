"""A log line as one JSON object."""

import json
import logging
from datetime import UTC, datetime

import orjson
import structlog

_STANDARD = frozenset(vars(logging.makeLogRecord({})))
"""What every record has; what else it has was given as `extra`."""

_AS_REPR = (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS
)


class JsonFormatter(logging.Formatter):
    """Writes a record with what is bound to the context. What JSON cannot say is its `repr`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line. It is ASCII, so that no value controls a terminal that shows it."""
        fields: dict[str, object] = {"event": record.getMessage()}
        fields.update(structlog.contextvars.get_contextvars())
        fields["level"] = record.levelname.lower()
        fields["logger"] = record.name
        for name, value in vars(record).items():
            if name not in _STANDARD:
                fields[name] = value
        if record.stack_info:
            fields["stack_info"] = record.stack_info
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        at = datetime.fromtimestamp(record.created, UTC)
        fields["timestamp"] = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
        return _write(fields)


def _write(fields: dict[str, object]) -> str:
    try:
        line = orjson.dumps(fields, default=repr, option=_AS_REPR)
    except orjson.JSONEncodeError:  # a lone surrogate, a number of more than 64 bits
        return json.dumps(fields, default=repr, separators=(",", ":"))
    if line.isascii():
        return line.decode()
    return json.dumps(fields, default=repr, separators=(",", ":"))
