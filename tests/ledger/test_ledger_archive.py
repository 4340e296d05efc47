"""Old receipts move into segments: they are read and verified as before, and no fault on the way loses one."""

import asyncio
import gzip
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from briefcase.adapters.ledger import Ledger
from briefcase.adapters.ledger.archive import Archive
from briefcase.adapters.ledger.copies import copy_ledger
from briefcase.adapters.ledger.files import open_files, verify_files
from briefcase.core.receipts.chain import link_record
from briefcase.model.effects import ArchiveReceipts, Committed, Entry, Head, Refused
from briefcase.model.errors import CallerError, ConfigError, InternalError, StoreError
from briefcase.model.ports import ReceiptFilter
from support.archive_cases import COUNT, LIVE, SEGMENT, make, make_small
from support.clock import START_US, FakeClock
from support.ledger_cases import SMALL, audited, committed, edit, intent, note, outcome
from support.strace import needs_strace

LATE_US = START_US + 3_600_000_000


@pytest.fixture(autouse=True)
def small(monkeypatch):
    make_small(monkeypatch.setattr)


@pytest.fixture
def ledger_dir(tmp_path):
    make(tmp_path / "ledger")
    return tmp_path / "ledger"


async def with_ledger(path, scenario):
    """Run a scenario on an open ledger, which is then closed and audited."""

    async def run():
        async with audited(path, FakeClock(LATE_US)) as ledger:
            return await scenario(ledger)

    return await run()


async def everything(ledger, **chosen):
    return await ledger.receipts(ReceiptFilter(limit=10_000, **chosen))


async def archive_all(path, keep=1):
    return await with_ledger(path, lambda ledger: ledger.archive("op", keep))


# --- what was archived is read as before ------------------------------------------------------------------------------


