"""Writes the pages of docs/ that are made from the code: `make docs`."""

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import click

from service.cli import main
from service.cli.failures import MEANINGS
from service.config import Config, describe_settings, variable
from service.contract.error_catalogue import CATALOGUE, OF_NGINX, Entry
from service.model.events import TYPES

SETTINGS = """# Settings

All settings are environment variables, read at start. One that is unset or empty has its default. A
variable that begins with `SKYQUAY_` and is no setting is named in a warning at start.

Secrets may be in files instead, which these name: {secrets}.

| variable | default | meaning |
| --- | --- | --- |
{rows}
"""

ERRORS = """# Errors

Every error is JSON: `error` is a sentence for people, `code` is for programs, and `details` has the
facts. A 400 names all wrong fields at once; its code is that of the first. Programs should branch
on the code: the sentences may change.

```json
{{"error": "There is no such node.", "code": "node_not_found",
 "details": {{"nodeId": ["There is no node 'nowhere'."]}},
 "type": "/docs/errors#node_not_found", "title": "There is no such node.", "status": 400,
 "detail": "There is no such node.", "instance": "urn:skyquay:request:b0c1d2e3f4a59687"}}
```

`type`, `title`, `status`, `detail` and `instance` are those of RFC 9457. `type` leads to this list
on your server. The content type is `application/json`, or `application/problem+json` for requests
that name that in `Accept`.

An unknown user, instance or node is a 400, not a 404, as in the older panel, except where the path
names it at one of the [addresses](api.md#addresses) beyond the reference: `node_not_empty` is a 409
there too. Keys made with `compatibility` get [other
statuses](compatibility.md#two-families-of-clients) for some requests.
Requests that may be repeated after a 500 or a 503 are listed in [What is safe to
repeat](api.md#what-is-safe-to-repeat). `Retry-After` is a header, in seconds. Every answer has
`X-Request-Id`; the log has it too.

<!-- codes -->

| status | code | meaning | what to do |
| --- | --- | --- | --- |
{codes}

[nginx](deploy.md#nginx) in front adds errors of its own, in the same shape:

| status | code | meaning | what to do |
| --- | --- | --- | --- |
{nginx}
"""

EVENTS = """# Events

Every change of an instance, an operation, a node, a user, an image, a key or a webhook is an event.
A change and its event are one: MongoDB's log of commits is what events are made of, so none is
lost, whatever crashes, and nothing is told that was not committed.

`GET /api/events` answers them, oldest first; [webhooks](webhooks.md) are sent them:

```json
{{"events": [{{"id": "1795702602069", "type": "instance.ready", "time": "2026-11-26T14:16:42.031Z",
  "resourceId": "ik3l4m5nopq6r", "instanceId": "ik3l4m5nopq6r", "userId": "318924857203654657",
  "nodeId": "5f2b8a90c1d4e7f3", "causedBy": "a1b2c3d4e5f6", "requestId": "b0c1d2e3f4a59687",
  "resource": {{"Id": "ik3l4m5nopq6r", "InternalState": "READY"}}}}],
 "next": "1795702602069"}}
```

- Ids grow in the order of commits. Send `next` as `after` of the next request, and you miss none
  and see each once. Without `after` the newest come.
- `wait=30` waits so many seconds for an event while there is none.
- `types`, `instance`, `user` and `node` choose; `limit` is how many come at once, 1000 at the most.
- With `Accept: text/event-stream` events come as they happen: see [Streams](streams.md).
- `resource` is what a GET of it answers now, so an old event has the newest state; of what is gone
  it is as it was last, without secrets.
- `causedBy` is the id of the API key, and `requestId` the request that asked for it. What a worker
  does for an operation was caused by who asked for that; what a probe finds was caused by nobody.
- A key is told what it may read: the kinds by its scopes, the documents by its limits. Events of
  keys and webhooks are told to keys that may do everything.
- Events are kept for `SKYQUAY_EVENTS_DAYS`. An `after` that is older is a 410, whose `oldest` says
  where to go on: read again what you show, first.
- Times of probes, leases and the like change without an event.

Workers write events, one of them at a time; while none runs no event appears, and none is lost. If
none ran for longer than MongoDB's oplog lasts, `log.gap` says that events may be missing.

<!-- types -->

| type | meaning |
| --- | --- |
{types}
"""

