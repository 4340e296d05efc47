"""The documentation says what the code does: every command it shows exists, with every option it shows."""

import ast
import importlib
import re
import shlex
from contextlib import suppress
from pathlib import Path

import click
import pytest

from briefcase.adapters.disk.data_dir import data_dir_of
from briefcase.adapters.telemetry.settings import load_otel_settings
from briefcase.core.receipts.kinds import KINDS
from briefcase.daemon import config_file
from briefcase.daemon.settings import master_passphrase, parse_settings
from briefcase.edges.cli.client import address_of, token_of
from briefcase.edges.cli.fleet_client import FleetClient
from briefcase.edges.cli.main import cli
from briefcase.edges.client.expected import expected_daemon
from briefcase.edges.control_plane import settings as control_plane
from briefcase.edges.gateway.settings import load_gateway_settings
from briefcase.model.errors import BriefcaseError
from briefcase.model.variables import BY_NAME

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


PACKAGE = ROOT / "briefcase"
TABLE = PACKAGE / "model" / "variables.py"
OURS = re.compile(r"(?:BRIEFCASE|OTEL)_[A-Z_]*[A-Z]")
NO_SETTING = {"PATH", "LC_CTYPE"}  # finds programs, as everywhere; the interpreter sets it for a child


@pytest.mark.parametrize("name", ["house.svg", "reference.md"])
def test_what_is_made_from_the_code_is_as_the_code_is(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    generated = importlib.import_module("docs.generate").GENERATED
    assert (ROOT / "docs" / name).read_text() == generated[name](), "run `make docs`"


def variables_in(path: Path) -> set[str]:
    """The variables a module names: ours wherever they stand, others where they are read from an environment."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and OURS.fullmatch(node.value):
            found.add(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"get", "pop"}:
            of, name = node.func.value, node.args[0] if node.args else None
            is_environ = (isinstance(of, ast.Name) and of.id == "environ") or (
                isinstance(of, ast.Attribute) and of.attr in {"environ", "_environ"}
            )
            if is_environ and isinstance(name, ast.Constant):
                found.add(name.value)
    return found - NO_SETTING


class Recording(dict[str, str]):
    """An environment that remembers which of its variables were asked for."""

    def __init__(self, **values: str) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, name: str, default: object = None) -> object:
        self.asked.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return super().__getitem__(name)


def asked_for(environ: Recording) -> set[str]:
    """What each program asks this environment for; what it then refuses is another test's."""
    readers = (
        lambda: parse_settings(environ),
        lambda: master_passphrase(environ),
        lambda: load_gateway_settings(environ, Path("/x"), Path("/y")),
        lambda: control_plane.parse_settings(environ, control_plane.ServeOptions()),
        lambda: address_of(environ, lambda: Path("/x")),
        lambda: token_of(environ, lambda: Path("/y")),
        lambda: expected_daemon(environ, lambda: Path("/y")),
        lambda: FleetClient(environ),
        lambda: load_otel_settings(environ),
        lambda: data_dir_of(environ),
    )
    for read in readers:
        with suppress(BriefcaseError):
            read()
    return environ.asked


def test_every_variable_that_is_read_is_in_the_reference():
    named = {name: path for path in PACKAGE.rglob("*.py") if path != TABLE for name in variables_in(path)}
    unlisted = {name: str(path.relative_to(ROOT)) for name, path in named.items() if name not in BY_NAME}
    asked = asked_for(Recording(HOME="/h", BRIEFCASE_OTEL="1", BRIEFCASE_AUTH_TOKEN="t" * 43))
    asked |= asked_for(Recording(HOME="/h"))

    assert unlisted == {}, "list them in briefcase/model/variables.py, and run `make docs`"
    assert asked - set(BY_NAME) == set()
    never_read = set(BY_NAME) - set(named) - asked
    assert never_read == {name for name, variable in BY_NAME.items() if variable.reader}


@pytest.mark.parametrize(
    "page", sorted({variable.page for variable in BY_NAME.values()} | set(config_file.PAGES.values()))
)
def test_the_page_of_a_setting_has_that_heading(page):
    path, _, anchor = page.partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs" / path).read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert anchor in anchors | {""}


def test_each_kind_of_receipt_that_a_module_describes_may_be_asked_for():
    tables = (module.read_text().split('"""')[1] for module in (ROOT / "briefcase").rglob("events.py"))
    rows = [row.split("|")[1] for table in tables for row in table.splitlines() if row.startswith("| ")]
    described = {kind for row in rows for kind in re.findall(r"[a-z_]+", row)} - {"kind"}
    assert len(described) > 40
    assert described - set(KINDS) == set(), "add it to briefcase/core/receipts/kinds.py"