async def test_archived_receipts_are_listed_shown_and_hashed_as_before(ledger_dir):
    async def scenario(ledger):
        before = await everything(ledger)
        hashes = await ledger.hashes(0, 10_000)
        done = await ledger.archive("op", keep=10)
        assert done.boundary == Head(before[-done.receipts].id, before[-done.receipts].hash_hex)
        assert (done.receipts >= 24, done.receipts <= COUNT + 1 - 10, done.segments) == (
            True,
            True,
            -(-done.receipts // SEGMENT),
        )
        old = [receipt for receipt in await everything(ledger) if receipt.event["kind"] != "receipts_archived"]
        assert old == before
        assert (await everything(ledger, oldest_first=True))[: len(before)] == before[::-1]
        assert (await ledger.hashes(0, 10_000))[: len(hashes)] == hashes
        assert await ledger.hashes(3, 9) == hashes[3:12]
        for receipt in before:
            assert await ledger.receipt(receipt.id) == receipt
        assert await ledger.receipt(10_000) is None
        assert await ledger.receipt(0) is None
        middle = before[len(before) // 2]
        since = [r.id for r in await everything(ledger, since_us=START_US + 5_000_000, until_us=START_US + 9_000_000)]
        assert since == [10, 9, 8, 7, 6]
        found = await ledger.receipts(ReceiptFilter(limit=3, after_id=middle.id - 4, oldest_first=True))
        assert [receipt.id for receipt in found] == [middle.id - 3, middle.id - 2, middle.id - 1]
        page = await ledger.receipts(ReceiptFilter(limit=4, offset=len(old) - 4 + done.segments))
        assert [receipt.id for receipt in page] == [4, 3, 2, 1]

    await with_ledger(ledger_dir, scenario)


async def test_the_chain_verifies_across_the_boundary_live_offline_and_from_anywhere(ledger_dir):
    async def scenario(ledger):
        before = await everything(ledger)
        done = await ledger.archive("op", keep=10)
        found = await ledger.verify(ledger.head())
        assert (found.ok, found.checked, found.archived, found.not_checked) == (
            True,
            ledger.head().id,
            done.boundary.id,
            (),
        )
        for receipt in before:
            anchor = Head(receipt.id, receipt.hash_hex)
            assert (await ledger.verify(anchor)).ok
            found = await ledger.verify(after=anchor)
            assert (found.ok, found.checked) == (True, ledger.head().id - anchor.id)
            wrong = await ledger.verify(Head(receipt.id, "0" * 64))
            assert (wrong.ok, wrong.first_bad.id, wrong.first_bad.problem) == (False, receipt.id, "anchor_mismatch")
        return done, ledger.head()

    done, head = await with_ledger(ledger_dir, scenario)
    seen = []
    found = verify_files(ledger_dir.parent, head, lambda *at: seen.append(at))
    assert (found.ok, found.archived) == (True, done.boundary.id)
    assert seen[-1] == (found.head.id, found.head.id)


async def test_archiving_goes_on_where_it_ended_and_each_segment_has_its_receipt(ledger_dir):
    async def scenario(ledger):
        first = await ledger.archive("op", keep=20)
        assert first.receipts > SEGMENT
        assert (await ledger.archive("op", keep=20)).receipts <= first.segments  # the receipts of archiving itself
        for number in range(30):
            await committed(ledger, note(str(number)))
        second = await ledger.archive("op", keep=10)
        assert second.boundary.id >= first.boundary.id + 30
        told = [receipt.event for receipt in await everything(ledger, kind="receipts_archived", oldest_first=True)]
        assert told[0]["from_id"] == 1
        assert [event["from_id"] for event in told[1:]] == [event["to_id"] + 1 for event in told[:-1]]
        assert {event["segment"] for event in told} == {path.name for path in (ledger_dir / "archive").iterdir()}
        assert {event["by"] for event in told} == {"op"}

    await with_ledger(ledger_dir, scenario)


async def test_a_segment_verifies_with_nothing_but_gzip_and_sha256(ledger_dir):
    await archive_all(ledger_dir)
    expected, previous = 1, "0" * 64
    for path in sorted((ledger_dir / "archive").iterdir()):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            assert line[:64].decode() == hashlib.sha256(line[64:]).hexdigest()
            assert (line[64:128].decode(), json.loads(line[128:])["id"]) == (previous, expected)
            expected, previous = expected + 1, line[:64].decode()
    assert expected > COUNT - LIVE


async def test_only_the_owner_can_read_the_archive(ledger_dir):
    await archive_all(ledger_dir)
    paths = [ledger_dir / "archive", *(ledger_dir / "archive").iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600, 0o700}
    assert len(paths) > 2


async def test_a_copy_of_the_ledger_holds_the_segments_it_counts_on(ledger_dir, tmp_path):
    await archive_all(ledger_dir)
    (ledger_dir / "archive" / "segment-0000000000009000-0000000000009001.gz").write_bytes(b"of another time")
    (tmp_path / "copy").mkdir()
    head = copy_ledger(ledger_dir, tmp_path / "copy" / "ledger", "now")
    found = verify_files(tmp_path / "copy", head, lambda *_: None)
    assert found.ok, found
    assert found.archived
    copied = {path.name for path in (tmp_path / "copy" / "ledger" / "archive").iterdir()}
    assert copied == {path.name for path in (ledger_dir / "archive").iterdir() if "9000" not in path.name}


# --- what stays -------------------------------------------------------------------------------------------------------


async def test_what_is_kept_what_is_newer_and_what_an_open_intent_needs_stays(ledger_dir):
    async def scenario(ledger):
        assert (await ledger.archive("op", keep=1_000)).receipts == 0
        assert not (ledger_dir / "archive").exists()
        done = await ledger.archive("op", 1, before_us=START_US + 12_000_000)
        assert done.boundary.id == 12
        opened = await committed(ledger, intent("r1"))
        for number in range(30):
            await committed(ledger, note(str(number)))
        done = await ledger.archive("op", 1)
        assert done.boundary.id == opened.receipt_id - 1
        await committed(ledger, outcome(opened.receipt_id))
        for number in range(30):
            await committed(ledger, note(str(number)))
        assert (await ledger.archive("op", 1)).boundary.id > opened.receipt_id

    await with_ledger(ledger_dir, scenario)


async def test_one_archiving_at_a_time(ledger_dir):
    async def scenario(ledger):
        first = asyncio.create_task(ledger.archive("op", 1))
        await asyncio.sleep(0)
        with pytest.raises(CallerError, match="already"):
            await ledger.archive("op", 1)
        assert (await first).receipts

    await with_ledger(ledger_dir, scenario)


async def test_calls_go_on_while_receipts_are_archived(ledger_dir):
    async def scenario(ledger):
        task = asyncio.create_task(ledger.archive("op", 1))
        made = []
        while not task.done():
            made.append(await committed(ledger, note("meanwhile")))
        assert (await task).receipts
        for result in made:
            assert (await ledger.receipt(result.receipt_id)).hash_hex == result.hash_hex

    await with_ledger(ledger_dir, scenario)


async def test_the_boundary_moves_only_from_where_it_is_to_a_receipt_of_the_chain_that_no_start_needs(ledger_dir):
    async def scenario(ledger):
        receipts = {receipt.id: receipt for receipt in await everything(ledger)}

        def moving(after, through, **other):
            heads = [Head(at, receipts[at].hash_hex) if at else Head(0, "0" * 64) for at in (after, through)]
            return Entry({"kind": "x"}, (ArchiveReceipts(*heads, receipts[through].ts),))

        assert await ledger.commit(moving(3, 9)) == Refused("conflict")
        wrong = ArchiveReceipts(Head(0, "0" * 64), Head(9, "1" * 64), receipts[9].ts)
        assert await ledger.commit(Entry({"kind": "x"}, (wrong,))) == Refused("conflict")
        for through in (COUNT, COUNT - LIVE + 2):
            with pytest.raises(InternalError):
                await ledger.commit(moving(0, through))
        assert isinstance(await ledger.commit(moving(0, 9)), Committed)

    ledger = Ledger.open(ledger_dir, FakeClock(LATE_US), SMALL)
    await scenario(ledger)
    # no segment holds what this removed, as no correct program does: verification says so
    found = await ledger.verify()
    assert (found.ok, found.first_bad.id, found.first_bad.problem) == (False, 1, "receipt_missing")
    await ledger.close()


# --- what was done to an archive is found -----------------------------------------------------------------------------


def rewrite(path: Path, change) -> None:
    lines = gzip.decompress(path.read_bytes()).splitlines()
    path.write_bytes(gzip.compress(b"".join(line + b"\n" for line in change(lines))))


async def first_bad(path):
    """What live and offline verification find; both the same."""

    async def run():
        ledger = Ledger.open(path, FakeClock(LATE_US), SMALL)
        found = await ledger.verify()
        await ledger.close()
        return found.first_bad

    live = await run()
    offline = verify_files(path.parent, None, lambda *_: None).first_bad
    assert (live is None, offline is None) == (live is None, live is None)
    if live is None:
        return None
    assert (live.id, live.problem, live.expected_hash_hex) == (offline.id, offline.problem, offline.expected_hash_hex)
    return live.id, live.problem


def changed(line: bytes) -> bytes:
    return line.replace(b"even", b"evil").replace(b"odd", b"ode")


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        (lambda lines: [*lines[:3], changed(lines[3]), *lines[4:]], (SEGMENT + 4, "hash")),
        (lambda lines: [*lines[:3], *lines[4:]], (SEGMENT + 4, "prev_hash")),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], (SEGMENT + 4, "prev_hash")),
        (lambda lines: lines[:-1], (2 * SEGMENT, "receipt_missing")),
        (lambda lines: [*lines[:2], b"", *lines[3:]], (SEGMENT + 3, "malformed")),
        (lambda _: [], (SEGMENT + 1, "receipt_missing")),
    ],
)
async def test_a_segment_that_was_changed_is_found_at_the_first_bad_receipt(ledger_dir, change, bad):
    await archive_all(ledger_dir)
    second = sorted((ledger_dir / "archive").iterdir())[1]
    rewrite(second, change)
    assert await first_bad(ledger_dir) == bad


