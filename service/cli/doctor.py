"""The command that looks for what is wrong."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace

import click

from service.admin import doctor
from service.admin.doctor.findings import Finding, Level
from service.app import make_drivers, make_store, utc_now
from service.cli.context import find_database, find_secret_key, read_config, report_errors
from service.config import Config, ConfigError
from service.security.vault import Vault


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--mend", is_flag=True, help="Count anew what is counted wrongly of users and nodes.")
@report_errors
def examine(as_json: bool, mend: bool) -> None:
    """Look for what is wrong, and say what to do about it. Ends with 1 when something fails."""
    findings = list(_examine(read_config(), mend=mend))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            said = " ".join(filter(None, (finding.found, finding.remedy)))
            click.echo(f"{finding.level:<5} {finding.subject}: {said}")
    if any(finding.level == Level.FAIL for finding in findings):
        click.get_current_context().exit(1)


def _examine(config: Config, *, mend: bool) -> Iterator[Finding]:
    try:
        there = find_database(config)
    except ConfigError as exc:
        yield Finding(Level.FAIL, "settings", str(exc), "Set it, or start `up`.")
        return
    if not config.mongodb_uri:
        there = replace(there, allow_process=True, allow_loopback_nodes=True)  # as `up` has it
    secret_key = find_secret_key(config)
    with closing(make_store(there)) as store:
        yield from doctor.examine(
            store,
            make_drivers(replace(there, secret_key=secret_key), store),
            Vault(secret_key),
            data_dir=config.data_dir,
            probe_interval_s=config.probe_interval_s,
            mend=mend,
            now=utc_now,
        )
