"""The page of webhooks: its receiver in Python reads what is really sent."""

import re
from pathlib import Path

from service.app import utc_now
from service.worker.deliveries import Sender
from tests.receivers import a_webhook, an_event, make_deliveries, receiving, send_due, settings

PAGE = Path(__file__).resolve().parents[2].joinpath("docs/webhooks.md").read_text("utf-8")


def test_the_receiver_of_the_page_verifies(store, database):
    """Its block is executed as it stands there."""
    names = {}
    [block] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(block, names)
    with receiving() as receiver:
        _, secret = a_webhook(store, receiver.url)
        make_deliveries(store, database, an_event(1))
        send_due(store, Sender(store, settings(), now=utc_now))
        [(headers, body)] = receiver.got

    assert ("image.updated", None) == names["receive"](secret, headers, body)
