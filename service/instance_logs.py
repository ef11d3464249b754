"""What the programs of instances print, with their secrets hidden."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace as copy

from service import replacements
from service.drivers import DriverFactory
from service.errors import NotSupported
from service.instances import check_online, list_secrets, read_logs
from service.model.documents import Instance, Node
from service.model.driver_traits import traits_of
from service.model.orders import LogSearch
from service.model.printed_lines import LogLine
from service.model.printed_times import print_time
from service.security.stream_masking import MaskedLine, StreamMask
from service.store import Store


def read(
    store: Store, open_driver: DriverFactory, reference: str, search: LogSearch
) -> tuple[Instance, list[str]]:
    """Read the last lines that an instance's program printed, with their times if those are wanted.

    Raises NotFound, NotSupported where its node tells no times, NodeOffline when it is down, and
    what drivers raise.
    """
    since_ns, until_ns = search["since_ns"], search["until_ns"]
    if since_ns is None and until_ns is None and not search["timestamps"]:
        instance, text = read_logs(store, open_driver, reference, tail=search["tail"])
        return instance, text.splitlines()
    instance = store.instances.get_by_reference(reference)
    node = find_node(store, instance, search)
    with closing(open_driver(node)) as driver:
        printed = driver.read_logs(
            instance["_id"], tail=search["tail"], since_ns=since_ns, until_ns=until_ns
        )
    hider = SecretHider(find_secrets(store, instance))
    lines = [*(line for each in printed for line in hider.feed(each)), *hider.flush()]
    return instance, [_print(line) if search["timestamps"] else line.text for line in lines]


def find_node(store: Store, instance: Instance, search: LogSearch) -> Node:
    """Find the node whose log is to be read. Raises NodeOffline, and NotSupported for times."""
    node = store.nodes.get(instance["node_id"])
    asked = {"since": search["since_ns"], "until": search["until_ns"]}
    asked["timestamps"] = search["timestamps"] or None
    refused = [name for name, value in asked.items() if value is not None]
    if refused and not traits_of(node["driver"]).times_logs:
        reason = f"Nodes of the driver {node['driver']} do not say when a line was printed."
        raise NotSupported(reason, **{name: [reason] for name in refused})
    check_online(node)
    return node


def find_secrets(store: Store, instance: Instance) -> set[str]:
    """Find the secrets that may be in what was just read of an instance's program.

    It may be the program of before, or of after a change that is under way or was made since
    `instance` was read.
    """
    latest = store.instances.find(instance["_id"]) or instance
    known = (instance, latest, replacements.expect(store, latest))
    return {secret for each in known for secret in list_secrets(each)}


class SecretHider:
    """Hides secrets in lines, which keep their times. A secret of several lines becomes one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._mask = StreamMask(secrets)
        self._fed: deque[LogLine] = deque()

    @property
    def holds(self) -> bool:
        """Return whether lines are held back, because they may be the beginning of a secret."""
        return self._mask.holds

    def feed(self, line: LogLine) -> Iterator[LogLine]:
        """Take in the next line; yield those that can be shown by now."""
        self._fed.append(line)
        if line.is_cut:
            yield from self._match(self._mask.feed(line.text))
            yield from self.flush()
        else:
            yield from self._match(self._mask.feed(f"{line.text}\n"))

    def flush(self) -> Iterator[LogLine]:
        """Yield the lines that are held back, without what may be of a secret."""
        return self._match(self._mask.flush())

    def _match(self, masked: Iterable[MaskedLine]) -> Iterator[LogLine]:
        """Give lines what is known of the last that each is made of."""
        for each in masked:
            line = LogLine("", is_cut=True) if not each.lines else self._fed[each.lines - 1]
            for _ in range(each.lines):
                self._fed.popleft()
            yield copy(line, text=each.text)


def _print(line: LogLine) -> str:
    return (
        line.text if line.position is None else f"{print_time(line.position.time_ns)} {line.text}"
    )
