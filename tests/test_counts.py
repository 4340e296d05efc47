"""How often a call's arguments are read: once parsed, once canonical, once redacted, once more for each further sink.

And how many functions a direct call of a whole daemon calls. What an operation costs is counted here and not timed: a
second reading is a regression on any machine.
"""

import hashlib
import json
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_calls import NEEDS, Desk

from briefcase.adapters.tools.builtin import builtin_tools
from briefcase.core.json import strict as strict_json
from briefcase.core.receipts import canonical
from briefcase.core.redaction.redactor import SecretRedactor
from briefcase.model.types import Deny
from support.calls import call_with
from support.clock import FakeClock
from support.principals import AGENT
from support.redaction import KnownSecrets
from support.tools import FakeTool, spec

ARGS = {"text": "counted-0123456789"}
CANONICAL = json.dumps(ARGS, separators=(",", ":")).encode()


class NoNotes:
    async def add(self, text, now_us):
        raise NotImplementedError

    async def list(self, limit):
        raise NotImplementedError


@pytest.fixture
def counts(monkeypatch):
    """Counts by what was done to the arguments, wherever it was called from."""
    found = Counter()
    read, encode, find = strict_json.read_strict, canonical.canonical, SecretRedactor._find

    def reading(data, *limits):
        found["parsed"] += b"counted-" in bytes(data)
        return read(data, *limits)

    def encoding(value, *limits):
        found["canonical"] += value == ARGS
        return encode(value, *limits)

    def finding(self, text):
        found["redacted"] += CANONICAL in bytes(text)
        return find(self, text)

    monkeypatch.setattr(strict_json, "read_strict", reading)
    monkeypatch.setattr(canonical, "canonical", encoding)
    monkeypatch.setattr(SecretRedactor, "_find", finding)
    return found


async def called(**of_desk):
    echo = next(
        tool for tool in builtin_tools(NoNotes(), FakeClock(), SimpleNamespace(max_bytes=1)) if tool.spec.id == "echo"
    )
    desk = Desk(echo, redactor=SecretRedactor(KnownSecrets(b"no-secret-of-this-call")), **of_desk)
    call = {"tool_id": "echo", "args": ARGS, "context": {"request_id": str(uuid.uuid4()), "agent_id": "scout"}}
    return (await call_with(desk.calls, AGENT, json.dumps({"call": call}).encode())).payload


async def test_a_direct_allowed_call_reads_its_arguments_once_in_each_way(counts):
    assert (await called())["result"]["content"] == {"echo": ARGS["text"]}
    assert counts == {"parsed": 1, "canonical": 1, "redacted": 1}


async def test_a_denied_call_reads_its_arguments_once_in_each_way(counts):
    assert (await called(verdict=Deny("policy_denied")))["status"] == "denied"
    assert counts == {"parsed": 1, "canonical": 1, "redacted": 1}


async def test_a_call_that_waits_is_redacted_once_more_for_who_decides(counts):
    assert (await called(verdict=NEEDS))["status"] == "approval_required"
    assert counts == {"parsed": 1, "canonical": 1, "redacted": 2}


async def test_what_runs_is_the_value_whose_digest_the_receipt_has():
    tool = FakeTool(spec())
    desk = Desk(tool)
    await desk.call("echo", {"b": [1, {"z": 1.5, "a": None}], "a": "é"})
    (intent,) = [receipt.event for receipt in desk.ledger.chain if receipt.event["kind"] == "intent"]
    assert hashlib.sha256(tool.executed[0]).hexdigest() == intent["args_digest"]
    assert tool.executed[0].decode() == intent["args"]


def test_a_direct_call_of_a_whole_daemon_makes_at_most_300_function_calls(tmp_path):
    """Python's and C's, by `sys.setprofile`, from a request's bytes at the connection to its answer's.

    A warmed-up `echo` call over a Unix socket with four headers, its two commits on the loop's thread, in the ledger of
    a real directory: 462 calls before the rings were folders. A decision was 339, the report of its outcome 215.
    """
    script, found = Path(__file__).parent.parent / "bench" / "function_calls.py", tmp_path / "counts.json"
    subprocess.run([sys.executable, str(script), "--json", str(found)], check=True, timeout=120)
    counts = json.loads(found.read_text())
    assert counts["call"] <= 300
    assert counts["decide"] <= 230
    assert counts["outcome"] <= 165
