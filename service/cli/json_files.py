"""Files that commands send as they are."""

import json
from pathlib import Path
from typing import Any

import click

file_argument = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


def read(file: Path) -> Any:
    """Read a file of JSON. Raises ClickException for one that is none."""
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as exc:
        raise click.ClickException(f"{file} is no JSON: {exc}.") from exc
