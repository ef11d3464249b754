"""The threads in which the app answers."""

import asyncio
from threading import Event

from service.serving.lane import FEW, Lane


def answer_nothing(environ, start_response):
    return []


def test_another_thread_helps_while_the_few_wait():
    """
    Work that comes while as many threads as usually do it are held is done all the same.
    """

    async def hold_the_few():
        lane, released = Lane(answer_nothing, threads=FEW + 1), Event()
        held = [lane.run(lambda: released.wait(30)) for _ in range(FEW)]
        lane.run(released.set)
        return await asyncio.gather(*held)

    assert [True] * FEW == asyncio.run(hold_the_few())


def test_all_that_is_done_at_once_is_settled():
    """
    However much ends while the loop does something else, each gets its own result, or its error.
    """

    async def do_many():
        lane = Lane(answer_nothing, threads=FEW)
        works = [lane.run(lambda number=number: 12 // number) for number in (0, 1, 2, 3)]
        return await asyncio.gather(*works, return_exceptions=True)

    failed, *others = asyncio.run(do_many())

    assert [12, 6, 4] == others
    assert isinstance(failed, ZeroDivisionError)
