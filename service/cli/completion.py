"""The command that has shells complete this one."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands and options: put it into the shell's start file.

    For bash: eval "$(skyquay completion bash)"
    """
    kind = get_completion_class(shell)
    if kind is None:  # a click without it
        raise click.UsageError(f"There is no completion for {shell}.")
    made = kind(click.get_current_context().find_root().command, {}, "skyquay", "_SKYQUAY_COMPLETE")
    click.echo(made.source_template % made.source_vars())
