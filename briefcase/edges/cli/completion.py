"""`briefcase completion`: a script that completes commands, options, tools and approvals in the shell."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from briefcase.edges.cli.lazy import example

SHELLS: Final = ("bash", "zsh", "fish")
COMPLETE_VARIABLE: Final = "_BRIEFCASE_COMPLETE"


@click.command(
    epilog=example(
        'eval "$(briefcase completion bash)"',
        "briefcase completion fish > ~/.config/fish/completions/briefcase.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print a completion script for your shell."""
    kind = get_completion_class(shell)
    assert kind is not None  # click ships all of SHELLS
    click.echo(kind(ctx.find_root().command, {}, "briefcase", COMPLETE_VARIABLE).source())
