"""The pipes of a server's process: lines as they come, and a process that stops listening."""

import asyncio
import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.adapters.servers import turns
from briefcase.adapters.servers.stdio_transport import KEPT_STDERR_BYTES, StdioTransport, _Process
from briefcase.adapters.servers.transport import Outgoing
from briefcase.core.mcp.jsonrpc import Notification, Unreadable, encode_notification
from briefcase.model.errors import UpstreamError
from support.servers import SECRET, Rig, confinement
from support.waiting import until

OUTPUT, COMPLAINTS = 1, 2


class Pipes:
    """A process's transport that notes what is asked of its output."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def get_pipe_transport(self, _: int):
        return self

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.said.append("pause")

    def resume_reading(self) -> None:
        self.said.append("resume")

    def get_returncode(self) -> int:
        return 0


def process_taking(taken: list) -> _Process:
    process = _Process(lambda message, _: taken.append(message), taken.append)
    process.connection_made(Pipes())
    return process


async def ended(process: _Process, taken: list) -> list:
    """All that was taken of a process once it has ended, but for the word that it has."""
    process.pipe_connection_lost(OUTPUT, None)
    process.process_exited()
    await until(lambda: taken and isinstance(taken[-1], UpstreamError))
    return taken[:-1]


@contextlib.contextmanager
def turn_of(seconds: float) -> Iterator[None]:
    """How long a turn is, however fast the machine: 0 is over after each message, infinity never."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "TURN_S", seconds)
        patch.setattr(turns, "MAX_PAUSE_S", 1e-6)
        yield


@given(
    st.lists(st.sampled_from([b"", b"  ", b"no message", b"{}", encode_notification("a", {}), b"\xff\xfe"])),
    st.sampled_from([0, math.inf]),
    st.data(),
)
async def test_neither_how_the_output_is_cut_nor_where_a_turn_ends_changes_what_is_taken(lines, turn_s, data):
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    taken: list = []
    with turn_of(turn_s):
        process = process_taking(taken)
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            process.pipe_data_received(OUTPUT, stream[start:end])
        expected = [Notification("a", {})] * lines.count(encode_notification("a", {}))
        assert await ended(process, taken) == expected


async def test_half_a_line_is_no_message_until_its_end_comes():
    taken: list = []
    process = process_taking(taken)
    process.pipe_data_received(OUTPUT, encode_notification("a", {}))
    assert taken == []
    process.pipe_data_received(OUTPUT, b"\n")
    assert taken == [Notification("a", {})]


async def test_only_the_end_of_its_complaints_is_kept():
    process = process_taking([])
    for _ in range(5):
        process.pipe_data_received(COMPLAINTS, b"x" * KEPT_STDERR_BYTES)
    process.pipe_data_received(COMPLAINTS, b"the end")
    assert len(process.stderr) == KEPT_STDERR_BYTES
    assert process.stderr.endswith(b"xthe end")


async def test_its_complaints_are_told_from_the_first_line_that_is_kept_whole():
    process = process_taking([])
    process.pipe_data_received(COMPLAINTS, b"one\ntwo\n")
    assert process.complaints == "one\ntwo\n"
    process.pipe_data_received(COMPLAINTS, b"x" * KEPT_STDERR_BYTES + b"\nthe \xff end")
    assert process.complaints == "the \ufffd end"


BIG_BYTES = 1 << 10
BIG = b"x" * BIG_BYTES


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"text":"%b"}}' % BIG, 7),
        (b'{"result":{"text":"%b"},"jsonrpc":"2.0","id":7}' % BIG, 7),
        (b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"%b"}}' % BIG, None),
        (BIG * 9, None),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 7, 1_000, 1 << 20])
async def test_a_line_that_is_too_long_fails_what_it_answers_and_nothing_else(line, answers, piece_bytes):
    taken: list = []
    process = _Process(lambda message, _: taken.append(message), taken.append, BIG_BYTES)
    process.connection_made(Pipes())
    before, after = encode_notification("before", {}), encode_notification("after", {})
    data = b"\n".join([before, line, after, b""])
    for start in range(0, len(data), piece_bytes):
        process.pipe_data_received(OUTPUT, data[start : start + piece_bytes])
    problem = f"expected at most {BIG_BYTES:,} bytes (`max_message_bytes`), got more"
    told = [] if answers is None else [Unreadable(answers, problem)]
    found = await ended(process, taken)
    assert found == [Notification("before", {}), *told, Notification("after", {})]
    assert process._rest_bytes <= BIG_BYTES


def test_a_line_that_does_not_end_ends_the_process():
    async def test():
        faults: list = []
        script = "import sys\nwhile True: sys.stdout.write('x' * 4096)"
        way = StdioTransport(
            (sys.executable, "-c", script), {}, "", os.environ, confinement(), max_message_bytes=64 << 10
        )
        await way.open(lambda *_: None, faults.append)
        await until(lambda: faults)
        await way.close()
        assert [fault.message for fault in faults] == ["the server sent a line of more than 1,048,576 bytes"]

    asyncio.run(test())


CLOSES_ITS_INPUT = "import os, time; os.close(0); time.sleep(60)"


