"""Every command reads every answer as the wire's structs say: the least that is promised will do, and nothing else."""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

import click
import pytest
from test_cli_tree import TREE

from briefcase.adapters.vault.identity import Identity
from briefcase.core.operator.approvals import shown_digest_of
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.receipts.exports import export_line
from briefcase.core.receipts.notes import Checkpoint, encode_note
from briefcase.core.receipts.tree import tree_root
from briefcase.core.wire.approvals import ApprovalRecord, ShownApproval
from briefcase.core.wire.control_plane import ControlPlaneStatus
from briefcase.edges.api.app import ROUTES
from support.cli import BACK
from support.wire import A_TIME, NEVER_SAID, example, wrong_answers

APPROVAL = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
PASTED = f"{BACK}?code=c&state=text&iss=text\n".encode()
POLICY = "permit (principal, action, resource);"
NAMES = 'permit (principal in Group::"g", action, resource in Server::"s"); ' + POLICY.replace(
    "resource", 'resource in Provider::"p"'
)
EVENT = {"id": 1, "kind": "boot", "ts": A_TIME}
HASH = hashlib.sha256(b"0" * 64 + canonical_bytes(EVENT)).hexdigest()


class Asks(NamedTuple):
    """A command line, what it asks of the daemon, and how it ends with good answers."""

    words: str
    asked: tuple[str, ...]
    exit_code: int = 0
    stdin: bytes = b""


