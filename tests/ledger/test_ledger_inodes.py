"""The store's files as they were when they were opened: whatever is done to one of them is found, and named."""

import asyncio
import os
import threading

import pytest

from briefcase._native.inodes import Inodes
from briefcase.adapters.ledger import Ledger
from briefcase.adapters.ledger.directory import lock_data
from briefcase.model.errors import ConfigError, StoreError
from support.clock import FakeClock
from support.ledger_cases import SMALL, audit, committed, note


def remove(path):
    path.unlink()


def replace(path):
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def rename(path):
    path.rename(path.with_name("away"))


def hard_link(path):
    os.link(path, path.with_name("second"))


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("attack", [remove, replace, rename, hard_link, cut], ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("at", range(5))
def test_whatever_is_done_to_any_file_is_found_by_its_turn_and_named(tmp_path, attack, at):
    inodes, paths = Inodes(), [tmp_path / f"file{n}" for n in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(b"content")
        inodes.watch(os.fsencode(path), path.name, grows=True, first=number < 2)
    assert [inodes.glance() for _ in range(6)] == [None] * 6
    attack(paths[at])
    glances = [inodes.glance() for _ in range(1 if at < 2 else 3)]
    assert any(found and f"`file{at}`" in found for found in glances), glances
    assert f"`file{at}`" in inodes.problem()


def test_a_file_that_grows_is_as_it_was_and_a_directory_may_have_subdirectories(tmp_path):
    inodes, path, directory = Inodes(), tmp_path / "file", tmp_path / "directory"
    path.write_bytes(b"content")
    directory.mkdir()
    inodes.watch(os.fsencode(path), "file", grows=True)
    inodes.watch(os.fsencode(directory), "directory")
    path.write_bytes(b"content and more")
    (directory / "below").mkdir()
    assert inodes.problem() is None
    os.truncate(path, 10)
    assert inodes.problem() == "`file` was cut from 16 bytes to 10"


def test_what_is_not_there_cannot_be_watched(tmp_path):
    with pytest.raises(FileNotFoundError):
        Inodes().watch(os.fsencode(tmp_path / "missing"), "missing")


@pytest.mark.parametrize("count", [1, 3], ids=["alone", "in company"])
async def test_a_group_is_not_written_to_a_replaced_file_and_everyone_is_refused_for_good(tmp_path, count):
    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    await committed(ledger, note())
    head = ledger.head()
    data = tmp_path / "l" / "data.mdb"
    hard_link(data)
    for _ in range(2):
        results = await asyncio.gather(*(ledger.commit(note()) for _ in range(count)), return_exceptions=True)
        assert all(isinstance(result, StoreError) and "`l/data.mdb`" in result.message for result in results)
        data.with_name("second").unlink(missing_ok=True)  # put right again: the gate stays shut
    assert ledger.files_problem() == "`l/data.mdb` has 2 names (hard links), expected 1"
    assert "the store is not the one that was opened" in ledger.gate_problem()
    assert ledger.head() == head
    await ledger.close()
    await audit(tmp_path / "l")


async def test_a_group_under_way_when_the_files_were_found_to_be_others_is_refused(tmp_path):
    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    write, is_written, goes_on = ledger._journal.write, threading.Event(), threading.Event()

    def held(entries):
        written = write(entries)
        is_written.set()
        goes_on.wait(120)
        return written

    ledger._journal.write = held
    waiting = [asyncio.ensure_future(ledger.commit(note())) for _ in range(2)]
    await asyncio.to_thread(is_written.wait, 120)
    hard_link(tmp_path / "l" / "data.mdb")
    assert ledger.files_problem() is not None
    goes_on.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, StoreError) for result in results), results
    await ledger.close()


async def test_the_data_file_is_locked_whatever_its_name_is(tmp_path):
    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    (tmp_path / "m").mkdir(mode=0o700)
    os.link(tmp_path / "l" / "data.mdb", tmp_path / "m" / "data.mdb")
    with pytest.raises(ConfigError, match="hard links"):
        Ledger.open(tmp_path / "m", FakeClock(), SMALL)
    with pytest.raises(ConfigError, match="in use by process"):
        lock_data(tmp_path / "m")
    await ledger.close()
