"""Amounts of memory, processor and disk as clients write them, counted in integers.

Floats are kept out: ten times plus and minus 0.1 cores leaves 2.8e-17 of a core behind.
"""

import re
from decimal import ROUND_DOWN, Decimal

MIN_MEMORY_MIB = 6
"""Less than this no container engine starts."""
MAX_MEMORY_MIB = 64 * 1024 * 1024
MIN_CPU_MILLI = 10
MAX_CPU_MILLI = 1024 * 1000

UNLIMITED = -1
"""The overallocation that says that nothing is refused."""

_AMOUNT = re.compile(r"(\d{1,12}(?:\.\d{1,30})?)\s*([a-zA-Z]*)", re.ASCII)
_CORES = re.compile(r"(\d{1,5}(?:\.\d{1,30})?)\s*(?:v?cpus?|cores?)?", re.ASCII | re.IGNORECASE)
_MIB_PER_UNIT = {
    "k": Decimal(1) / 1024,
    "m": Decimal(1),
    "g": Decimal(1024),
    "t": Decimal(1024 * 1024),
}


def parse_memory_mib(
    amount: str | int | float, *, least: int = MIN_MEMORY_MIB, most: int = MAX_MEMORY_MIB
) -> int:
    """Read an amount of memory: 512, "512", "512M", "512 MiB", "2g". A bare number is MiB.

    Raises ValueError for anything else, for fractions of a MiB, and outside `least`..`most`.
    """
    mib = _parse_mib(amount, "m")
    if mib != mib.to_integral_value():
        raise ValueError(f"{amount!r} is not a whole number of MiB.")
    if not least <= mib <= most:
        raise ValueError(f"Must be at least {least} and at most {most} MiB.")
    return int(mib)


def parse_cpu_milli(
    amount: str | int | float, *, least: int = MIN_CPU_MILLI, most: int = MAX_CPU_MILLI
) -> int:
    """Read a number of cores, 2, "2" or "0.5", as thousandths of a core.

    Raises ValueError for anything else, and outside `least`..`most` of these.
    """
    match = _AMOUNT.fullmatch(str(amount).strip())
    if match is None or match[2]:
        raise ValueError(f"{amount!r} is not a number of cores, like 1 or 0.5.")
    milli = int((Decimal(match[1]) * 1000).to_integral_value(ROUND_DOWN))
    if not least <= milli <= most:
        raise ValueError(
            f"Must be at least {print_cores(least)} and at most {print_cores(most)} cores."
        )
    return milli


def parse_disk_mb(amount: str | int | float, *, most: int) -> int:
    """Read a size in GB, 10, "10" or "0.5", as MB. Raises ValueError for anything else, or more."""
    match = _AMOUNT.fullmatch(str(amount).strip())
    if match is None or match[2]:
        raise ValueError(f"{amount!r} is not a number of GB, like 10 or 0.5.")
    megabytes = int((Decimal(match[1]) * 1000).to_integral_value(ROUND_DOWN))
    if megabytes > most:
        raise ValueError(f"Must be at most {most // 1000} GB.")
    return megabytes


def find_capacity_mib(text: str) -> int | None:
    """Read a node's ``ram`` such as "32", "32 GB" or "32768M": GB when no unit is given.

    Rounded down to whole MiB. None where it cannot be read ("plenty") or is nothing ("0"): such a
    node's memory is not limited.
    """
    try:
        mib = int(_parse_mib(text, "g"))
    except ValueError:
        return None
    return mib or None


def find_capacity_milli(text: str) -> int | None:
    """Read a node's ``processor`` as thousandths of a core where it is a number: "8", "8 cores".

    None for anything else, such as a model's name: it is free text.
    """
    match = _CORES.fullmatch(text.strip())
    return int(Decimal(match[1]) * 1000) or None if match else None


def _parse_mib(amount: str | int | float, default_unit: str) -> Decimal:
    match = _AMOUNT.fullmatch(str(amount).strip())
    unit = (match[2].lower() or default_unit) if match else ""
    # "M", "MB", "Mi" and "MiB" all mean 2**20 here, as in every panel of this field.
    factor = _MIB_PER_UNIT.get(re.sub(r"(?<=.)(i?b|i)$", "", unit))
    if match is None or factor is None:
        raise ValueError(f"{amount!r} is not an amount of memory, like 512 or 512M or 2G.")
    return Decimal(match[1]) * factor


def disk_mib(disk_gb: float | None) -> int:
    """Turn the disk of an instance into MiB, rounded; 0 where it says none."""
    return round((disk_gb or 0) * 1024)


def find_disk_mib(disk: str, reported: int | None, overallocate: int | None) -> int | None:
    """Find how much disk a node may give away: of its ``disk``, or what its engine reports.

    None, which is not limited, unless `overallocate` says how much more than that it may be.
    """
    return stretch(find_capacity_mib(disk) or reported, overallocate)


def print_cores(milli: int) -> int | float:
    """Print thousandths of a core as cores, whole where they are."""
    return milli // 1000 if milli % 1000 == 0 else milli / 1000


def stretch(amount: int | None, overallocate: int | None) -> int | None:
    """Add to an amount the percentage that may be given away above it. None: not limited."""
    if amount is None or overallocate is None or overallocate == UNLIMITED:
        return None
    return amount * (100 + overallocate) // 100
