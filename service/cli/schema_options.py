"""Options made of the contract's schemas, so that none of what a request may have is missing."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

import click
import marshmallow as ma

from service.cli.connection import Connection
from service.contract.base import MAX_WAIT_S, Patch
from service.contract.program_fields import Variables

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


class SchemaOption(click.Option):
    """An option for one field of a request's body, or one parameter of its query."""

    def __init__(self, *names: Any, operation: str, wire_name: str, **options: Any) -> None:
        super().__init__(*names, **options)
        self.operation = operation
        self.wire_name = wire_name


class Json(click.ParamType[Any]):
    """A value as JSON."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read JSON."""
        try:
            return json.loads(value)
        except ValueError:
            self.fail(f"{value!r} is no JSON.", param, ctx)


class Pair(click.ParamType[tuple[str, str | None]]):
    """A name and a value: NAME=VALUE. A name alone takes the value away."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Part the name from the value."""
        name, sign, text = str(value).partition("=")
        if not name:
            self.fail(f"{value!r} is not like NAME=VALUE.", param, ctx)
        return name, text if sign else None


def body_options(
    operation: str,
    schema: type[ma.Schema],
    *,
    leave_out: tuple[str, ...] = (),
    is_patch: bool = False,
    **flags: str,
) -> Decorator:
    """Give a command an option for each field of the body of `operation`, loaded by `schema`.

    It gets what is given as `body`. `flags` names options otherwise than their fields; `leave_out`
    has those that the command has itself. What a change may take away, `--clear` does; `is_patch`
    says that `schema` is of the whole, and the body a merge patch of that, whose fields
    may all be null.
    """
    fields = dict(_list_fields(schema, leave_out))
    options = [_make(operation, name, field, flags, is_patch) for name, field in fields.items()]
    clearable = [
        name
        for name, field in fields.items()
        if is_patch or (field.allow_none and issubclass(schema, Patch))
    ]
    if clearable:
        options.append(
            click.option(
                "--clear",
                multiple=True,
                type=click.Choice(clearable),
                help="Take this away, or set it to its default; again for more.",
            )
        )
    return _collect("body", {_param(name): name for name in fields}, options)


def query_options(
    operation: str, schema: type[ma.Schema], *, leave_out: tuple[str, ...] = (), **flags: str
) -> Decorator:
    """Give a command an option for each parameter of the query of `operation`, as `query`."""
    fields = dict(_list_fields(schema, leave_out))
    options = [_make(operation, name, field, flags) for name, field in fields.items()]
    return _collect("query", {_param(name): name for name in fields}, options)


def query_flag(operation: str, short: str, wire_name: str, help_text: str) -> Decorator:
    """Give a command a flag for a parameter of the query of `operation`."""
    return click.option(
        short,
        f"--{wire_name}",
        is_flag=True,
        cls=SchemaOption,
        operation=operation,
        wire_name=wire_name,
        help=help_text,
    )


def dry_run_option(operation: str) -> Decorator:
    """Give a command the flag to only try it."""
    return click.option(
        "--dry-run",
        is_flag=True,
        cls=SchemaOption,
        operation=operation,
        wire_name="dryRun",
        help="Check all, show what would become of it, and change nothing.",
    )


def wait_option(operation: str) -> Decorator:
    """Give a command the option to wait for what the answer depends on, as `wait_s`."""
    return click.option(
        "--wait",
        "wait_s",
        type=click.FloatRange(0, MAX_WAIT_S),
        cls=SchemaOption,
        operation=operation,
        wire_name="wait",
        help="Seconds to wait for the end of what is under way.",
    )


