"""The command that brings what a Skyport panel has."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TextIO

import click

from service.admin import skyport_import, skyport_panel
from service.app import make_drivers, utc_now
from service.cli.context import command_store, find_secret_key, read_config, report_errors
from service.cli.text import printable
from service.model.access import COMPATIBILITIES
from service.security.vault import Vault

MAX_SHOWN = 200
"""How much of a line is shown: what is in a panel's database may be of any length."""


@click.command("import-skyport")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--apply", is_flag=True, help="Do it; without, only report what would be done.")
@click.option(
    "--report",
    type=click.File("w", encoding="utf-8", lazy=False),
    help="Write a report as JSON here.",
)
@click.option(
    "--compatibility",
    type=click.Choice(COMPATIBILITIES),
    help="What the imported API keys' clients were written for; the API's reference if absent.",
)
@click.option(
    "--rename",
    multiple=True,
    metavar="OLD=NEW",
    help="Bring the user of this name or e-mail address under another. May be repeated.",
)
@report_errors
def import_skyport(
    file: Path,
    apply: bool,
    report: TextIO | None,
    compatibility: str | None,
    rename: tuple[str, ...],
) -> None:
    """Bring users, nodes, images, instances and API keys from a Skyport panel's database.

    Nothing is redeployed, and nothing is stopped but what is suspended and runs all the same. It
    can be repeated: what is there already is left as it is. Nodes are asked, without changing
    anything on them, for containers that the panel does not know yet.

    The exit status is 0 also when some records could not be brought, which the report lists, and 1
    when none could be, or something else is wrong.
    """
    config = read_config()
    try:
        panel = skyport_panel.read(file)
    except skyport_panel.NoPanel as exc:
        raise click.ClickException(str(exc)) from exc
    secret_key = find_secret_key(config)
    with command_store("panel" if apply else None) as store:
        mover = skyport_import.SkyportImport(
            store,
            Vault(secret_key),
            make_drivers(replace(config, secret_key=secret_key)),
            apply=apply,
            compatibility=compatibility,
            rename=_parse_names(rename, panel),
            now=utc_now(),
        )
        try:
            total = skyport_import.count(panel)
            with click.progressbar(length=total, label="Looking", file=sys.stderr) as bar:
                for _ in mover.move(panel):
                    bar.update(1)
        finally:
            # Should the database go away, what was done until then is done.
            if report is not None:
                report.write(json.dumps(asdict(mover.report), indent=2) + "\n")
    _print_report(mover.report)
    if mover.report.is_empty:
        raise click.ClickException(f"Nothing in {file} could be brought.")


def _parse_names(renames: tuple[str, ...], panel: skyport_panel.Panel) -> dict[str, str]:
    names = {old: new for old, _, new in (text.partition("=") for text in renames)}
    for old in skyport_import.list_unknown_names(panel, names):
        raise click.ClickException(f"--rename: the panel has no user {old!r}.")
    if not all(names.values()):
        raise click.ClickException("--rename needs two names, like Ada=ada-2.")
    return names


def _print_report(report: skyport_import.Report) -> None:
    click.echo("Done." if report.applied else "A dry run: nothing was written. --apply does it.")
    for kind in skyport_import.KINDS:
        new, there = len(report.new[kind]), len(report.there_already[kind])
        click.echo(f"  {kind:<10} {new} new, {there} there already")
    for title, entries in (
        ("conflict", report.conflicts),
        ("damaged", report.damaged),
        ("failed", report.failed),
    ):
        for entry in entries:
            _print_line(f"{title}: {entry['what']}: {entry['why']}")
    for instance_id in report.suspended:
        _print_line(f"suspended, stopped if it runs: instance {instance_id}")
    for instance_id in report.left_behind:
        _print_line(f"left behind by a deletion, not brought: instance {instance_id}")
    for name in report.not_moved:
        _print_line(f"not brought: {name}")


def _print_line(text: str) -> None:
    """Print a line in which the panel's own texts may be: nothing of them commands a terminal."""
    shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
    click.echo(f"  {printable(shown)}")
