"""`briefcase config`: what a daemon of this environment starts with, and where each value came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.late import json_output, render, rich_text
from briefcase.edges.cli.lazy import Lazy, LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.model.configuration import Configuration, Setting

if TYPE_CHECKING:
    from rich.text import Text

    from briefcase.model.types import JsonObject

COMMANDS = {
    "show": Lazy("briefcase.edges.cli.config:show", "Show every setting and where its value came from."),
}


@click.group(cls=LazyGroup, table=COMMANDS, epilog=example("briefcase config show", "briefcase config show --json"))
def config() -> None:
    """Show the settings, and where each came from."""


@click.command(epilog=example("briefcase config show", "briefcase config show --set", "briefcase config show --json"))
@click.option("--set", "only_set", is_flag=True, help="Leave out what has its default.")
@json_option
@pass_app
def show(app: App, *, only_set: bool, as_json: bool) -> None:
    """Show every setting and where its value came from.

    It reads what a daemon started now, with this environment, would read: its variables and the file briefcase.toml in
    its data directory. Secrets are never shown, only that one is set. Ends with an error where a value is refused.
    """
    found = app.root.configuration(app.environ)
    groups = {
        heading: [one for one in settings if one.source != "default" or not only_set]
        for heading, settings in found.groups.items()
    }
    if as_json:
        app.json(_document(found, groups))
    else:
        rows = [(one.name, _value(one), one.unit, one.source) for heading in groups for one in groups[heading]]
        app.screen.table(("SETTING", "VALUE", "UNIT", "FROM"), rows, empty="every setting has its default")
        note(f"file: {found.file}; what each setting means: briefcase help reference")
    for problem in found.problems:
        raise problem


def _document(found: Configuration, groups: dict[str, list[Setting]]) -> JsonObject:
    return {
        "file": found.file,
        "settings": [
            {
                "name": one.name,
                "value": one.value,
                "source": one.source,
                "default": one.default,
                "unit": one.unit,
                "is_hidden": one.is_hidden,
                "help": help_of(one.page),
            }
            for settings in groups.values()
            for one in settings
        ],
    }


def help_of(page: str) -> str:
    """The command that prints a page of `docs/`, or its section."""
    path, _, anchor = page.partition("#")
    topic = path.removesuffix("/README.md").removesuffix(".md").rpartition("/")[2]
    return f"briefcase help {topic}" + (f"#{anchor}" if anchor else "")


def _value(setting: Setting) -> str | Text:
    if setting.is_hidden:
        return rich_text.Text("(set, not shown)", "dim")
    if setting.value is None:
        return render.dim(setting.otherwise.replace("`", ""))
    return setting.value if isinstance(setting.value, str) else json_output.json_text(setting.value)