@pytest.mark.parametrize("which", [0, 1, -1])
async def test_a_segment_that_is_missing_is_named_and_its_receipts_are_not_passed_over(ledger_dir, which):
    await archive_all(ledger_dir)
    segments = Archive(ledger_dir).segments()
    gone = segments[which]
    gone.path.rename(ledger_dir / "elsewhere")
    assert await first_bad(ledger_dir) == (gone.first_id, "receipt_missing")

    ledger = Ledger.open(ledger_dir, FakeClock(LATE_US), SMALL)
    for asking in (
        everything(ledger),
        everything(ledger, oldest_first=True),
        ledger.receipt(gone.first_id),
        ledger.hashes(0, 99),
    ):
        with pytest.raises(StoreError, match="archive") as caught:
            await asking
        assert caught.value.code == "receipt_chain_broken"
    assert (await ledger.commit(note())).receipt_id  # what is live goes on
    await ledger.close()
    with open_files(ledger_dir.parent) as files, pytest.raises(StoreError, match="archive"):
        files.slice_from(1, COUNT)
    (ledger_dir / "elsewhere").rename(gone.path)
    assert await first_bad(ledger_dir) is None


async def test_each_byte_of_a_segment_flipped_is_found_or_changes_no_receipt(ledger_dir):
    await archive_all(ledger_dir)
    segment = Archive(ledger_dir).segments()[1]
    data = segment.path.read_bytes()
    good = Archive(ledger_dir).slice_from(segment.first_id, SEGMENT).records
    harmless = 0
    for at in range(0, len(data), 5):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        segment.path.write_bytes(bytes(flipped))
        found = verify_files(ledger_dir.parent, None, lambda *_: None)
        if found.ok:
            harmless += 1
            assert Archive(ledger_dir).slice_from(segment.first_id, SEGMENT).records == good
        else:
            assert segment.first_id <= found.first_bad.id <= segment.last_id
    assert harmless < 8  # of gzip's header and checksum


