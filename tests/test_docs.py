"""The documentation says what the code does: every command it shows exists, with every option it shows."""

import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

from briefcase.edges.cli.main import cli

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(briefcase(?: [^`\n]+)?)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def commands_of(page: Path) -> list[str]:
    text = page.read_text()
    shown = [
        line.removeprefix("$ ").split("|")[-1 if "| briefcase" in line else 0].split(" # ")[0].strip()
        for block in FENCE.findall(text)
        for line in block.replace("\\\n", " ").splitlines()
        if re.match(r"(\$ )?(.*\| )?briefcase ", line)
    ]
    return [*shown, *(command for command in INLINE.findall(text) if "…" not in command)]


def words_of(command: str) -> list[str]:
    return shlex.split(command.replace("<", "").replace(">", ""))


@pytest.mark.parametrize(
    ("page", "command"),
    [(page.relative_to(ROOT), command) for page in PAGES for command in commands_of(page)],
    ids=str,
)
def test_a_command_that_is_shown_exists(page, command):
    here: click.Command = cli
    context = click.Context(cli, info_name="briefcase")
    words = words_of(command)[1:]
    while words and isinstance(here, click.Group) and not words[0].startswith("-"):
        name = words.pop(0)
        found = here.get_command(context, name)
        assert found is not None, f"{page}: `{command}` names no command `{name}`"
        here = found
    options = {option for parameter in here.get_params(context) for option in parameter.opts}
    own = words[: words.index("--")] if "--" in words else words
    for word in own:
        if word.startswith("--"):
            assert word.partition("=")[0] in options | {"--version"}, f"{page}: `{command}` has no option `{word}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"`{target}`"


def test_the_picture_of_the_house_is_drawn_from_its_allow_list():
    found = importlib.util.spec_from_file_location("draw_house", ROOT / "docs" / "draw_house.py")
    drawing = importlib.util.module_from_spec(found)
    found.loader.exec_module(drawing)
    assert (ROOT / "docs" / "house.svg").read_text() == drawing.house_svg(), "run `make docs`"