COMMANDS = """# Commands

After `make run`, `skyquay` is `.venv/bin/skyquay`. Commands that need the database use
`SKYQUAY_MONGODB_URI`, or else the private one of a `skyquay up` that runs on the same data folder.
What is not given as an option is one of the [settings](settings.md).

## Servers elsewhere

Commands for users, instances, images, nodes, keys, operations, webhooks and the audit log speak the
[API](api.md): with the server that `--url` names, else `SKYQUAY_URL`, else `skyquay login`. Where
none does, and with `--local`, they use the database of this machine, with all rights. On a terminal
they say which. All other commands are for this machine.

```sh
skyquay login https://skyquay.example.org
skyquay instances list --state READY --output wide
```

These options may stand before a command's name or behind it:

{connection}

The key is that of `--key`, else `SKYQUAY_KEY`, else of the login. One that was set or kept for a
server is sent to no other. Without any it is asked for on a terminal; `--key -` and `login` read it
from standard input elsewhere.
`REQUESTS_CA_BUNDLE` and `HTTPS_PROXY` apply.

A terminal gets tables with headings, in colors unless `NO_COLOR` is set; a pipe gets plain lines
without headings; `--json` prints what the API answers. What takes an operation shows its steps on
standard error until it has ended; `--no-wait` ends at once. What destroys something asks first,
unless `--yes` is given.

After a broken connection a request is sent once more where that is safe: one that only reads, and a
POST, which bears an `Idempotency-Key`.

| exit code | meaning |
| --- | --- |
{exits}

{commands}
"""


def settings_page() -> str:
    """Write the page of the settings."""
    secrets = [f"`{variable(one.name)}_FILE`" for one in fields(Config) if one.metadata["secret"]]
    rows = [
        f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |"
        for name, default, meaning in describe_settings()
    ]
    return SETTINGS.format(secrets=", ".join(secrets), rows="\n".join(rows))


def errors_page() -> str:
    """Write the page of the errors."""
    return ERRORS.format(codes=_list(CATALOGUE), nginx=_list(OF_NGINX))


def events_page() -> str:
    """Write the page of the events."""
    return EVENTS.format(types="\n".join(f"| `{name}` | {text} |" for name, text in TYPES.items()))


def _list(entries: Iterable[Entry]) -> str:
    return "\n".join(
        f"| {entry.status} | `{entry.code}` | {entry.title} | {entry.remedy} |" for entry in entries
    )


def commands_page() -> str:
    """Write the page of the commands."""
    context = click.Context(main, info_name="skyquay")
    return COMMANDS.format(
        connection=_list_options(main, context),
        exits="\n".join(f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()),
        commands="\n\n".join(_describe(main, context)),
    )


def _describe(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name) or group
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _describe(command, inner)
        else:
            yield _describe_command(command, inner)


def _describe_command(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [
        f"## {context.command_path}",
        f"```text\n{usage}\n```",
        inspect.cleandoc(command.help or ""),
    ]
    if table := _list_options(command, context):
        parts.append(table)
    return "\n\n".join(parts)


def _list_options(command: click.Command, context: click.Context) -> str:
    options = [
        param for param in command.params if isinstance(param, click.Option) and not param.is_eager
    ]
    records = [record for option in options if (record := option.get_help_record(context))]
    rows = [
        " | ".join(cell.replace("|", r"\|") for cell in (f"`{names}`", meaning))
        for names, meaning in records
    ]
    lines = ["option | meaning", "--- | ---", *rows] if rows else []
    return "\n".join(f"| {line} |" for line in lines)


PAGES = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "errors.md": errors_page,
    "events.md": events_page,
}

if __name__ == "__main__":
    for page, write in PAGES.items():
        Path(__file__).with_name(page).write_text(write(), "utf-8")
