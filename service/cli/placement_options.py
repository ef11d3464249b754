"""Options that say which of the nodes an instance is put on."""

from functools import partial, wraps
from typing import Any

import click

from service.cli.schema_options import Command, Decorator, Pair, SchemaOption
from service.contract.placement import PlacementOrder

_FLAGS = {
    "tags": "--tag",
    "labels": "--node-label",
    "exclude": "--exclude",
    "spread": "--spread",
    "prefer": "--prefer",
}


def placement_options(operation: str) -> Decorator:
    """Give a command an option for each field of the `placement` in the body of `operation`."""
    fields = {field.data_key or name: field for name, field in PlacementOrder().fields.items()}
    option = partial(click.option, cls=SchemaOption, operation=operation, wire_name="placement")

    def decorate(command: Command) -> Command:
        @wraps(command)
        def call(*args: Any, body: dict[str, Any], **kwargs: Any) -> Any:
            given = {name: kwargs.pop(f"placed_{name}") for name in _FLAGS}
            given["labels"] = dict(given["labels"])
            chosen = {name: value for name, value in given.items() if value}
            return command(
                *args, body={**body, **({"placement": chosen} if chosen else {})}, **kwargs
            )

        made: Command = call
        for name, flag in reversed(_FLAGS.items()):
            choices = [each.value for each in getattr(fields[name], "enum", ())]
            kind = click.Choice(choices) if choices else Pair() if name == "labels" else None
            help_text = str(fields[name].metadata["description"])
            made = option(
                flag,
                f"placed_{name}",
                multiple=not choices,
                type=kind,
                metavar="NAME=VALUE" if name == "labels" else None,
                help=help_text if choices else f"{help_text} Again for more.",
            )(made)
        return made

    return decorate