def if_match_option(operation: str) -> Decorator:
    """Give a command the option to call `operation` for what is as it was read, and else not."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def call(api: Connection, *args: Any, if_match: str | None, **kwargs: Any) -> Any:
            if if_match is not None:
                api.require(operation, if_match)
            return command(api, *args, **kwargs)

        return click.option(
            "--if-match",
            cls=SchemaOption,
            operation=operation,
            wire_name="If-Match",
            metavar="ETAG",
            help="Only if this is its ETag, which `show --output wide` has.",
        )(call)

    return decorate


def _list_fields(
    schema: type[ma.Schema], leave_out: tuple[str, ...]
) -> Iterator[tuple[str, ma.fields.Field[Any]]]:
    fields = schema().load_fields.items()
    for name, field in sorted(fields, key=lambda item: not item[1].required):
        wire_name = field.data_key or name
        if wire_name not in leave_out:
            yield wire_name, field


def _param(wire_name: str) -> str:
    return f"field_{wire_name}"


def _make(
    operation: str,
    wire_name: str,
    field: ma.fields.Field[Any],
    flags: Mapping[str, str],
    is_patch: bool = False,
) -> Decorator:
    flag = "--" + re.sub(r"(?<=.)([A-Z])", r"-\1", wire_name).lower()
    help_text = str(field.metadata.get("description") or f"Its `{wire_name}`.")
    options: dict[str, Any] = {}
    if isinstance(field, ma.fields.Boolean):
        flag = f"{flag}/--no-{flag[2:]}"
        options["default"] = None
    elif isinstance(field, Variables) or (
        isinstance(field, ma.fields.Dict) and isinstance(field.value_field, ma.fields.String)
    ):
        options |= {"multiple": True, "type": Pair(), "metavar": "NAME=VALUE"}
    elif isinstance(field, ma.fields.List) and isinstance(field.inner, ma.fields.String):
        options |= {"multiple": True, "type": _find_type(field.inner)}
        if isinstance(options["type"], click.Choice):
            options["metavar"] = "TEXT"
    elif _takes_text(field):
        options["type"] = _find_type(field)
    else:
        options |= {"type": Json(), "metavar": "JSON"}
    if options.get("multiple"):
        flag, help_text = flag.removesuffix("s"), f"{help_text} Again for more."
    if field.required and not is_patch and not isinstance(field.parent, Patch):
        help_text += "  [required]"
    return click.option(
        flags.get(wire_name, flag),
        _param(wire_name),
        cls=SchemaOption,
        operation=operation,
        wire_name=wire_name,
        help=help_text,
        **options,
    )


def _takes_text(field: ma.fields.Field[Any]) -> bool:
    kinds = field.metadata.get("type", "")
    takes = "string" in ([kinds] if isinstance(kinds, str) else kinds)
    simple = (ma.fields.String, ma.fields.Enum, ma.fields.AwareDateTime, ma.fields.Number)
    return takes or isinstance(field, simple) or type(field).__name__ == "Disk"


def _find_type(field: ma.fields.Field[Any]) -> click.ParamType[str] | None:
    if isinstance(field, ma.fields.Enum):
        return click.Choice([each.value for each in field.enum])
    for check in field.validators:
        if isinstance(check, ma.validate.OneOf) and all(isinstance(e, str) for e in check.choices):
            return click.Choice(list(check.choices))
    return None


def _collect(argument: str, names: Mapping[str, str], options: list[Decorator]) -> Decorator:
    """Have a command get the values that were given as one dict."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def call(*args: Any, **kwargs: Any) -> Any:
            values = {wire_name: kwargs.pop(param) for param, wire_name in names.items()}
            given: dict[str, Any] = {name: _join(value) for name, value in values.items()
                                     if value not in (None, ())}  # fmt: skip
            given |= dict.fromkeys(kwargs.pop("clear", ()))
            return command(*args, **{argument: given}, **kwargs)

        made: Command = call
        for option in reversed(options):
            made = option(made)
        return made

    return decorate


def _join(value: Any) -> Any:
    """Make a dict of pairs, and a list of other values."""
    if isinstance(value, tuple):
        return dict(value) if isinstance(value[0], tuple) else list(value)
    return value
