"""The verifier that travels with an export: alone with the standard library it finds every kind of damage."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import briefcase.core.receipts.verify_export as verifier
from briefcase.core.receipts.exports import ExportReader, export_line
from briefcase.model.effects import Entry
from briefcase.model.errors import CallerError
from support.clock import FakeClock
from support.ledger import MemoryLedger

SCRIPT = Path(verifier.__file__)


@pytest.fixture
async def lines():
    ledger = MemoryLedger(FakeClock())
    for number in range(5):
        event = {"kind": "x", "text": f"é\u2028\U0001f600{number}", "\ue000": 1, "\U0001f600": 2, "n": [None, True, -5]}
        await ledger.commit(Entry(event))
    return [export_line(msgspec.to_builtins(receipt)).decode()[:-1] for receipt in ledger.chain]


def run(tmp_path, lines, *anchor):
    export = tmp_path / "receipts.jsonl"
    export.write_bytes("\n".join(lines).encode() + b"\n")
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

    code, output = run(tmp_path, [*lines[:2], export_line(forged).decode()[:-1], *lines[3:]])

    assert code == 7
    assert "receipt 4: it does not link" in output


@pytest.mark.parametrize("text", ["", "{}\n", "no json\n", "[1]\n", '{"id": 1}\n'])
def test_what_is_no_export_is_said_to_be_none(tmp_path, text):
    export = tmp_path / "x"
    export.write_text(text)

    assert verifier.main([str(export)]) == 2
    assert verifier.main([]) == 2
    assert verifier.main([str(tmp_path / "absent")]) == 2


def otherwise(line):
    """Lines that parse as the same receipt, and are not its line."""
    receipt = json.loads(line)
    return {
        "a name twice": line.replace(b'{"id":', b'{"id":9,"id":', 1),
        "a name twice in the event": line.replace(b'"event":{', b'"event":{"kind":"y",', 1),
        "another spelling": line.replace(b'"kind"', b'"\\u006bind"', 1),
        "a member more": line.replace(b'{"id"', b'{"note":"approved","id"', 1),
        "spaces": json.dumps(receipt, ensure_ascii=False).encode() + b"\n",
        "another order": json.dumps(dict(reversed(receipt.items())), separators=(",", ":")).encode() + b"\n",
        "a carriage return": line.replace(b"\n", b"\r\n"),
        "no line feed": line[:-1],
    }


WAYS = sorted(otherwise(b'{"id":1,"event":{"kind":"x"}}\n'))


@pytest.mark.parametrize("how", WAYS)
def test_a_line_that_is_written_otherwise_is_refused_with_its_number_by_both_verifiers(tmp_path, lines, how):
    changed = [line.encode() + b"\n" for line in lines]
    changed[-1] = otherwise(changed[-1])[how]
    with pytest.raises(CallerError, match="line 5") as caught:
        list(ExportReader().read(iter(changed)))
    assert caught.value.code == "proof_invalid"
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"".join(changed))
    done = subprocess.run([sys.executable, "-I", "-S", SCRIPT, path], capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert "line 5" in done.stdout + done.stderr


def test_an_export_whose_beginning_is_missing_says_after_which_receipt_it_begins(tmp_path, lines):
    reader = ExportReader()
    assert len(list(reader.read(line.encode() + b"\n" for line in lines[2:]))) == 3
    before = json.loads(lines[1])
    assert (reader.begins_after.id, reader.begins_after.hash_hex) == (2, before["hash_hex"])
    code, said = run(tmp_path, lines[2:])
    assert code == 0
    assert f"begins after 2:{before['hash_hex']}" in said
    assert "not checked: receipts 1 to 2" in said
