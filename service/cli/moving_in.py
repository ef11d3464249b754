"""The command that brings what a Skyport panel has."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from service import keys, moving_in, skyport_panel
from service.app import utc_now
from service.cli.context import any_store, find_secret_key, plainly, read_config
from service.vault import Vault


@click.command("import-skyport")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--apply", is_flag=True, help="Do it; without, only tell what would be done.")
@click.option("--report", type=click.Path(path_type=Path), help="Write a report as JSON here.")
@click.option(
    "--compatibility",
    type=click.Choice(keys.COMPATIBILITIES),
    help="What the imported API keys' clients were written for; the API's reference if absent.",
)
@plainly
def import_skyport(file: Path, apply: bool, report: Path | None, compatibility: str | None) -> None:
    """Bring users, nodes, images, instances and API keys from a Skyport panel's database.

    Nothing is redeployed and nothing is stopped. It can be repeated: what is there already is left
    as it is.
    """
    config = read_config()
    try:
        panel = skyport_panel.read(file)
    except skyport_panel.NoPanel as exc:
        raise click.ClickException(str(exc)) from exc
    with any_store("panel" if apply else None) as store:
        mover = moving_in.Mover(
            store,
            Vault(find_secret_key(config)),
            apply=apply,
            compatibility=compatibility,
            now=utc_now(),
        )
        total = moving_in.count(panel)
        with click.progressbar(length=total, label="Looking", file=sys.stderr) as bar:
            for _ in mover.move(panel):
                bar.update(1)
    _print_report(mover.report)
    if report is not None:
        report.write_text(json.dumps(asdict(mover.report), indent=2) + "\n")


def _print_report(report: moving_in.Report) -> None:
    click.echo("Done." if report.applied else "A dry run: nothing was written. --apply does it.")
    for kind in moving_in.KINDS:
        new, there = len(report.new[kind]), len(report.there_already[kind])
        click.echo(f"  {kind:<10} {new} new, {there} there already")
    for title, entries in (("conflict", report.conflicts), ("damaged", report.damaged)):
        for entry in entries:
            click.echo(f"  {title}: {entry['what']}: {entry['why']}")
    for instance_id in report.left_behind:
        click.echo(f"  left behind by a deletion, not brought: instance {instance_id}")
    for name in report.not_moved:
        click.echo(f"  not brought: {name}")