ASKING = (
    Asks("tools list", ("GET /v1/tools",)),
    Asks("tools show text", ("GET /v1/tools",)),
    Asks("tools call text", ("POST /v1/tools/call",)),
    Asks("tools call text --wait", ("POST /v1/tools/call waits", f"GET /v1/approvals/{APPROVAL}"), exit_code=10),
    Asks("tools reload", ("POST /v1/tools/reload",)),
    Asks("approvals list", ("GET /v1/approvals",)),
    Asks("approvals list --all", ("GET /v1/approvals",)),
    Asks(f"approvals show {APPROVAL}", (f"GET /v1/approvals/{APPROVAL}",)),
    Asks(
        f"approvals approve {APPROVAL} --json",
        (f"GET /v1/approvals/{APPROVAL}", f"POST /v1/approvals/{APPROVAL}/approve"),
    ),
    Asks(f"approvals deny {APPROVAL}", (f"POST /v1/approvals/{APPROVAL}/deny",)),
    Asks(f"approvals deny {APPROVAL[:8]}", ("GET /v1/approvals", f"POST /v1/approvals/{APPROVAL}/deny")),
    Asks("approvals watch --json", ("GET /v1/approvals",), exit_code=130),
    Asks("ui --print", ("POST /v1/page/links",)),
    Asks("receipts list", ("GET /v1/receipts",)),
    Asks("receipts show 1", ("GET /v1/receipts/1",)),
    Asks("receipts verify", ("POST /v1/receipts/verify",)),
    Asks("receipts anomalies", ("GET /v1/ai/anomalies",)),
    Asks("receipts archive", ("POST /v1/receipts/archive",)),
    Asks("receipts checkpoint --out {new}", ("POST /v1/receipts/checkpoint",)),
    Asks("receipts export --out {new}", ("GET /v1/receipts",)),
    Asks("receipts export --out {new} --format ocsf-1.9", ("GET /v1/receipts", "GET /v1/identity")),
    Asks("receipts report --out {new}", ("GET /v1/receipts", "POST /v1/receipts/verify")),
    Asks("receipts import {export}", ("GET /v1/receipts",), exit_code=7),
    Asks("receipts prove 1", ("POST /v1/receipts/checkpoint",), exit_code=7),
    Asks("receipts prove 1 --checkpoint {note}", ("GET /v1/receipts", "GET /v1/receipts/hashes"), exit_code=7),
    Asks("receipts consistency {note} {note}", ("GET /v1/receipts/hashes",)),
    Asks("backup create --out {new}", ("POST /v1/backups",)),
    Asks("budgets list", ("GET /v1/budgets",)),
    Asks("budgets set --daily-limit-usd 1 read", ("POST /v1/budgets/read",)),
    Asks("policy show", ("GET /v1/policy",)),
    Asks(f"policy show {HASH[:8]}", ("GET /v1/policy/history", f"GET /v1/policy/history/{HASH}")),
    Asks("policy history", ("GET /v1/policy/history",)),
    Asks(f"policy rollback {HASH[:8]}", ("GET /v1/policy/history", "POST /v1/policy/rollback")),
    Asks("policy schema --tool text", ("GET /v1/tools",)),
    Asks(
        "policy check {names}",
        ("GET /v1/tools", "GET /v1/agents", "GET /v1/operators", "GET /v1/mcp/servers", "GET /v1/providers"),
    ),
    Asks("policy set {policy}", ("GET /v1/policy", "PUT /v1/policy")),
    Asks("policy explain text", ("POST /v1/explain",)),
    Asks("policy check {policy}", ("GET /v1/tools",)),
    Asks("policy diff {policy}", ("GET /v1/policy",)),
    Asks("policy backtest {policy}", ("GET /v1/tools", "GET /v1/receipts")),
    Asks("secrets set text", ("PUT /v1/secrets/text",), stdin=b"value"),
    Asks("secrets bind text --host text", ("PUT /v1/secrets/text/hosts",)),
    Asks("secrets list", ("GET /v1/secrets",)),
    Asks("secrets delete text", ("DELETE /v1/secrets/text",)),
    Asks("agents add text", ("POST /v1/agents",)),
    Asks("agents list", ("GET /v1/agents",)),
    Asks("agents revoke text", ("POST /v1/agents/text/revoke",)),
    Asks("operators add text --role approver", ("POST /v1/operators",)),
    Asks("policy propose text", ("POST /v1/policy/compile",)),
    Asks("policy proposals", ("GET /v1/policy/proposals",)),
    Asks("policy drop text", ("GET /v1/policy/proposals", "POST /v1/policy/proposals/text/drop")),
    Asks("policy apply text --digest text", ("GET /v1/policy/proposals", "GET /v1/policy/proposals/text"), exit_code=3),
    Asks("grants list", ("GET /v1/grants",)),
    Asks("grants list --all", ("GET /v1/grants",)),
    Asks("grants revoke text", ("GET /v1/grants", "POST /v1/grants/text/revoke")),
    Asks("operators list", ("GET /v1/operators",)),
    Asks("operators revoke text", ("POST /v1/operators/text/revoke",)),
    Asks("signers pair", ("GET /v1/identity", "POST /v1/signer/pair/start")),
    Asks("signers list", ("GET /v1/signers",)),
    Asks("signers revoke text", ("POST /v1/signers/text/revoke",)),
    Asks("tighten require-approval --tool text", ("POST /v1/controls",)),
    Asks("tighten disable --tool text", ("POST /v1/controls",)),
    Asks("tighten list", ("GET /v1/controls",)),
    Asks("tighten lift text", ("GET /v1/controls", "POST /v1/controls/lift")),
    Asks("freeze", ("POST /v1/controls",)),
    Asks("thaw", ("POST /v1/controls/lift",)),
    Asks("identity show", ("GET /v1/identity", "GET /v1/profile")),
    Asks("providers list", ("GET /v1/providers",)),
    Asks("providers upsert text https://text", ("POST /v1/providers/text",)),
    Asks("providers delete text", ("POST /v1/providers/text/delete",)),
    Asks("providers enable text", ("POST /v1/providers/text/enable",)),
    Asks("providers disable text", ("POST /v1/providers/text/disable",)),
    Asks("providers clear-capabilities text", ("POST /v1/providers/text/clear-capabilities",)),
    Asks("providers vc-fetch --id text", ("POST /v1/providers/text/vc/fetch",)),
    Asks("providers oauth-revoke --id text", ("POST /v1/providers/text/oauth/revoke",)),
    Asks(
        "providers oauth-login --id text --paste",
        ("POST /v1/providers/text/oauth/start", "POST /v1/providers/text/oauth/exchange"),
        stdin=PASTED,
    ),
    Asks("mcp servers list", ("GET /v1/mcp/servers",)),
    Asks(
        "mcp import {servers}",
        ("GET /v1/mcp/servers", "GET /v1/secrets", "POST /v1/mcp/servers/remote"),
    ),
    Asks("mcp servers show text", ("GET /v1/mcp/servers/text",)),
    Asks("mcp servers upsert text https://text", ("POST /v1/mcp/servers/text",)),
    Asks("mcp servers delete text", ("POST /v1/mcp/servers/text/delete",)),
    Asks("mcp servers diff text", ("GET /v1/mcp/servers/text/diff",)),
    Asks("mcp servers accept text digest", ("POST /v1/mcp/servers/text/accept",)),
    Asks(
        "mcp servers oauth-login text --paste",
        ("POST /v1/mcp/servers/text/oauth/start", "POST /v1/mcp/servers/text/oauth/exchange"),
        stdin=PASTED,
    ),
    Asks("mcp servers oauth-revoke text", ("POST /v1/mcp/servers/text/oauth/revoke",)),
    Asks("witness add https://text --key text", ("POST /v1/witnesses",)),
    Asks("witness list", ("GET /v1/witnesses",)),
    Asks("witness remove text", ("POST /v1/witnesses/remove",)),
    Asks(
        "receipts verify --witness-policy {quorum}",
        ("POST /v1/receipts/verify", "GET /v1/witnesses/checkpoints", "GET /v1/receipts/hashes"),
    ),
    Asks(
        "receipts prove 1 --format tlog-proof",
        ("GET /v1/witnesses/checkpoints", "GET /v1/receipts", "GET /v1/receipts/hashes"),
        exit_code=7,
    ),
    Asks("control-plane status", ("GET /v1/control-plane",)),
    Asks("control-plane enroll https://text text", ("POST /v1/control-plane/enroll",), stdin=b"token"),
    Asks("control-plane sync", ("POST /v1/control-plane/sync",)),
    Asks("control-plane leave", ("POST /v1/control-plane/leave",)),
    Asks("control-plane remove-mandatory", ("POST /v1/control-plane/mandatory/delete",)),
    Asks("diagnostics canary {policy} --no-stored", ("GET /health", "POST /v1/diagnostics/canary"), exit_code=7),
)
ASK_NOTHING = {  # `up` asks a daemon of its own process, and `hook` by a client of its own
    "up", "hook", "daemon", "gateway", "control-plane serve", "provider-gateway", "completion",
    "backup keygen", "backup verify", "backup restore", "policy test", "tools check",
    "release verify", "soak verify", "mcp client-metadata", "config show", "help", "conformance control-plane",
    "notify add", "notify list", "notify remove", "notify test", "notify undelivered", "notify replay",
}  # fmt: skip
ASK_AS_RELOAD_DOES = {"tools import openapi", "tools remove"}
SIGN = {  # each for a key file of its own: test_cli_signer.py
    "signer init", "signer pair", "signer list", "signer show", "signer approve", "signer deny",
}  # fmt: skip
RUN_THE_GATEWAY = {"setup"}  # asks as `agents add` and `mcp import` do, and tries what it wrote: test_cli_setup.py
TAKE_ANY_ANSWER = {  # each says what it could not be told, and goes on
    "diagnostics check", "diagnostics bundle", "diagnostics soak", "soak summarize", "slo check",
    "conformance provider",
    "notifier",  # reads on once the daemon is back: tests/notifier
}  # fmt: skip
KINDS = {(route.method, re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path))): route.answer for route in ROUTES}
RECEIPT = {"id": 1, "ts": A_TIME, "prev_hash_hex": "0" * 64, "hash_hex": HASH, "event": EVENT}
SIGNER = Identity(bytes(32))
SIGNED = Checkpoint(SIGNER.did, 1, tree_root([bytes.fromhex(HASH)]))
NOTE = encode_note(SIGNED, SIGNER.public_key, SIGNER.sign)
COSIGNED = {"note": NOTE, "size": 1, "root_hex": SIGNED.root.hex(), "by": [], "quorum_met": False}
PROMISED_AT_TIMES = {  # to those who may decide, and of a daemon that is enrolled
    ShownApproval: ("args_text", "tool", "risk", "policy_ids", "reasons", "last_approved"),
    ControlPlaneStatus: ("base_url", "device_id", "last_policy_bundle_id", "last_receipt_upload_id"),
}
SPECIAL = {  # what a command looks at more closely
    "authorization_url": "https://text",
    "policy_text": POLICY,
    "receipts": [RECEIPT],
    "hashes": [HASH],
    "checkpoints": [COSIGNED],
}


