"""What a mongod says: one file, which is put aside when it is long, and quoted when it fails."""

import json
import os
import shutil
from pathlib import Path

MAX_LOG_BYTES = 16 * 1024 * 1024


def rotate(log_file: Path) -> None:
    """Make the log if need be, and move its lines aside when there are too many."""
    log_file.touch(mode=0o600)
    if log_file.stat().st_size > MAX_LOG_BYTES:
        # Copied, since a mongod that is adopted has the file open. It appends, so it goes on at 0.
        shutil.copy2(log_file, log_file.with_name(f"{log_file.name}.1"))
        os.truncate(log_file, 0)


def explain(log_file: Path, log_start: int) -> str:
    """Quote the last errors since `log_start`, or the last lines where there are none."""
    with log_file.open("rb") as file:
        file.seek(log_start)
        lines = file.read().decode(errors="replace").splitlines()
    errors = [line for line in lines if '"s":"E"' in line or '"s":"F"' in line]
    quotes = "\n".join(f"  {_read_line(line)}" for line in (errors or lines)[-3:])
    return f"The end of its log, {log_file}:\n{quotes}"


def _read_line(line: str) -> str:
    try:
        entry = json.loads(line)
        words = [*entry["msg"].split(), json.dumps(entry["attr"]) if "attr" in entry else ""]
    except (ValueError, KeyError):
        return line
    return " ".join(words).strip()
