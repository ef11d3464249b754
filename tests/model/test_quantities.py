"""Amounts of memory and processor: every spelling that is meant, and none that is not."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model import quantities

MIB = st.integers(min_value=quantities.MIN_MEMORY_MIB, max_value=quantities.MAX_MEMORY_MIB)
GIB = st.integers(min_value=1, max_value=quantities.MAX_MEMORY_MIB // 1024)
MILLI = st.integers(min_value=quantities.MIN_CPU_MILLI, max_value=quantities.MAX_CPU_MILLI)
ANYTHING = st.one_of(
    st.text(),
    st.text(alphabet="0123456789 .,eE+-_kKmMgGtTiIbB\x00\n٣²", max_size=20),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.booleans(),
)

REFUSED_BY_BOTH = [
    "", " ", "\x00", "512\x00", "+512", "-512", -512, "1e3", "1E3", 1e300, "1e", "0x200", "1_000",
    "1,5", "1.5.0", ".5", "5.", "٥١٢", "\uff15\uff11", "²", "half", "512 512", "1" * 13, "1" * 5000,
    10**5000, "nan", "inf", float("nan"), float("inf"), float("-inf"), True, False, 0, "0", "00",
]  # fmt: skip
IDS = [ascii(value)[:16] if value != 10**5000 else "int of 5001" for value in REFUSED_BY_BOTH]


@given(mib=MIB)
def test_every_spelling_of_mebibytes_agrees(mib):
    """
    A number, its text and every suffix for 2**20 bytes are the same amount.
    """
    spellings = [mib, str(mib), f"{mib}m", f"{mib}M", f"{mib}MB", f"{mib} Mi", f"{mib} MiB",
                 f"{mib}mib", f" {mib}mb\n", f"{mib}.0", f"{mib}.000000M"]  # fmt: skip

    amounts = {quantities.parse_memory_mib(spelling) for spelling in spellings}

    assert {mib} == amounts


@given(gib=GIB)
def test_units_agree_with_each_other(gib):
    """
    So many GiB are 1024 times as many MiB, and 1024 times as many of these are KiB.
    """
    in_gib = quantities.parse_memory_mib(f"{gib}G")
    in_mib = quantities.parse_memory_mib(f"{gib * 1024}M")
    in_kib = quantities.parse_memory_mib(f"{gib * 1024 * 1024}K")
    of_a_node = quantities.find_capacity_mib(str(gib))

    assert [gib * 1024] * 4 == [in_gib, in_mib, in_kib, of_a_node]


@given(amount=ANYTHING)
def test_nothing_breaks_parse_memory_mib(amount):
    """
    Any text or number is a whole number of MiB within the limits, or refused with a ValueError.
    """
    try:
        mib = quantities.parse_memory_mib(amount)
    except ValueError:
        return

    assert int is type(mib)
    assert quantities.MIN_MEMORY_MIB <= mib <= quantities.MAX_MEMORY_MIB


@given(amount=ANYTHING)
def test_nothing_breaks_parse_cpu_milli(amount):
    """
    Any text or number is an integer of thousandths, never a float, or refused with a ValueError.
    """
    try:
        milli = quantities.parse_cpu_milli(amount)
    except ValueError:
        return

    assert int is type(milli)
    assert quantities.MIN_CPU_MILLI <= milli <= quantities.MAX_CPU_MILLI


@given(text=st.one_of(st.text(), st.text(alphabet="0123456789 .gGmMbB", max_size=12)))
def test_nothing_breaks_find_capacity_mib(text):
    """
    What people write as a node's memory is a whole number of MiB or unknown, and never an error.
    """
    capacity = quantities.find_capacity_mib(text)

    assert capacity is None or type(capacity) is int


@given(milli=MILLI)
def test_every_spelling_of_cores_agrees(milli):
    """
    Thousandths of a core as text, as a float and padded with zeros are read exactly.
    """
    text = str(Decimal(milli) / 1000)
    spellings = [text, f" {text} ", milli / 1000, f"{milli / 1000:.6f}"]

    amounts = {quantities.parse_cpu_milli(spelling) for spelling in spellings}

    assert {milli} == amounts


@given(amounts=st.lists(MILLI.map(lambda milli: milli / 1000), max_size=50))
def test_cores_taken_and_given_back_leave_nothing(amounts):
    """
    Adding up what instances take and subtracting it again ends at exactly zero.
    """
    taken = [quantities.parse_cpu_milli(amount) for amount in amounts]

    left = sum(taken)
    for milli in reversed(taken):
        left -= milli

    assert 0 == left


@pytest.mark.parametrize(
    ("amount", "mib"),
    [
        (512, 512),
        (512.0, 512),
        ("512", 512),
        ("2g", 2048),
        ("1.5 GB", 1536),
        ("0.5GiB", 512),
        ("1t", 1024 * 1024),
        ("6144k", 6),
        ("6", 6),
        ("64T", quantities.MAX_MEMORY_MIB),
        ("0512", 512),
        ("\u00a0512\u2003", 512),
    ],
)
def test_memory_is_read(amount, mib):
    """
    These are the spellings that clients and people use.
    """
    assert mib == quantities.parse_memory_mib(amount)


@pytest.mark.parametrize("amount", REFUSED_BY_BOTH, ids=IDS)
def test_what_is_no_memory_is_refused(amount):
    """
    Signs, exponents, other digits, NULs and nothing at all are refused with a ValueError.
    """
    with pytest.raises(ValueError, match=r".+"):
        quantities.parse_memory_mib(amount)


@pytest.mark.parametrize("amount", REFUSED_BY_BOTH, ids=IDS)
def test_what_is_no_number_of_cores_is_refused(amount):
    """
    Signs, exponents, other digits, NULs and nothing at all are refused with a ValueError.
    """
    with pytest.raises(ValueError, match=r".+"):
        quantities.parse_cpu_milli(amount)


@pytest.mark.parametrize(
    "amount",
    ["5", "6143k", "65T", "67108865", "512.5", "1000k", "512b", "512 bytes", "512gbb", "512p",
     "512 i", "512ii", "512MBit"],
)  # fmt: skip
def test_memory_of_another_size_or_unit_is_refused(amount):
    """
    Too little, too much, a fraction of a MiB and unknown units are refused with a ValueError.
    """
    with pytest.raises(ValueError, match=r".+"):
        quantities.parse_memory_mib(amount)


@pytest.mark.parametrize(
    ("amount", "milli"),
    [(1, 1000), (2.0, 2000), ("0.5", 500), ("0.01", 10), (1024, 1_024_000), ("0.0109", 10),
     ("1.999999", 1999)],
)  # fmt: skip
def test_cores_are_read(amount, milli):
    """
    Cores become thousandths; what is finer than that is dropped.
    """
    assert milli == quantities.parse_cpu_milli(amount)


@pytest.mark.parametrize("amount", ["0.009999", 0.001, "1024.001", 1025, "500m", "2 cores", "50%"])
def test_cores_of_another_size_or_unit_are_refused(amount):
    """
    Too little, too much, and any unit are refused with a ValueError.
    """
    with pytest.raises(ValueError, match=r".+"):
        quantities.parse_cpu_milli(amount)


@pytest.mark.parametrize(
    ("ram", "capacity_mib"),
    [("32", 32768), ("32 GB", 32768), ("32768M", 32768), ("0.5", 512), ("1TB", 1024 * 1024),
     ("", None), ("plenty", None), ("16,5", None), ("32 GB DDR5", None)],
)  # fmt: skip
def test_capacity_is_read_where_it_can_be(ram, capacity_mib):
    """
    A bare number is GB, and what cannot be read is no limit.
    """
    assert capacity_mib == quantities.find_capacity_mib(ram)


@pytest.mark.parametrize(("ram", "capacity_mib"), [("15.6 GB", 15974), ("31.3", 32051)])
def test_capacity_that_is_no_whole_number_of_mebibytes_still_limits(ram, capacity_mib):
    """
    A node of 15.6 GB can be read, so it is limited, rounded down to whole MiB.
    """
    assert capacity_mib == quantities.find_capacity_mib(ram)


@pytest.mark.parametrize(("cores", "milli"), [(1 / 3, 333), (0.1 + 0.2, 300), ("0.3333333", 333)])
def test_cores_with_many_decimals_are_read(cores, milli):
    """
    A client that divides sends 0.3333333333333333: what is finer than a thousandth is dropped.
    """
    assert milli == quantities.parse_cpu_milli(cores)