def opened(script: str, taken: list) -> StdioTransport:
    return StdioTransport((sys.executable, "-c", script), {}, "", os.environ, confinement())


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("import sys; sys.exit(7)", "the server's process has ended with code 7"),
        (CLOSES_ITS_INPUT, "the server closed its input"),
    ],
)
@pytest.mark.both_loops
async def test_a_process_that_is_of_no_use_any_more_is_lost_once(script, problem, monkeypatch):
    if script == CLOSES_ITS_INPUT:  # and does not end, however long it is waited for
        monkeypatch.setattr("briefcase.adapters.servers.stdio_transport.CLOSE_GRACE_S", 0.05)
    faults: list = []
    way = opened(script, faults)
    await way.open(lambda *_: None, faults.append)
    await until(lambda: faults)
    await way.close()
    assert [fault.message for fault in faults] == [problem]
    assert not way.try_send(Outgoing(b"{}"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to see its own descriptors")
@pytest.mark.both_loops
async def test_a_process_is_given_its_three_streams_and_no_other_descriptor(tmp_path):
    told = tmp_path / "told"
    script = f"import os; open({str(told)!r}, 'w').write(' '.join(os.listdir('/proc/self/fd')))"
    faults: list = []
    way = opened(script, faults)
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        await way.open(lambda *_: None, faults.append)
        await until(lambda: faults)
    finally:
        await way.close()
        os.close(read)
        os.close(write)
    assert {int(number) for number in told.read_text().split()} <= {0, 1, 2, 3, 4}  # the file, and the listing itself


async def test_a_process_that_does_not_read_is_not_written_to_for_ever(monkeypatch):
    monkeypatch.setattr("briefcase.adapters.servers.stdio_transport.CLOSE_GRACE_S", 0.05)
    way = opened("import time; time.sleep(60)", [])
    await way.open(lambda *_: None, lambda _: None)
    sent = 0
    while way.try_send(Outgoing(b"x" * 65_536)):
        sent += 1
        await asyncio.sleep(0)
    assert 0 < sent < 16
    with pytest.raises(Exception, match="does not read its input"):
        await way.send(Outgoing(b"{}", timeout_ms=50))
    await way.close()


async def test_after_a_long_turn_nothing_more_of_a_server_is_taken_until_the_others_had_the_loop():
    flood = b"".join(encode_notification(f"n{number}", {}) + b"\n" for number in range(5))
    taken: list = []
    with turn_of(0):
        process = process_taking(taken)
        process.pipe_data_received(OUTPUT, flood)
        assert [message.method for message in taken] == ["n0"]
        assert process.transport.said == ["pause"]
        was_taken = await ended(process, taken)
    expected = [f"n{number}" for number in range(5)]
    assert [message.method for message in was_taken] == expected, "in order, and none lost with the process's end"
    assert process.transport.said[-1] == "resume"


async def test_what_comes_during_a_pause_is_taken_after_what_came_before_it():
    taken: list = []
    with turn_of(0):
        process = process_taking(taken)
        for number in range(3):
            process.pipe_data_received(OUTPUT, encode_notification(f"n{number}", {}) + b"\n")
        assert [message.method for message in taken] == ["n0"]
        was_taken = await ended(process, taken)
    assert [message.method for message in was_taken] == ["n0", "n1", "n2"]


async def test_why_a_process_ended_is_told_with_its_last_words_and_without_secrets():
    script = f"import sys; sys.stderr.write('\\x1b[31mfirst\\x1b[0m\\nkey {SECRET} is wrong\\n\\n'); sys.exit(1)"
    rig = Rig(None)
    await rig.registry.set_server("fx", {"command": sys.executable, "args": ["-c", script]}, "operator")
    try:
        connection = rig.registry.connection("fx")
        await until(lambda: connection.complaints)
        assert connection.complaints == ("first", "key [redacted] is wrong")
        await until(lambda: connection.problem)
        assert connection.told_problem.endswith(": key [redacted] is wrong")
        assert connection.told_problem.startswith("the server's process has ended")
        assert "key" not in connection.problem  # which agents are told
    finally:
        await rig.registry.stop()


SLOW_STATELESS = """
import json, sys
asked = [json.loads(sys.stdin.readline())]
if NUMBER == 1:
    asked.append(json.loads(sys.stdin.readline()))  # it is slow to start: the handshake came behind the probe by then
while True:
    for message in asked:
        if message["method"] == "server/discover":
            answer = {"result": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}}
        elif message["method"] == "tools/list":
            answer = {"result": {"tools": []}}
        else:
            answer = {"error": {"code": -32600, "message": "serving 2026-07-28"}}
        if "id" in message:
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
    asked = [json.loads(sys.stdin.readline())]
"""


async def test_a_stateless_server_that_is_slow_to_start_is_given_its_time_the_next_time(monkeypatch, tmp_path):
    monkeypatch.setattr("briefcase.adapters.servers.connection.PROBE_TIMEOUT_MS", 50)
    counter = tmp_path / "starts"
    count = f"p = {str(counter)!r}; open(p, 'a').write('x'); NUMBER = len(open(p).read())"
    rig = Rig(None)
    await rig.registry.set_server("fx", {"command": sys.executable, "args": ["-c", f"{count}{SLOW_STATELESS}"]}, "op")
    try:
        await rig.ready()
        assert rig.registry.connection("fx").revision == "2026-07-28"
        assert counter.read_text() == "xx"
    finally:
        await rig.registry.stop()
