"""The log's writer: whole lines in order, no waiting where they are logged, and a count of what was lost."""

from __future__ import annotations

import fcntl
import json
import os
import select
import threading
from contextlib import suppress

import pytest

from briefcase.adapters.telemetry.log_writer import MAX_WAITING_BYTES, LogWriter

SOON_S = 10


@pytest.fixture
def pipe():
    """A pipe's reading end, which does not block, and its writing end, as others share it."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    yield read, write
    with suppress(OSError):
        os.close(read)
    os.close(write)


@pytest.fixture
def full_pipe(pipe):
    """The same with no room left; and how many bytes of filling are in it."""
    read, write = pipe
    other = os.open(f"/proc/self/fd/{write}", os.O_WRONLY | os.O_NONBLOCK)
    filling = 0
    with suppress(BlockingIOError):
        while True:
            filling += os.write(other, b"." * 4_096)
    os.close(other)
    return read, write, filling


def read_lines(read, *, but: int = 0, until: bytes) -> list[bytes]:
    """What comes up to a line that holds `until`, without the first `but` bytes."""
    data = b""
    while until not in data or not data.endswith(b"\n"):
        assert select.select([read], [], [], SOON_S)[0], data[-200:]
        data += os.read(read, 1 << 16)
    return data[but:].splitlines(keepends=True)


def test_lines_come_out_whole_and_in_order(pipe):
    read, write = pipe
    writer = LogWriter(write)
    lines = [b"%d %b\n" % (number, b"x" * (number * 97 % 9_000)) for number in range(200)]
    logging = threading.Thread(target=lambda: [writer.write(line) or writer.flush(SOON_S) for line in lines])
    logging.start()
    assert read_lines(read, until=b"\n199 ") == lines
    logging.join()
    assert writer.lost == 0


def test_nobody_waits_for_a_full_pipe_and_what_finds_no_room_is_counted_and_said(full_pipe):
    read, write, filling = full_pipe
    writer = LogWriter(write)
    line = b"x" * 1_023 + b"\n"
    for _ in range(MAX_WAITING_BYTES // len(line) + 7):
        writer.write(line)
    writer.write(b"two\nlines" + line)
    assert writer.lost == 9
    *lines, said = read_lines(read, but=filling, until=b"log lines were lost")
    assert lines == [line] * (MAX_WAITING_BYTES // len(line))
    assert json.loads(said)["lost_since_start"] == 9
    writer.write(line)
    assert read_lines(read, until=b"x\n") == [line]  # said once
    assert fcntl.fcntl(write, fcntl.F_GETFL) & os.O_NONBLOCK == 0


def test_a_line_longer_than_everything_that_may_wait_is_taken_when_nothing_waits(full_pipe):
    read, write, filling = full_pipe
    writer = LogWriter(write)
    long = b"y" * (MAX_WAITING_BYTES + 1) + b"\n"
    writer.write(long)
    writer.write(b"lost\n")
    assert writer.lost == 1
    assert read_lines(read, but=filling, until=b"log lines were lost")[0] == long


def test_a_flush_waits_for_the_reader_but_not_for_ever(full_pipe):
    read, write, filling = full_pipe
    writer = LogWriter(write)
    writer.write(b"last\n")
    writer.flush(0.05)
    waiting = threading.Thread(target=writer.flush, args=(SOON_S,))
    waiting.start()
    assert read_lines(read, but=filling, until=b"last") == [b"last\n"]
    waiting.join(SOON_S)
    assert not waiting.is_alive()


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing(full_pipe):
    read, write, filling = full_pipe
    os.set_blocking(write, False)
    writer = LogWriter(write)
    lines = [b"%d\n" % number for number in range(100)]
    for line in lines:
        writer.write(line)
    writer.flush(0.05)  # it finds no room
    assert read_lines(read, but=filling, until=b"\n99") == lines
    assert writer.lost == 0


def test_a_reader_that_has_gone_costs_the_line_and_nothing_else(pipe):
    read, write = pipe
    writer = LogWriter(write)
    os.close(read)
    for _ in range(3):
        writer.write(b"x\n")
        writer.flush(SOON_S)
    assert writer.lost == 3


def test_a_file_has_the_line_as_soon_as_it_is_logged(tmp_path):
    path = tmp_path / "log"
    with path.open("ab", buffering=0) as file:
        writer = LogWriter(file.fileno())
        for number in range(3):
            writer.write(b"%d\n" % number)
            assert path.read_bytes().endswith(b"%d\n" % number)
    assert path.read_bytes() == b"0\n1\n2\n"


def test_a_line_that_was_cut_off_is_ended_and_said_to_be_lost(tmp_path, monkeypatch):
    """A full disk takes the beginning of a line; space returns."""
    path = tmp_path / "log"
    with path.open("ab", buffering=0) as file:
        writer = LogWriter(file.fileno())
        write, room = os.write, [6]

        def write_within(descriptor, data):
            if not room[0]:
                raise OSError(28, "no space left on device")
            written = write(descriptor, bytes(data)[: room[0]])
            room[0] -= written
            return written

        monkeypatch.setattr(os, "write", write_within)
        writer.write(b"one\n")
        writer.write(b"cut off\n")
        writer.write(b"lost\n")
        room[0] = 1 << 20
        writer.write(b"two\n")
        monkeypatch.undo()
    *lines, said = path.read_bytes().splitlines()
    assert lines == [b"one", b"cu", b"two"]
    assert json.loads(said)["lost_since_start"] == writer.lost == 2
