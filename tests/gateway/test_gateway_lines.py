"""Lines to a client that reads, reads late, or not at all."""

import asyncio
import contextlib
import os
import socket
import threading

import pytest

from briefcase.edges.gateway.line_writer import LineWriter
from support.waiting import BOUND_S

LINES = [b"%d:" % number + b"x" * (number * 997 % 9_000) for number in range(200)]


@contextlib.contextmanager
def ends(kind: str, tmp_path):
    """A descriptor to read from and one to write to."""
    if kind == "pipe":
        read, write = os.pipe()
    elif kind == "socket":
        read, write = (end.detach() for end in socket.socketpair())
    else:
        path = tmp_path / "out"
        write = os.open(path, os.O_WRONLY | os.O_CREAT)
        read = os.open(path, os.O_RDONLY)
    try:
        yield read, write
    finally:
        for descriptor in (read, write):
            with contextlib.suppress(OSError):
                os.close(descriptor)


def read_lines(read: int) -> list[bytes]:
    with os.fdopen(os.dup(read), "rb") as source:
        return source.read().splitlines()


async def read_while(scenario, kind: str, tmp_path, *, blocks: bool = True) -> list[bytes]:
    """What the client at the other end reads.

    Args:
        scenario: writes with the writer it is given, and starts the reader it is given, but that of a file.
        kind: of the descriptor.
        tmp_path: for a file.
        blocks: whether the descriptor does.
    """
    with ends(kind, tmp_path) as (read, write):
        os.set_blocking(write, blocks)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.extend(read_lines(read)))
        writer = LineWriter(write)
        await scenario(writer, reader)
        writer.close()
        os.close(write)
        if kind == "file":
            reader.start()
        await asyncio.to_thread(reader.join)
        return got


async def turns_of_the_loop() -> None:
    """Let the loop go on while nobody reads, which it does not do where a write holds it up."""
    for _ in range(50):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("kind", ["pipe", "socket", "file"])
async def test_lines_come_whole_and_in_order_though_they_are_written_at_once(kind, tmp_path):
    async def scenario(writer, reader):
        if kind != "file":
            reader.start()
        await asyncio.gather(*(writer.write(line) for line in LINES))

    assert await read_while(scenario, kind, tmp_path) == LINES


@pytest.mark.parametrize("kind", ["pipe", "socket"])
async def test_a_client_that_does_not_read_holds_up_nobody_and_loses_no_part_of_a_line(kind, tmp_path):
    async def scenario(writer, reader):
        writes = [asyncio.create_task(writer.write(line)) for line in LINES]
        await turns_of_the_loop()
        stuck = [task for task in writes if not task.done()]
        assert stuck, "it wrote more than anybody took"
        stuck[0].cancel()  # its line has begun
        with contextlib.suppress(asyncio.CancelledError):
            await stuck[0]
        reader.start()
        await asyncio.gather(*writes, return_exceptions=True)

    assert await read_while(scenario, kind, tmp_path) == LINES


@pytest.mark.parametrize("kind", ["pipe", "socket"])
async def test_a_descriptor_that_does_not_block_gets_whole_lines_too(kind, tmp_path):
    async def scenario(writer, reader):
        writing = asyncio.gather(*(writer.write(line) for line in LINES))
        await turns_of_the_loop()
        assert not writing.done(), "it wrote more than anybody took"
        reader.start()
        await writing

    assert await read_while(scenario, kind, tmp_path, blocks=False) == LINES


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_client_that_reads_no_more_does_not_keep_the_process_from_ending(kind, tmp_path):
    with ends(kind, tmp_path) as (_, write):

        async def leaving():
            writer = LineWriter(write)
            writing = asyncio.create_task(writer.write(b"x" * 1_000_000))
            await turns_of_the_loop()
            assert not writing.done()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            writer.close()

        ending = threading.Thread(target=lambda: asyncio.run(leaving()), daemon=True)  # it waits for its executor
        ending.start()
        ending.join(BOUND_S)
        assert not ending.is_alive()


async def test_short_lines_to_a_full_pipe_do_not_stop_the_loop(tmp_path):
    lines = [b"x" * 100] * 2_000

    async def scenario(writer, reader):
        writing = asyncio.gather(*(writer.write(line) for line in lines))
        await turns_of_the_loop()
        assert not writing.done(), "it wrote more than the pipe holds"
        reader.start()
        await writing

    assert await read_while(scenario, "pipe", tmp_path) == lines


@pytest.mark.parametrize("kind", ["pipe", "socket"])
async def test_a_client_that_left_is_noticed(kind, tmp_path):
    with ends(kind, tmp_path) as (read, write):
        writer = LineWriter(write)
        os.close(read)
        for _ in range(2):
            with pytest.raises(BrokenPipeError):
                await writer.write(b"anybody?")
        writer.close()
