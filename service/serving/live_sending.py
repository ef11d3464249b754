"""Live answers as they are sent: no thread is held while nothing happens.

With hundreds of them each event costs as often, in the loop that all requests need. So there is
little that is done for each: one call wakes all of them, and a timer is not begun anew.
"""

import asyncio
from collections import deque
from contextlib import suppress
from functools import partial

from granian._granian import RSGIHTTPProtocol, RSGIHTTPStreamTransport

from service.api.live_answer import LiveAnswer
from service.serving.streaming import (
    Connection,
    CutOff,
    send_piece,
    wait_for_room,
)

WINDOW_BYTES = 128 * 1024
"""How much of a live answer may be on its way. There may be a thousand of them."""

MEASURE_BYTES = WINDOW_BYTES // 2
"""After how much more of it is looked how much has arrived."""

TURN = 4
"""How many pieces of a live answer are sent in a row before others have their turn."""

_SHORTEST_TIMER_S = 0.05


class Waker:
    """Sets events of a loop from other threads, however many at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due = deque[asyncio.Event]()
        self._is_called = False

    def wake(self, event: asyncio.Event) -> None:
        """Set the event soon."""
        self._due.append(event)
        if not self._is_called:
            self._is_called = True
            with suppress(RuntimeError):  # the process is ending, and its loop has
                self._loop.call_soon_threadsafe(self._set_all)

    def _set_all(self) -> None:
        self._is_called = False  # before: what comes from here on calls again
        while self._due:
            self._due.popleft().set()


async def send(
    live: LiveAnswer,
    proto: RSGIHTTPProtocol,
    waker: Waker,
    connection: Connection,
    transport: RSGIHTTPStreamTransport,
) -> None:
    """Send what a live answer has until it ends, or the client leaves. Raises CutOff."""
    more = asyncio.Event()
    live.on_more(partial(waker.wake, more))
    gone = asyncio.ensure_future(proto.client_disconnect())
    gone.add_done_callback(lambda _: more.set())
    silence = _Silence(live, more)
    sent = measured = in_a_row = 0
    try:
        while (piece := live.take()) is not None:
            if gone.done():
                raise CutOff("The client is gone.")
            if piece:
                await send_piece(piece, transport)
                sent += len(piece)
                in_a_row += 1
                if sent - measured >= MEASURE_BYTES:
                    await wait_for_room(connection, sent, window=WINDOW_BYTES, live=live)
                    measured = sent
                if in_a_row % TURN == 0:
                    await asyncio.sleep(0)  # others have their turn, however much there is
            else:
                in_a_row = 0
                await more.wait()
            more.clear()  # what comes from here on is either taken now or sets it again
    finally:
        gone.cancel()
        silence.cancel()


class _Silence:
    """Sets an event when a live answer was silent for as long as it may be, again and again."""

    def __init__(self, live: LiveAnswer, more: asyncio.Event) -> None:
        self._live, self._more = live, more
        self._loop = asyncio.get_running_loop()
        self._wait()

    def cancel(self) -> None:
        """Do no more."""
        self._timer.cancel()

    def _wait(self) -> None:
        # One timer for many events: it is not begun anew with each.
        self._timer = self._loop.call_later(max(self._live.silence_s, _SHORTEST_TIMER_S), self._end)

    def _end(self) -> None:
        if self._live.silence_s == 0:
            self._more.set()
        self._wait()
