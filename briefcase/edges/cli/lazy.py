"""Command groups that import a subcommand only when it is used: `briefcase --version` loads none of them.

A group is a literal table of its subcommands with their one-line summaries, so that `--help` imports nothing either.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Lazy(NamedTuple):
    """Where a command lives (`module:attribute`), and the line `--help` shows for it."""

    target: str
    summary: str

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


class LazyGroup(click.Group):
    """A group of commands of its own and, after them, a table of `Lazy` ones, in the table's order."""

    def __init__(self, *args: Any, table: Mapping[str, Lazy] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table: Mapping[str, Lazy] = table or {}

    def list_commands(self, ctx: click.Context) -> list[str]:  # click's own signature
        """The names, its own commands first."""
        return [*self.commands, *self.table]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name."""
        lazy = self.table.get(cmd_name)
        return super().get_command(ctx, cmd_name) if lazy is None else lazy.load()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was meant, or say what it could have been.

        Raises:
            click.UsageError: no command has that name.
        """
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            meant = f"did you mean `{near[0]}`?" if near else f"expected one of {', '.join(self.list_commands(ctx))}"
            raise click.UsageError(f"unknown command `{name}`: {meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # likewise
        """Write the commands without importing those of the table."""
        own = [(name, command.get_short_help_str(formatter.width)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*own, *((name, lazy.summary) for name, lazy in self.table.items())])


def example(*lines: str) -> str:
    """An epilog with examples, each on its own line as it would be typed."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)
