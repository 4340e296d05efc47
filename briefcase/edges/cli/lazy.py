"""Command groups that import a subcommand only when it is used: `briefcase --version` loads none of them.

A group is a literal table of its subcommands with their one-line summaries, so that `--help` imports nothing either.
`meant` are words that are no command of the group, and what to type instead.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import click

MEANT: Final[Mapping[str, tuple[str, ...]]] = {
    "add": ("add", "upsert", "set", "import", "create", "enroll"),
    "create": ("add", "upsert", "set", "create"),
    "del": ("delete", "remove", "revoke", "lift"),
    "delete": ("remove", "revoke", "lift"),
    "edit": ("set", "upsert"),
    "get": ("show", "list"),
    "info": ("show", "status", "list"),
    "login": ("oauth-login",),
    "logout": ("oauth-revoke",),
    "ls": ("list",),
    "new": ("add", "upsert", "set", "create"),
    "remove": ("delete", "revoke", "lift"),
    "rm": ("delete", "remove", "revoke", "lift"),
    "show": ("list",),
    "status": ("status", "check", "list"),
    "update": ("set", "upsert"),
}
"""What other programs' verbs are called here: the first of these that a group has."""


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

    def __init__(
        self,
        *args: Any,
        table: Mapping[str, Lazy] | None = None,
        meant: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.table: Mapping[str, Lazy] = table or {}
        self.meant: Mapping[str, str] = meant or {}

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
            likely = self._likely(ctx, name)
            meant = f"did you mean `{likely}`?" if likely else f"expected one of {', '.join(self.list_commands(ctx))}"
            raise click.UsageError(f"unknown command `{name}`: {meant}", ctx)
        return super().resolve_command(ctx, args)

    def _likely(self, ctx: click.Context, name: str) -> str | None:
        """What was probably meant: as other programs call it, or one slip away."""
        known = self.list_commands(ctx)
        by_verb = (verb for verb in MEANT.get(name, ()) if verb in known)
        near = difflib.get_close_matches(name, known, n=1)
        return self.meant.get(name) or next(by_verb, None) or next(iter(near), None)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # likewise
        """Write the commands without importing those of the table."""
        own = [(name, command.get_short_help_str(formatter.width)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*own, *((name, lazy.summary) for name, lazy in self.table.items())])


def example(*lines: str) -> str:
    """An epilog with examples, each on its own line as it would be typed."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)
