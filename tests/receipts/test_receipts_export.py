"""The verifier that travels with an export: alone with the standard library it finds every kind of damage."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from fakes import FakeClock, MemoryLedger

import briefcase.receipts.verify_export as verifier
from briefcase.ports import Entry

SCRIPT = Path(verifier.__file__)


@pytest.fixture
def lines():
    ledger = MemoryLedger(FakeClock())
    for number in range(5):
        event = {"kind": "x", "text": f"é\u2028\U0001f600{number}", "\ue000": 1, "\U0001f600": 2, "n": [None, True, -5]}
        asyncio.run(ledger.commit(Entry(event)))
    return [json.dumps(msgspec.to_builtins(receipt)) for receipt in ledger.chain]


def run(tmp_path, lines, *anchor):
    export = tmp_path / "receipts.jsonl"
    export.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT, export, *anchor], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def head_of(lines):
    last = json.loads(lines[-1])
    return f"{last['id']}:{last['hash_hex']}"


def test_a_whole_export_verifies_and_says_what_it_can_not_exclude(tmp_path, lines):
    code, said = run(tmp_path, lines)

    assert code == 0, said
    assert f"5 receipts verify, up to {head_of(lines)}" in said
    assert "cut off the end" in said


def test_an_anchor_finds_a_cut_off_end(tmp_path, lines):
    assert run(tmp_path, lines, head_of(lines))[0] == 0
    assert run(tmp_path, lines[:-1], head_of(lines))[0] == 7


def damaged(line, **changes):
    return json.dumps({**json.loads(line), **changes})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda x: [x[0], damaged(x[1], event={**json.loads(x[1])["event"], "kind": "y"}), *x[2:]], "receipt 2"),
        (lambda x: [*x[:2], *x[3:]], "missing before it"),
        (lambda x: [x[0], x[2], x[1], *x[3:]], "missing before it"),
        (lambda x: [x[0], x[0], *x[1:]], "missing before it"),
        (lambda x: [damaged(x[0], ts="2020-01-01T00:00:00.000000Z"), *x[1:]], "another id or time"),
        (lambda x: [damaged(x[0], prev_hash_hex="1" * 64), *x[1:]], "receipt 1"),
    ],
)
def test_damage_is_found_and_named(tmp_path, lines, damage, said):
    code, output = run(tmp_path, damage(lines))

    assert code == 7
    assert said in output


def test_a_rewritten_middle_does_not_link(tmp_path, lines):
    forged = json.loads(lines[2])
    forged["event"]["kind"] = "forged"
    forged["hash_hex"] = verifier.hashlib.sha256(
        forged["prev_hash_hex"].encode() + verifier.canonical(forged["event"]).encode()
    ).hexdigest()

    code, output = run(tmp_path, [*lines[:2], json.dumps(forged), *lines[3:]])

    assert code == 7
    assert "receipt 4: it does not link" in output


@pytest.mark.parametrize("text", ["", "{}\n", "no json\n", "[1]\n", '{"id": 1}\n'])
def test_what_is_no_export_is_said_to_be_none(tmp_path, text):
    export = tmp_path / "x"
    export.write_text(text)

    assert verifier.main([str(export)]) == 2
    assert verifier.main([]) == 2
    assert verifier.main([str(tmp_path / "absent")]) == 2