def kind_of(asked: str) -> Any:
    method, path = asked.split()[:2]
    return next(kind for (each, pattern), kind in KINDS.items() if each == method and pattern.fullmatch(path))


def answer_to(asked: str, *, is_least: bool = False) -> Any:
    """A good answer, which this table's commands find what they name in."""
    if asked.endswith(" waits"):
        approval = example(ApprovalRecord, is_least=is_least, id=APPROVAL)
        return {"status": "approval_required", "approval": approval}
    document = example(kind_of(asked), is_least=is_least)
    document |= {name: value for name, value in SPECIAL.items() if type(document.get(name)) is type(value)}
    result = document.get("result")
    if isinstance(result, dict) and "is_error" in result:
        result["is_error"] = False  # else the tool itself has failed, which is exit code 8
    for kept in document.get("policies", ()):
        kept["policy_hash_hex"] = HASH
    for approval in document.get("approvals", ()):
        approval["id"] = APPROVAL
    for name in PROMISED_AT_TIMES.get(kind_of(asked), ()):
        document[name] = example(kind_of(asked))[name]
        document["shown_digest_hex"] = shown_digest_of(document)
    return document


@pytest.fixture(autouse=True)
def leaves_at_the_first_pause(monkeypatch):
    """What goes on until a person leaves is left when it first waits."""

    def leave(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("briefcase.edges.cli.watch.time.sleep", leave)


@pytest.fixture
def files(tmp_path):
    """What the command lines name."""
    (tmp_path / "policy").write_text(POLICY)
    (tmp_path / "quorum").write_text("quorum none\n")
    (tmp_path / "names").write_text(NAMES)
    (tmp_path / "export").write_bytes(export_line(RECEIPT))
    (tmp_path / "servers").write_text('{"mcpServers":{"remote":{"url":"https://text"}}}')
    (tmp_path / "note").write_text(NOTE)
    return {name: tmp_path / name for name in ("policy", "names", "quorum", "new", "export", "note", "servers")}


def ask(run, daemon, asks: Asks, files: dict[str, Any], answers: dict[str, Any]):
    files["new"].unlink(missing_ok=True)
    daemon.answers = {tuple(asked.split()[:2]): answer for asked, answer in answers.items()}
    return run(*(word.format(**files) for word in asks.words.split()), stdin=asks.stdin)


def leaves(words: str) -> bool:
    return not isinstance(TREE[words], click.Group)


def test_every_command_is_in_one_of_the_tables():
    asking = {words for words in TREE for asks in ASKING if asks.words.startswith(words)}
    named = asking | ASK_NOTHING | ASK_AS_RELOAD_DOES | SIGN | RUN_THE_GATEWAY | TAKE_ANY_ANSWER
    of_the_daemon = {words for words in TREE if leaves(words) and not words.startswith("fleet ")}
    assert of_the_daemon - named == set()


@pytest.mark.parametrize("is_least", [False, True], ids=["whole", "least"])
@pytest.mark.parametrize("asks", ASKING, ids=lambda asks: asks.words)
def test_a_whole_answer_and_the_least_that_is_promised_will_do(run, daemon, files, asks, is_least):
    answers = {asked: answer_to(asked, is_least=is_least) for asked in asks.asked}
    ran = ask(run, daemon, asks, files, answers)
    assert ran.code == asks.exit_code, ran
    assert {(method, path.partition("?")[0]) for method, path, *_ in daemon.seen} == {
        tuple(asked.split()[:2]) for asked in asks.asked
    }


@pytest.mark.parametrize("asks", ASKING, ids=lambda asks: asks.words)
def test_an_answer_that_is_wrong_in_one_place_is_one_error(run, daemon, files, asks):
    answers = {asked: answer_to(asked) for asked in asks.asked}
    taken, tried = [], 0
    for asked, answer in answers.items():
        for what, wrong in wrong_answers(kind_of(asked), answer):
            tried += 1
            ran = ask(run, daemon, asks, files, answers | {asked: wrong})
            method, path = asked.split()[:2]
            if ran.code != 11 or f"answer of `{method} {path}`: " not in ran.err or NEVER_SAID in ran.err:
                taken.append((asked, what, ran))
    assert (taken, tried > 1) == ([], True)
