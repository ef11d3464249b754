"""Port maps: what is read, what is refused, and the laws between reading and printing."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model import ports
from service.model.ports import PortMapping

PORTS = st.integers(min_value=1, max_value=65535)
MAPS = (
    st.lists(PORTS, unique=True, max_size=ports.MAX_MAPPINGS)
    .flatmap(
        lambda containers: st.tuples(
            st.just(containers),
            st.lists(PORTS, unique=True, min_size=len(containers), max_size=len(containers)),
        )
    )
    .map(lambda sides: tuple(PortMapping(*pair) for pair in zip(*sides, strict=True)))
)
ALMOST_MAPS = st.text(alphabet="0123456789:, \t\n\x00-+.eE٣²", max_size=40)

REFUSED_PAIRS = [
    ("80", "no host port"),
    (":", "both sides empty"),
    ("80:", "no host port after the colon"),
    (":80", "no container port"),
    ("80:80:80", "three ports"),
    ("80-90:80-90", "a range"),
    ("0:80", "container port 0"),
    ("80:0", "host port 0"),
    ("80:65536", "past the last port"),
    ("99999:80", "five digits past the last port"),
    ("80:" + "9" * 5000, "a number that int() refuses to read"),
    ("+80:80", "a sign"),
    ("80:-80", "a minus"),
    ("8e1:80", "an exponent"),
    ("80.0:80", "a fraction"),
    ("0x50:80", "hexadecimal"),
    ("1_0:80", "an underscore"),
    ("80 :80", "a space inside"),
    ("80:80/tcp", "a protocol"),
    ("127.0.0.1:80:80", "an address"),
    ("٨٠:80", "Arabic digits"),
    ("80:\uff18\uff10", "full-width digits"),
    ("²:80", "a superscript"),
    ("80:80\x00", "a NUL"),
    ("\x00", "only a NUL"),
    (",", "only a comma"),
    ("80:80,", "a comma at the end"),
    (",80:80", "a comma at the start"),
    ("80:80;81:81", "a semicolon"),
]


AUTO_MAPS = [
    ("80:auto", [(80, 0, None)]),
    ("80:8080,81:auto", [(80, 8080, None), (81, 0, None)]),
    ("80-82:auto", [(80, 0, None), (81, 0, 1), (82, 0, 2)]),
    ("80-80:auto", [(80, 0, None)]),
]
REFUSED_AUTO = ["auto:80", "auto", "82-80:auto", "0:auto", "80-65536:auto", "80:AUTO", "80-:auto",
                "80-82:auto,81:auto", "1-101:auto", "1-99:auto,200-201:auto"]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), AUTO_MAPS)
def test_a_port_may_be_left_to_be_found(text, expected):
    """`auto` stands for a host port, of a range for ports that follow each other."""
    found = ports.parse(text, may_be_auto=True)

    assert expected == [(each.container, each.host, each.offset) for each in found]


@pytest.mark.parametrize("text", REFUSED_AUTO)
def test_what_is_left_to_be_found_wrongly_is_refused(text):
    """So is what stands twice, and more than an instance may have."""
    with pytest.raises(ValueError, match=r"\w"):
        ports.parse(text, may_be_auto=True)


def test_auto_is_a_port_only_where_it_may_be():
    """What a panel of before has is no wish."""
    with pytest.raises(ValueError, match="is not of the form container:host"):
        ports.parse("80:auto")


@pytest.mark.parametrize("text", ["", "1", "2-1", "0-5", "1-65536", "a-b", "1-2-3", "-1-5"])
def test_what_is_no_range_is_refused(text):
    """A range is two ports, the first no greater than the last."""
    with pytest.raises(ValueError, match=r"\w"):
        ports.parse_range(text)


RUNS = st.lists(st.integers(min_value=1, max_value=4), min_size=1, max_size=6)


@given(
    runs=RUNS,
    taken=st.sets(st.integers(min_value=100, max_value=130)),
    last=st.integers(min_value=100, max_value=130),
    start=st.integers(min_value=0, max_value=100),
)
def test_what_is_found_is_free(runs, taken, last, start):
    """It is in the range, held by nobody, given once, and follows where it is to."""
    among = ports.PortRange(100, last)
    container, wanted = 1, []
    for size in runs:
        wanted += ports.parse(f"{container}-{container + size - 1}:auto", may_be_auto=True)
        container += size

    found = ports.choose_free(wanted, taken, among, start=start)

    if found is None:
        assert max(runs) > 1 or len(runs) > len(set(range(100, last + 1)) - taken)
        return
    hosts = [mapping.host for mapping in found]
    assert len(hosts) == len(set(hosts) - taken)
    assert [each.container for each in wanted] == [each.container for each in found]
    assert all(100 <= host <= last for host in hosts)
    assert all(
        found[at].host == found[at - 1].host + 1 for at, each in enumerate(wanted) if each.offset
    )


def test_what_the_same_order_names_is_not_found():
    """A host port that is given is held, wherever it stands."""
    wanted = ports.parse("80:auto,81:100", may_be_auto=True)

    found = ports.choose_free(wanted, set(), ports.PortRange(100, 101), start=0)

    assert "80:101,81:100" == ",".join(map(str, found))


@pytest.mark.parametrize(
    ("before", "wanted", "kept"),
    [
        ("80:8080", "80:auto,81:auto", "80:8080,81:auto"),
        ("80:8080,81:8081", "80-81:auto", "80:8080,81:8081"),
        ("80:8080,81:9000", "80-81:auto", "80:auto,81:auto"),
        ("80:8080", "80-81:auto", "80:auto,81:auto"),
        ("80:8080", "80:9000", "80:9000"),
    ],
)
def test_a_port_stays_where_it_is(before, wanted, kept):
    """What asks for any host port keeps that which it has, and a range keeps one that is one."""
    found = ports.keep_hosts(ports.parse(wanted, may_be_auto=True), ports.parse(before))

    assert kept == ",".join(map(str, found))


@given(mappings=MAPS)
def test_what_is_printed_is_read_back(mappings):
    """
    Printing a port map and reading it gives the same mappings in the same order.
    """
    printed = ports.print_map(map(asdict, mappings))

    assert mappings == ports.parse(printed)


@given(text=st.one_of(st.text(), ALMOST_MAPS))
def test_no_text_breaks_parse(text):
    """
    Any text at all is either read, or refused with a ValueError and nothing else.
    """
    try:
        mappings = ports.parse(text)
    except ValueError:
        return

    assert mappings == ports.parse(ports.print_map(map(asdict, mappings)))


@given(primary=st.one_of(st.text(), ALMOST_MAPS, st.integers()), mappings=MAPS)
def test_no_primary_breaks_parse_primary(primary, mappings):
    """
    Any primary is one of the mappings, or refused with a ValueError and nothing else.
    """
    try:
        found = ports.parse_primary(primary, mappings)
    except ValueError:
        return

    assert found in mappings


@given(mappings=MAPS.filter(bool), index=st.integers(min_value=0))
def test_every_spelling_of_a_primary_finds_its_mapping(mappings, index):
    """
    A number, the same number as text, and the pair all mean the mapping of that host port.
    """
    meant = mappings[index % len(mappings)]
    spellings = [meant.host, str(meant.host), f" {meant.host}\n", str(meant)]

    found = [ports.parse_primary(spelling, mappings) for spelling in spellings]

    assert [meant] * 4 == found


@given(mappings=MAPS.filter(bool), twice=PORTS)
def test_a_host_port_given_twice_is_refused(mappings, twice):
    """
    A node has each of its ports once, so a map that names one twice is refused.
    """
    text = ports.print_map(map(asdict, (*mappings, PortMapping(twice, mappings[0].host))))

    with pytest.raises(ValueError, match="is given twice"):
        ports.parse(text)


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u2003"])
def test_no_text_is_no_ports(text):
    """
    An instance may have no ports at all: nothing, or only white space.
    """
    assert () == ports.parse(text)


def test_spaces_around_pairs_are_ignored():
    """
    People write a space after a comma; the pairs are read all the same.
    """
    mappings = ports.parse(" 80:8080 ,\n443:8443 ")

    assert (PortMapping(80, 8080), PortMapping(443, 8443)) == mappings


def test_zeros_before_a_port_are_ignored():
    """
    A padded number is the number, and printing shows it without padding.
    """
    assert "80:8080" == ports.print_map(map(asdict, ports.parse("00080:08080")))


@pytest.mark.parametrize(
    "text", [text for text, _ in REFUSED_PAIRS], ids=[why for _, why in REFUSED_PAIRS]
)
def test_what_is_no_pair_of_ports_is_refused(text):
    """
    A part that is not two ports of 1..65535 in plain digits is refused with a ValueError.
    """
    with pytest.raises(ValueError, match=r"not of the form|not between 1 and 65535"):
        ports.parse(text)


def test_a_container_port_given_twice_is_refused():
    """
    One port inside cannot be published twice: which of the two would be meant?
    """
    with pytest.raises(ValueError, match="container port 80 is given twice"):
        ports.parse("80:8080,80:8081")


def test_as_many_mappings_as_allowed_are_read():
    """
    The limit itself is allowed.
    """
    text = ",".join(f"{n}:{n}" for n in range(1, ports.MAX_MAPPINGS + 1))

    assert ports.MAX_MAPPINGS == len(ports.parse(text))


@pytest.mark.parametrize("count", [ports.MAX_MAPPINGS + 1, 100_000])
def test_more_mappings_than_allowed_are_refused(count):
    """
    Past the limit the text is refused before its parts are compared with each other.
    """
    with pytest.raises(ValueError, match="At most 100 port mappings"):
        ports.parse(",".join(["1:1"] * count))


@pytest.mark.parametrize(
    "primary",
    ["", " ", "80", 80, "25565:80", "25565", 65536, -25565, True, 10**5000, "٢٥٥٦٥", "8080\x00"],
    ids=lambda primary: ascii(primary)[:12] if primary != 10**5000 else "huge",
)
def test_a_primary_outside_the_map_is_refused(primary):
    """
    Only a host port of the map, or one of its pairs, can be the primary port.
    """
    mappings = ports.parse("80:8080")

    with pytest.raises(ValueError, match=r".+"):
        ports.parse_primary(primary, mappings)


def test_no_primary_is_found_without_ports():
    """
    Where there are no ports, none of them is the primary one.
    """
    with pytest.raises(ValueError, match="none of the host ports"):
        ports.parse_primary(8080, ())
