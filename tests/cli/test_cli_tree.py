"""The command tree is the contract's, every command teaches itself, and starting costs nothing that is not used."""

import subprocess
import sys

import click
import pytest

from briefcase.core.wire.agents import AgentSummary
from briefcase.core.wire.budgets import BudgetRecord
from briefcase.core.wire.servers import ServerSummary
from briefcase.core.wire.tools import ToolRecord
from briefcase.edges.cli.lazy import LazyGroup
from briefcase.edges.cli.main import MEANT, cli
from support.cli import FakeRoot, run
from support.wire import example

# CONTRACT "CLI", as far as it is due, and the groups this project adds to it
DUE = {
    "up", "daemon",
    "tools list", "tools call",
    "approvals list", "approvals show", "approvals approve", "approvals deny", "approvals watch",
    "receipts list", "receipts show", "receipts verify", "receipts export", "receipts import", "receipts prove",
    "receipts checkpoint", "receipts consistency", "receipts archive", "receipts report", "receipts anomalies",
    "backup create", "backup keygen", "backup verify", "backup restore",
    "budgets list", "budgets set",
    "policy show", "policy set", "policy check", "policy diff", "policy test", "policy backtest", "policy history",
    "policy rollback", "policy schema",
    "secrets set", "secrets list", "secrets delete",
    "agents add", "agents list", "agents revoke",
    "signers pair", "signers list", "signers revoke",
    "signer init", "signer pair", "signer list", "signer show", "signer approve", "signer deny",
    "tighten require-approval", "tighten disable", "tighten list", "tighten lift", "freeze", "thaw",
    "diagnostics check", "diagnostics soak", "diagnostics bundle", "diagnostics canary",
    "soak summarize", "soak verify", "slo check",
    "identity show",
    "providers list", "providers upsert", "providers delete", "providers enable", "providers disable",
    "providers clear-capabilities", "providers oauth-login", "providers oauth-revoke", "providers vc-fetch",
    "notifier", "notify add", "notify list", "notify remove", "notify test", "notify undelivered", "notify replay",
    "setup", "provider-gateway", "conformance provider", "conformance control-plane",
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


NAMES = {  # what the daemon has, by what a command line ends with
    "agents revoke": ("/v1/agents", {"agents": [example(AgentSummary, name="scout", revoked_at=None)]}, "scout"),
    "tighten disable --tool": ("/v1/tools", {"tools": [example(ToolRecord, id="note_add")]}, "note_add"),
    "tighten require-approval --agent": (
        "/v1/agents", {"agents": [example(AgentSummary, name="scout", revoked_at=None)]}, "scout",
    ),
    "tighten require-approval --category": (
        "/v1/budgets", {"budgets": [example(BudgetRecord, category="write")]}, "write",
    ),
    "budgets set": ("/v1/budgets", {"budgets": [example(BudgetRecord, category="write")]}, "write"),
    "secrets delete": ("/v1/secrets", {"secrets": ["desk"], "hosts": {"desk": ["crm.example"]}}, "desk"),
    "secrets bind": ("/v1/secrets", {"secrets": ["desk"], "hosts": {}}, "desk"),
    "mcp servers show": ("/v1/mcp/servers", {"servers": [example(ServerSummary, id="files")]}, "files"),
    "mcp servers oauth-login": ("/v1/mcp/servers", {"servers": [example(ServerSummary, id="files")]}, "files"),
    "gateway --server": ("/v1/mcp/servers", {"servers": [example(ServerSummary, id="files")]}, "files"),
    "tighten disable --source": ("/v1/mcp/servers", {"servers": [example(ServerSummary, id="files")]}, "mcp:files"),
    "receipts list --agent": (
        "/v1/agents", {"agents": [example(AgentSummary, name="scout", revoked_at=None)]}, "scout",
    ),
    "receipts list --kind": ("/v1/tools", {}, "outcome_unknown"),
}  # fmt: skip


def completed(run, words, begun):
    variables = {"COMP_WORDS": f"briefcase {words} {begun}", "COMP_CWORD": str(len(words.split()) + 1)}
    return run(_BRIEFCASE_COMPLETE="bash_complete", **variables)


@pytest.mark.parametrize("words", NAMES)
def test_completion_offers_what_the_daemon_has(run, daemon, words):
    path, answer, name = NAMES[words]
    daemon.answers["GET", path] = answer
    assert f"plain,{name}" in completed(run, words, name[:3]).out.split()
    assert completed(run, words, "zz").out.split() == []


def test_completion_offers_no_agent_whose_token_has_ended(run, daemon):
    revoked = example(AgentSummary, name="scout", revoked_at="2026-01-01T00:00:00Z")
    daemon.answers["GET", "/v1/agents"] = {"agents": [revoked]}
    assert completed(run, "agents revoke", "s").out.split() == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("status", "diagnostics check"),
        ("version", "--version"),
        ("start", "up"),
        ("rm", "tools remove"),
        ("add", "mcp servers upsert"),
        ("ls", "tools list"),
        ("agents rm", "revoke"),
        ("agents remove", "revoke"),
        ("agents create", "add"),
        ("secrets add", "set"),
        ("secrets rm", "delete"),
        ("providers add", "upsert"),
        ("mcp servers add", "upsert"),
        ("mcp servers rm", "delete"),
        ("mcp servers status", "list"),
        ("tools rm", "remove"),
        ("tools ls", "list"),
        ("tighten rm", "lift"),
        ("budgets edit", "set"),
        ("approvals ls", "list"),
        ("control-plane add", "enroll"),
        ("recipts", "receipts"),
    ],
)
def test_what_other_programs_call_it_is_suggested_and_exists(run, typed, meant):
    ran = run(*typed.split())
    assert ran.code == 2
    assert f"did you mean `{meant}`?" in ran.err
    group = " ".join(typed.split()[:-1])
    assert meant.startswith("--") or f"{group} {meant}".strip() in TREE


@pytest.mark.parametrize("meant", [word.partition("#")[0] for word in MEANT.values() if not word.startswith("--")])
def test_what_the_first_words_are_called_here_exists(meant):
    assert meant in TREE or meant.startswith("help ")


@pytest.mark.parametrize("words", [words for words in TREE if isinstance(TREE[words], click.Group)])
def test_every_group_knows_the_verbs_of_other_programs(words):
    assert isinstance(TREE[words], LazyGroup)


def test_completion_is_silent_without_a_daemon(tmp_path):
    variables = {"_BRIEFCASE_COMPLETE": "bash_complete", "COMP_WORDS": "briefcase tools call x", "COMP_CWORD": "3"}
    ran = run(FakeRoot(tmp_path), **variables)
    assert (ran.out.strip(), ran.err) == ("", "")
