"""The command tree is the contract's, every command teaches itself, and starting costs nothing that is not used."""

import subprocess
import sys

import click
import pytest

from briefcase.core.wire.tools import ToolRecord
from briefcase.edges.cli.lazy import LazyGroup
from briefcase.edges.cli.main import cli
from support.cli import FakeRoot, run
from support.wire import example

# CONTRACT "CLI", as far as it is due, and the groups this project adds to it
DUE = {
    "up", "daemon",
    "tools list", "tools call",
    "approvals list", "approvals show", "approvals approve", "approvals deny", "approvals watch",
    "receipts list", "receipts show", "receipts verify", "receipts export", "receipts import", "receipts prove",
    "receipts checkpoint", "receipts consistency", "receipts archive", "receipts report",
    "backup create", "backup keygen", "backup verify", "backup restore",
    "budgets list", "budgets set",
    "policy show", "policy set", "policy check", "policy diff", "policy test", "policy backtest", "policy history",
    "policy rollback", "policy schema",
    "secrets set", "secrets list", "secrets delete",
    "agents add", "agents list", "agents revoke",
    "tighten require-approval", "tighten disable", "tighten list", "tighten lift", "freeze", "thaw",
    "diagnostics check", "diagnostics soak", "diagnostics bundle", "diagnostics canary",
    "soak summarize", "soak verify", "slo check",
    "identity show",
    "providers list", "providers upsert", "providers delete", "providers enable", "providers disable",
    "providers clear-capabilities", "providers oauth-login", "providers oauth-revoke", "providers vc-fetch",
    "provider-gateway", "conformance provider", "conformance control-plane",
    "completion",
}  # fmt: skip


def commands(group=cli, prefix=()):
    """Every command of the tree by its words, groups included."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        yield " ".join((*prefix, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*prefix, name))


TREE = dict(commands())


def test_every_command_of_the_contract_is_there():
    assert DUE - set(TREE) == set()


@pytest.mark.parametrize("words", TREE)
def test_every_command_shows_an_example_that_begins_as_it_would_be_typed(words):
    epilog = TREE[words].epilog
    assert "Example:" in epilog
    assert f"briefcase {words.split()[0]}" in epilog
    if not isinstance(TREE[words], click.Group):
        assert f"briefcase {words}" in epilog


@pytest.mark.parametrize("words", TREE)
def test_every_command_says_what_it_does_in_its_first_line(words):
    first = (TREE[words].help or "").splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 80


@pytest.mark.parametrize("words", TREE)
def test_the_summary_a_lazy_group_shows_is_the_commands_own(words):
    *above, name = words.split()
    group = TREE[" ".join(above)] if above else cli
    if isinstance(group, LazyGroup) and name in group.table:
        assert group.table[name].summary == TREE[words].help.splitlines()[0]


@pytest.mark.parametrize("words", [words for words in TREE if words.endswith((" list", " show"))])
def test_every_listing_takes_json(words):
    assert "--json" in {option for parameter in TREE[words].params for option in parameter.opts}


@pytest.mark.parametrize("words", TREE)
def test_help_fits_eighty_columns(words, tmp_path):
    ran = run(FakeRoot(tmp_path), *words.split(), "--help", COLUMNS="80")
    assert ran.code == 0
    too_wide = [line for line in ran.out.splitlines() if len(line) > 80 and "briefcase" not in line]
    assert too_wide == []


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_what_shows_only_text_imports_nothing_heavy(arguments, tmp_path):
    script = (
        "import sys; from briefcase.edges.cli.main import main\n"
        f"assert main(None, {arguments!r}) == 0\n"
        "heavy = {'rich', 'msgspec', 'http.client', 'aiohttp', 'blacksheep', 'cedarpy', 'lmdb', 'uvicorn', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_a_client_command_imports_nothing_of_the_daemon(daemon):
    daemon.answers["GET", "/v1/tools"] = {"tools": []}
    script = (
        "import sys; from briefcase.__main__ import Root; from briefcase.edges.cli.main import main\n"
        "assert main(Root(), ['tools', 'list']) == 0\n"
        "heavy = {'aiohttp', 'blacksheep', 'cedarpy', 'lmdb', 'uvicorn', 'asyncio', 'sqlite3', 'cryptography'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    environment = {"BRIEFCASE_DATA_DIR": str(daemon.data_dir), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell, tmp_path):
    ran = run(FakeRoot(tmp_path), "completion", shell)
    assert ran.code == 0
    assert f"_BRIEFCASE_COMPLETE={shell}_complete" in ran.out


def test_completion_offers_commands_and_the_daemons_tools(run, daemon):
    daemon.answers["GET", "/v1/tools"] = {"tools": [example(ToolRecord, id="note_add"), example(ToolRecord, id="echo")]}
    top = run(_BRIEFCASE_COMPLETE="bash_complete", COMP_WORDS="briefcase rec", COMP_CWORD="1")
    assert top.out.split() == ["plain,receipts"]
    tool = run(_BRIEFCASE_COMPLETE="bash_complete", COMP_WORDS="briefcase tools call no", COMP_CWORD="3")
    assert tool.out.split() == ["plain,note_add"]


def test_completion_is_silent_without_a_daemon(tmp_path):
    variables = {"_BRIEFCASE_COMPLETE": "bash_complete", "COMP_WORDS": "briefcase tools call x", "COMP_CWORD": "3"}
    ran = run(FakeRoot(tmp_path), **variables)
    assert (ran.out.strip(), ran.err) == ("", "")