async def test_an_archive_that_was_rewritten_and_hashed_again_does_not_fit_the_live_chain(ledger_dir):
    done = await archive_all(ledger_dir)
    previous = b"0" * 64
    for segment in Archive(ledger_dir).segments():
        lines = []
        for line in gzip.decompress(segment.path.read_bytes()).splitlines():
            event = json.loads(line[128:])
            if event["id"] == 5:
                event["text"] = "nothing happened"
            digest, record = link_record(previous, event)
            previous = digest.encode()
            lines.append(record)
        rewrite(segment.path, lambda _, lines=lines: lines)
    assert await first_bad(ledger_dir) == (done.boundary.id + 1, "prev_hash")


async def test_a_live_receipt_that_is_missing_after_the_boundary_keeps_the_ledger_shut(ledger_dir):
    done = await archive_all(ledger_dir)
    edit(ledger_dir, lambda transaction, _: transaction.delete((done.boundary.id + 1).to_bytes(8, "big")))
    with pytest.raises(StoreError, match="archived"):
        Ledger.open(ledger_dir, FakeClock(LATE_US), SMALL)


async def test_a_segment_that_inflates_without_end_is_bounded(ledger_dir, monkeypatch):
    from briefcase.adapters.ledger import archive  # noqa: PLC0415 - patched here alone

    await archive_all(ledger_dir)
    monkeypatch.setattr(archive, "MAX_SEGMENT_BYTES", 1 << 16)
    monkeypatch.setattr(archive, "MAX_RECORD_BYTES", 1 << 16)
    Archive(ledger_dir).segments()[0].path.write_bytes(gzip.compress(b"x" * (1 << 26)))
    loaded = Archive(ledger_dir).slice_from(1, 1)
    assert (loaded.records, "more than a segment" in loaded.problem) == ([], True)


