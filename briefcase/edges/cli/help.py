"""`briefcase help`: the pages of the documentation, which an installation has beside its modules.

The build copies `docs/` to `briefcase/pages`; a checkout reads `docs/` itself. A page is named by its file, or by its
directory where the file is its `README.md`; `TOPIC#HEADING` is one section, the heading as its link has it.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem

import briefcase
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.late import rich_markdown
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import note
from briefcase.model.errors import CallerError

HERE: Final = Path(briefcase.__file__).parent
LEFT_OUT: Final = "adr"  # decisions of those who build this

_HEADING: Final = re.compile(r"^(#+) (.*)$", re.MULTILINE)
_LINK: Final = re.compile(r"\[([^\[\]]+)\]\(([^()\s]+)\)")
_FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_NOT_IN_ANCHORS: Final = re.compile(r"[^a-z0-9 _-]")


def topics() -> dict[str, Path]:
    """Every page by its topic, in their order."""
    installed = HERE / "pages"
    top = installed if installed.is_dir() else HERE.parent / "docs"
    pages = [page for page in sorted(top.rglob("*.md")) if page.relative_to(top).parts[0] != LEFT_OUT]
    return {page.parent.name if page.stem == "README" else page.stem: page for page in pages}


def anchor_of(heading: str) -> str:
    """A heading as links name it."""
    return _NOT_IN_ANCHORS.sub("", heading.lower()).replace(" ", "-")


def section_of(text: str, anchor: str) -> str | None:
    """A heading and what is below it, up to the next one of its level; None where there is no such heading."""
    begins = level = None
    fences = [match.span() for match in _FENCE.finditer(text)]
    for found in _HEADING.finditer(text):
        if any(first < found.start() < last for first, last in fences):
            continue  # a comment in an example
        if begins is None and anchor_of(found[2]) == anchor:
            begins, level = found.start(), len(found[1])
        elif begins is not None and level is not None and len(found[1]) <= level:
            return text[begins : found.start()]
    return None if begins is None else text[begins:]


def with_commands(text: str, page: Path, known: dict[str, Path]) -> str:
    """The text, its links to pages as the commands that print them, those to what is not installed as words."""
    by_page = {path.resolve(): topic for topic, path in known.items()}

    def linked(match: re.Match[str]) -> str:
        words, target = match[1], match[2]
        if target.startswith(("http://", "https://")):
            return match[0]
        path, _, anchor = target.partition("#")
        topic = by_page.get((page.parent / path).resolve() if path else page.resolve())
        if topic is None:
            return words
        command = f"`briefcase help {topic}{f'#{anchor}' if anchor else ''}`"
        return command if words.endswith(".md") else f"{words} ({command})"

    return _LINK.sub(linked, text)


def _complete_topic(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [
        CompletionItem(topic, help=_title(page)) for topic, page in topics().items() if topic.startswith(incomplete)
    ]


@click.command(
    "help", epilog=example("briefcase help", "briefcase help operations", "briefcase help operations#settings")
)
@click.argument("topic", required=False, shell_complete=_complete_topic)
@json_option
@pass_app
def show_help(app: App, *, topic: str | None, as_json: bool) -> None:
    """Print a page of the documentation, or list them.

    The pages are part of the installation. What a command takes is in its own --help.
    """
    known = topics()
    if topic is None:
        titles = {name: _title(page) for name, page in known.items()}
        if as_json:
            app.json({"topics": [{"topic": name, "title": title} for name, title in titles.items()]})
            return
        app.screen.table(("TOPIC", "TITLE"), list(titles.items()), empty="no pages are installed")
        note("one of them: briefcase help TOPIC; what a command takes: briefcase COMMAND --help")
        return
    name, _, anchor = topic.partition("#")
    page = known.get(name)
    if page is None:
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean `{near[0]}`?" if near else "`briefcase help` lists them"
        raise CallerError(f"no page about `{name}`", code="not_found", hint=meant)
    text = page.read_text(encoding="utf-8")
    wanted = section_of(text, anchor) if anchor else text
    if wanted is None:
        raise CallerError(
            f"no section `{anchor}` in the page `{name}`", code="not_found", hint=f"see `briefcase help {name}`"
        )
    shown = with_commands(wanted, page, known)
    if as_json:
        app.json({"topic": topic, "text": shown})
    elif app.screen.is_terminal:
        app.screen.console.print(rich_markdown.Markdown(shown))
    else:
        click.echo(shown, nl=False)


def _title(page: Path) -> str:
    found = _HEADING.search(page.read_text(encoding="utf-8"))
    return page.stem if found is None else found[2]
