"""`fleet receipts export --format parquet`: what was uploaded, read back by another reader of the format's own."""

import asyncio
import hashlib
import json
import sys

import msgspec
import pytest
from pyarrow import parquet

from briefcase.core.wire.fleet import FleetReceipt
from briefcase.edges.cli import fleet_parquet
from support.commands import run_command
from support.fleet_server import ADMIN_TOKEN, chain

EVENT = {"kind": "tool_call", "tool_id": "écho", "decision": "deny", "reason": 7, "args": {"b": 1, "a": "\u2028"}}


async def export(plane, device, out, *words, **more):
    environ = {"PATH": "/usr/bin:/bin", "BRIEFCASE_FLEET_URL": plane.address, "BRIEFCASE_FLEET_TOKEN": ADMIN_TOKEN}
    command = ("fleet", "receipts", "export", device.id, "--out", str(out), *words)
    return await asyncio.to_thread(run_command, environ | more, *command)


async def test_what_was_uploaded_is_read_back_with_the_text_that_its_hash_is_over(plane, tmp_path, monkeypatch):
    device = await plane.new_device()
    sent = chain(3, event=EVENT)
    assert (await device.upload(sent)).status == 200
    out = tmp_path / "receipts.parquet"
    ran = await export(plane, device, out, "--format", "parquet")
    assert (ran.returncode, "wrote 3 receipts" in ran.stderr) == (0, True), ran.stderr
    rows = parquet.read_table(out).to_pylist()
    assert [row["id"] for row in rows] == [1, 2, 3]
    for row, receipt in zip(rows, sent, strict=True):
        assert hashlib.sha256((row["prev_hash_hex"] + row["event"]).encode()).hexdigest() == row["hash_hex"]
        assert (row["device_id"], row["ts"], row["hash_hex"]) == (device.id, receipt["ts"], receipt["hash_hex"])
        assert {name: row[name] for name in ("kind", "tool_id", "decision", "reason", "principal")} == {
            "kind": "tool_call", "tool_id": "écho", "decision": "deny", "reason": None, "principal": None,
        }  # fmt: skip
    again = await export(plane, device, out, "--format", "parquet")
    assert (again.returncode, "cannot write" in again.stderr) == (9, True)


async def test_a_device_without_receipts_has_a_table_without_rows(plane, tmp_path):
    device = await plane.new_device()
    assert (await export(plane, device, tmp_path / "none.parquet", "--format", "parquet")).returncode == 0
    table = parquet.read_table(tmp_path / "none.parquet")
    assert (table.num_rows, table.column_names[:2]) == (0, ["id", "device_id"])


async def test_rows_are_written_in_groups_and_none_is_lost_between_them(plane, tmp_path, monkeypatch):
    monkeypatch.setattr(fleet_parquet, "ROWS", 2)
    device = await plane.new_device()
    sent = chain(5)
    await device.upload(sent)
    got = (await plane.admin("GET", f"/v1/audit/receipts?device_id={device.id}&after_id=0")).body["receipts"]
    receipts = [
        msgspec.convert({**receipt, "event": msgspec.Raw(json.dumps(receipt["event"]).encode())}, FleetReceipt)
        for receipt in got
    ]
    with (tmp_path / "five").open("wb") as file, fleet_parquet.writing_parquet(file) as written:
        for receipt in receipts:
            written.write([receipt])
    read = parquet.ParquetFile(tmp_path / "five")
    assert read.num_row_groups == 3
    assert [row["id"] for row in read.read().to_pylist()] == [1, 2, 3, 4, 5]


async def test_without_the_extra_it_says_what_to_install_and_makes_no_file(plane, tmp_path):
    device = await plane.new_device()
    hidden = tmp_path / "hidden"
    (hidden / "pyarrow").mkdir(parents=True)
    (hidden / "pyarrow" / "__init__.py").write_text("raise ModuleNotFoundError('no', name='pyarrow')")
    out = tmp_path / "receipts.parquet"
    ran = await export(plane, device, out, "--format", "parquet", PYTHONPATH=f"{hidden}:{':'.join(sys.path)}")
    assert ran.returncode == 9
    assert "Parquet needs `pyarrow`, which is not installed" in ran.stderr
    assert "agentic-briefcase[parquet]" in ran.stderr
    assert not out.exists()


@pytest.mark.parametrize("form", ["csv", ""])
async def test_another_form_is_refused(plane, tmp_path, form):
    device = await plane.new_device()
    assert (await export(plane, device, tmp_path / "x", "--format", form)).returncode == 2