@pytest.mark.parametrize("kind", ["link", "file", "open"])
def test_an_archive_directory_that_others_prepared_keeps_the_ledger_shut(ledger_dir, tmp_path, kind):
    place = ledger_dir / "archive"
    if kind == "link":
        (tmp_path / "other").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "other")
    elif kind == "file":
        place.touch(0o600)
    else:
        place.mkdir()
        place.chmod(0o770)
    with pytest.raises(ConfigError) as refused:
        Ledger.open(ledger_dir, FakeClock(), SMALL)
    assert (refused.value.code, str(place) in refused.value.message) == ("insecure_host", True)


async def test_a_link_in_the_place_of_a_segment_is_not_followed(ledger_dir):
    await archive_all(ledger_dir)
    first = Archive(ledger_dir).segments()[0]
    first.path.rename(ledger_dir / "kept")
    first.path.symlink_to(ledger_dir / "kept")
    assert await first_bad(ledger_dir) == (1, "receipt_missing")


# --- faults on the way ------------------------------------------------------------------------------------------------


async def test_a_damaged_live_chain_is_not_archived(ledger_dir):
    def flip(transaction, _):
        key = (5).to_bytes(8, "big")
        transaction.put(key, transaction.get(key).replace(b"even", b"evil").replace(b"odd", b"ode"))

    edit(ledger_dir, flip)

    ledger = Ledger.open(ledger_dir, FakeClock(LATE_US), SMALL)
    with pytest.raises(StoreError, match="receipt 5"):
        await ledger.archive("op", 1)
    assert (await ledger.receipt(1)).id == 1
    await ledger.close()
    assert list(ledger_dir.glob("archive/*")) == []


async def test_what_reads_back_otherwise_than_it_was_written_removes_nothing(ledger_dir, monkeypatch):
    from briefcase.adapters.ledger import archive  # noqa: PLC0415 - patched here alone

    real = archive.write_whole

    def cut_short(path, *, check):
        return real(path, check=lambda written: (os.truncate(written, written.stat().st_size - 9), check(written)))

    monkeypatch.setattr(archive, "write_whole", cut_short)

    ledger = Ledger.open(ledger_dir, FakeClock(LATE_US), SMALL)
    with pytest.raises(StoreError, match="does not hold what was written"):
        await ledger.archive("op", 1)
    assert (await ledger.verify()).archived == 0
    await ledger.close()


async def test_a_segment_of_another_history_is_set_aside_and_never_removed(ledger_dir):
    (ledger_dir / "archive").mkdir(mode=0o700)
    stray = ledger_dir / "archive" / "segment-0000000000000003-0000000000000017.gz"
    stray.write_bytes(b"the only copy of something")
    await archive_all(ledger_dir)
    (kept,) = (ledger_dir / "archive").glob("*.aside-*")
    assert (kept.name.startswith(stray.name), kept.read_bytes()) == (True, b"the only copy of something")


CALLS = ("mkdir", "write", "fsync", "rename", "unlink", "pwrite64", "fdatasync", "ftruncate")
FAILING = ("mkdir", "fsync", "rename", "pwrite64", "fdatasync")
STRIDE = 1 if os.environ.get("BRIEFCASE_FAULTS") == "full" else 5
CHILD = Path(__file__).parent / "archive_child.py"


