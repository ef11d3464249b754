"""What an instance uses, as it changes: a source of live answers."""

from service.api.live import make_frame
from service.contract.json_text import encode
from service.contract.programs import InstanceUsage, StatsAnswer
from service.meters import Measured, Watch

END = make_frame(
    encode({"reason": "deleted", "message": "The instance is deleted."}).decode(), event="end"
)


class StatsStream:
    """The measurements of one instance, for one client."""

    def __init__(self, watch: Watch) -> None:
        self.on_more = watch.on_more
        self.close = watch.close
        self._watch = watch
        self._is_stopped = False
        self._has_ended = False

    def take(self) -> bytes | None:
        """Return the newest measurement. See `Source`."""
        is_over = self._watch.is_over
        measured = self._watch.take()
        if measured is not None:
            return self._write(measured)
        if self._has_ended or not is_over:
            return None if self._has_ended else b""
        self._has_ended = True
        return END

    def _write(self, measured: Measured) -> bytes:
        """Write a frame. That it does not run is said once."""
        if measured.error is not None:
            self._is_stopped = False
            problem = {"error": measured.error.message, "code": measured.error.code}
            return make_frame(encode(problem).decode(), event="problem")
        was_stopped, self._is_stopped = self._is_stopped, measured.usage is None
        return b"" if was_stopped and self._is_stopped else make_stats_frame(measured)


def make_stats_frame(measured: Measured) -> bytes:
    """Make the frame of a measurement."""
    shaped = StatsAnswer.shape(
        InstanceUsage(instance=measured.instance, usage=measured.usage, now=measured.at)
    )
    return make_frame(encode(shaped).decode())