class ArchiveRun:
    """One run of the child under strace, with a fault or without."""

    def __init__(self, directory: Path, *inject: str) -> None:
        trace = directory.parent / "trace"
        command = ["strace", "-f", "-y", "-qq", "-o", str(trace), "-e", f"trace={','.join(CALLS)}"]
        for rule in inject:
            command += ["-e", f"inject={rule}"]
        done = subprocess.run(
            [*command, sys.executable, str(CHILD), str(directory)], capture_output=True, check=False, timeout=120
        )
        self.code, self.errors = done.returncode, done.stderr.decode()
        self.lines = [json.loads(line) for line in done.stdout.splitlines()]
        made = Counter(tuple(line.partition("(")[0].split()[:2]) for line in trace.read_text().splitlines())
        self.calls = {name: max((made[key] for key in made if key[-1] == name), default=0) for name in CALLS}
        self.injected = "(INJECTED)" in trace.read_text()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A closed ledger, and the hashes of its receipts."""
    path = tmp_path_factory.mktemp("archive") / "ledger"
    make(path)
    return path, [bytes.fromhex(hash_hex) for hash_hex in asyncio.run(hashes_of(path))]


async def hashes_of(path):
    ledger = Ledger.open(path, FakeClock(LATE_US), SMALL)
    hashes = await ledger.hashes(0, COUNT)
    await ledger.close()
    return hashes


@pytest.fixture(scope="module")
def positions(template, tmp_path_factory):
    """How often a run without faults makes each call, on its busiest thread."""
    directory = tmp_path_factory.mktemp("count") / "ledger"
    shutil.copytree(template[0], directory)
    run = ArchiveRun(directory)
    assert any(line.get("archived", 0) > 2 * SEGMENT for line in run.lines), run.errors
    assert min(run.calls[name] for name in ("mkdir", "write", "fsync", "rename", "pwrite64", "fdatasync")) > 0
    return run.calls


async def check_nothing_lost(path, hashes) -> None:
    """Every receipt is there, live or archived, the very one; and archiving goes on from here."""

    async def scenario(ledger):
        found = await everything(ledger, oldest_first=True)
        assert [receipt.id for receipt in found] == list(range(1, len(found) + 1))
        assert [bytes.fromhex(receipt.hash_hex) for receipt in found[: len(hashes)]] == hashes
        done = await ledger.archive("op", 1)
        assert done.boundary.id >= COUNT - LIVE - 2
        assert (await ledger.verify(ledger.head())).ok

    await with_ledger(path, scenario)


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize(("offset", "name"), list(enumerate(CALLS)))
async def test_killed_at_any_call_while_archiving_no_receipt_is_lost(template, positions, tmp_path, offset, name):
    path, hashes = template
    for position in range(1 + offset % STRIDE, positions[name] + 1, STRIDE):
        directory = tmp_path / str(position) / "ledger"
        directory.parent.mkdir()
        shutil.copytree(path, directory)
        run = ArchiveRun(directory, f"{name}:signal=SIGKILL:when={position}")
        assert run.code == -9, (position, run.lines, run.errors)
        await check_nothing_lost(directory, hashes)


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize(("offset", "name"), list(enumerate(FAILING)))
async def test_a_call_that_fails_while_archiving_loses_no_receipt_and_is_said(
    template, positions, tmp_path, offset, name, error
):
    path, hashes = template
    for position in range(1 + offset % STRIDE, positions[name] + 1, STRIDE):
        directory = tmp_path / str(position) / "ledger"
        directory.parent.mkdir()
        shutil.copytree(path, directory)
        run = ArchiveRun(directory, f"{name}:error={error}:when={position}")
        assert run.injected, position
        is_said = any("refused" in line for line in run.lines) or not any("closed" in line for line in run.lines)
        assert is_said or name == "mkdir", (position, run.lines)  # of a directory that is there already: no matter
        await check_nothing_lost(directory, hashes)


@needs_strace
def test_receipts_are_removed_only_after_their_segment_and_its_name_are_synced(template, tmp_path):
    directory = tmp_path / "ledger"
    shutil.copytree(template[0], directory)
    ArchiveRun(directory)
    lines = [line.split(maxsplit=1)[1] for line in (tmp_path / "trace").read_text().splitlines()]
    renames = [at for at, line in enumerate(lines) if line.startswith("rename(")]
    assert len(renames) > 2
    for at in renames:
        part = lines[at].split('"')[1]
        about_it = [line.partition("(")[0] for line in lines[:at] if part in line]
        assert about_it[-1] == "fsync", about_it
        assert "write" in about_it[:-1]
        after = [line for line in lines[at + 1 :] if line.startswith(("fsync", "pwrite64", "fdatasync"))]
        assert after[0].startswith("fsync("), after[0]
        assert f"<{directory}/archive>" in after[0]
