"""HTTP/1.1 within bounds: raw bytes in, and what may come back; whatever is sent, other clients are still served."""

import asyncio
import contextlib
import itertools
import os
import re
import socket

import pytest
from framing_cases import CALL, FRAMING, NEXT

from support.api import Rig, request
from support.waiting import until


def statuses(answers: bytes) -> list[int]:
    """The status of each answer in what a connection said."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


async def still_serves(rig: Rig) -> None:
    status, _, body = await rig.ask("GET", "/health", token=None)
    assert (status, body["status"]) == (200, "ok")


@pytest.mark.parametrize("data", FRAMING.values(), ids=FRAMING.keys())
async def test_what_two_parsers_could_frame_differently_is_refused_once_and_nothing_is_parsed_from_the_rest(rig, data):
    assert statuses(await rig.raw(data + NEXT)) == [400]
    assert rig.calls.seen == []
    await still_serves(rig)


@pytest.mark.parametrize("data", FRAMING.values(), ids=FRAMING.keys())
async def test_the_same_is_refused_when_it_comes_byte_by_byte(rig, data):
    client = await rig.connect()
    for byte in data:
        await client.send(bytes([byte]))
    await client.send(NEXT)
    assert statuses(await client.rest()) == [400]
    assert rig.calls.seen == []
    await client.close()


@pytest.mark.parametrize(
    "data",
    [b"GET /hea", b"GET /health HTTP/1.1\r\nhost: a\r\n", CALL + b"content-length: 9\r\n\r\nabc"],
    ids=["in the line", "in the head", "in the body"],
)
async def test_half_a_request_and_the_end_of_the_stream_is_a_bad_request(rig, data):
    client = await rig.connect()
    await client.send(data)
    client.writer.write_eof()
    assert statuses(await client.rest()) == [400]
    assert rig.calls.seen == []
    await client.close()


@pytest.mark.parametrize(
    "target",
    [
        "http://localhost/v1/tools",
        "//v1/tools",
        "/v1//tools",
        "/v1/./tools",
        "/v1/x/../tools",
        "/v1/%2e%2e/v1/tools",
        "/v1%2ftools",
        "/v1%2Ftools",
        "/v1/approvals/%2e%2e",
        "/v1/approvals/..",
        "/v1/approvals/a%2fapprove",
        "/v1/approvals/%252e%252e",
        "/v1/approvals/a%00b",
        "/v1/approvals/%ff",
        "/v1/approvals/a;x/approve",
        "/v1/tools;x",
        "/v1/tools/",
        "/V1/tools",
        "/v1/tools#x",
        "/v1/tools%20",
        "/v1/tools\\",
        "*",
    ],
)
async def test_a_path_that_is_not_exactly_one_of_ours_is_not_found(rig, target):
    status, _, body = await rig.ask("GET", target)
    assert (status, body["code"]) == (404, "not_found")


@pytest.mark.parametrize("name", [".", "..", "%2e%2e", "a%20b", "a%2fb", "x" * 129, "%c3%a9", ";", ""])
async def test_a_name_in_a_path_is_a_plain_identifier(rig, name):
    status, _, _ = await rig.ask("POST", f"/v1/budgets/{name}", {"daily_limit_microusd": 1})
    assert (status, rig.ledger.chain) == (404, [])


async def test_a_path_is_decoded_once(rig):
    status, _, body = await rig.ask("GET", "/v1/t%6fols")
    assert (status, len(body["tools"])) == (200, 2)
    status, _, _ = await rig.ask("GET", "/v1/t%256fols")
    assert status == 404


@pytest.mark.parametrize("name", ["x-http-method-override", "x-http-method", "x-method-override"])
async def test_no_header_overrides_the_method(rig, name):
    status, headers, _ = await rig.ask("GET", "/v1/tools/call", headers=[(name, "POST")])
    assert (status, headers["allow"]) == (405, "POST")
    assert rig.calls.seen == []


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, identity"])
async def test_a_coded_body_is_refused_before_it_is_read(rig, coding):
    status, _, body = await rig.ask("POST", "/v1/tools/call", b"\x1f\x8b\x08", headers=[("content-encoding", coding)])
    assert (status, body["code"]) == (415, "unsupported_media_type")
    assert rig.calls.seen == []


# --- size and time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 100_000,
        b"GET /health HTTP/1.1\r\nx: " + b"y" * 3_000_000,
        b"GET /" + b"x" * 3_000_000,
        b"GET /health HTTP/1.1\r\n" + b"z" * 3_000_000,
        b"GET /health?" + b"q" * 17_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["100,000 headers", "one endless header", "an endless target", "an endless name", "a long query"],
)
async def test_a_head_past_its_bound_is_refused_and_read_no_further(rig, head):
    assert statuses(await rig.raw(head)) == [431]
    await still_serves(rig)


async def test_a_head_up_to_its_bound_is_read(rig):
    assert (await rig.ask("GET", "/health", headers=[("x", "y" * 15_000)]))[0] == 200
    assert (await rig.ask("GET", "/health", headers=[("x", "y")] * 62))[0] == 200
    assert (await rig.ask("GET", "/health", headers=[("x", "y")] * 63))[0] == 431
    client = await rig.connect()
    for piece in (b"GET /health HTTP/1.1\r\nx: ", *[b"y" * 1_000] * 15, b"\r\n\r\n"):
        await client.send(piece)
        await asyncio.sleep(0)  # each piece is read by itself
    assert (await client.answer())[0] == 200
    await client.close()


async def trickle(steered_loop, client, data: bytes) -> bytes:
    """Send a byte a second, for ever, until the server has said its last."""
    rest = asyncio.ensure_future(client.rest())
    for byte in itertools.cycle(data):
        if rest.done():
            break
        with contextlib.suppress(ConnectionError):  # it has closed, and what it said before is in `rest`
            await client.send(bytes([byte]))
        await steered_loop.advance(1)
    return await rest


@pytest.mark.parametrize(
    ("head", "forever", "expected"),
    [
        (b"GET /health HTTP/1.1\r\n", b"x: y\r\n", [408]),
        (b"GET /", b"x", [408]),
        (NEXT, b"\r\n", [200, 408]),
        (b"", b"\r\n", []),  # nothing is said to a client that never began a request
    ],
    ids=["headers", "a target", "blank lines after a request", "blank lines"],
)
async def test_a_head_that_comes_a_byte_at_a_time_has_a_deadline_that_bytes_do_not_move(
    tmp_path, steered_loop, head, forever, expected
):
    async with Rig(tmp_path, head_timeout_ms=10_000) as rig:
        slow = await rig.connect()
        await slow.send(head)
        await still_serves(rig)
        assert statuses(await trickle(steered_loop, slow, forever)) == expected
        await slow.close()


async def test_the_deadline_of_a_head_is_not_the_next_one_s_though_each_begins_in_the_piece_that_ends_another(
    tmp_path, steered_loop
):
    async with Rig(tmp_path, head_timeout_ms=10_000) as rig:
        client = await rig.connect()
        await client.send(NEXT[:10])
        for _ in range(6):
            await steered_loop.advance(4)
            await client.send(NEXT[10:] + NEXT[:10])
            status, _, _ = await client.answer()
            assert status == 200
        assert statuses(await trickle(steered_loop, client, b"x")) == [408]  # the last one never ends
        await client.close()


async def test_a_body_that_comes_a_byte_at_a_time_has_a_deadline(tmp_path, steered_loop):
    async with Rig(tmp_path, body_timeout_ms=10_000) as rig:
        slow = await rig.connect()
        await slow.send(CALL + b"content-length: 100000\r\n\r\n")
        await still_serves(rig)
        assert statuses(await trickle(steered_loop, slow, b"x")) == [408]
        assert rig.calls.seen == []
        await slow.close()


async def test_a_client_that_says_nothing_is_let_go(tmp_path):
    async with Rig(tmp_path, head_timeout_ms=100) as rig:
        assert await rig.raw(b"") == b""


async def test_an_idle_connection_is_closed_after_its_time(tmp_path):
    async with Rig(tmp_path, keep_alive_ms=100) as rig:
        assert statuses(await rig.raw(NEXT + NEXT)) == [200, 200]


@pytest.mark.parametrize(
    "data",
    [
        CALL + b"content-length: 1073741824\r\n\r\n",
        CALL + b"content-length: 1048577\r\n\r\n" + b"x" * 70_000,
        CALL + b"transfer-encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 20,
        CALL + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000,
    ],
    ids=["1 GB declared", "one byte too many", "endless chunks", "20,000 chunks of one byte"],
)
async def test_a_body_past_its_bound_is_refused_and_not_handled(rig, data):
    assert statuses(await rig.raw(data)) == [413]
    assert rig.calls.seen == []
    await still_serves(rig)


async def test_a_body_up_to_its_bound_is_read_whole_however_it_comes(rig):
    body = os.urandom(1 << 20)
    assert (await rig.ask("POST", "/v1/tools/call", body))[0] == 200
    chunked = b"".join(b"%x;ext=1\r\n%s\r\n" % (4096, body[at : at + 4096]) for at in range(0, len(body), 4096))
    said = await rig.raw(CALL + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n" + chunked + b"0\r\n\r\n")
    assert statuses(said) == [200]
    assert [seen for _, seen in rig.calls.seen] == [body, body]


async def test_a_client_that_waits_for_100_continue_is_told_to(rig):
    client = await rig.connect()
    await client.send(CALL + b"content-length: 2\r\nexpect: 100-continue\r\n\r\n")
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"{}")
    assert (await client.answer())[0] == 200
    await client.close()


async def test_a_client_that_does_not_read_its_answer_is_cut(tmp_path):
    async with Rig(tmp_path, write_timeout_ms=100) as rig:
        rig.calls.payload = {"status": "ok", "result": "x" * (16 << 20)}
        client = await rig.connect()
        await client.send(request("POST", "/v1/tools/call", b"{}"))
        await rig.calls.reached.wait()
        await until(lambda: not rig.server._state.connections)
        await client.close()


# --- many at once -----------------------------------------------------------------------------------------------------


async def test_pipelined_requests_are_answered_in_order(rig):
    said = await rig.raw(
        NEXT + CALL + b"content-length: 2\r\n\r\n{}" + b"GET /nope HTTP/1.1\r\nconnection: close\r\n\r\n"
    )
    assert statuses(said) == [200, 200, 404]


async def test_of_10000_pipelined_requests_a_bounded_number_waits_and_is_answered(tmp_path):
    async with Rig(tmp_path, max_pipelined=4) as rig:
        rig.calls.go.clear()
        client = await rig.connect()
        sending = asyncio.ensure_future(client.send((CALL + b"content-length: 2\r\n\r\n{}") * 10_000))
        await rig.calls.reached.wait()
        await still_serves(rig)
        assert len(rig.calls.seen) == 1
        rig.calls.go.set()
        assert statuses(await client.rest()) == [200] * 5 + [429]
        assert len(rig.calls.seen) == 5
        await client.close()
        await sending


REFUSED = {
    "no request": (b"GARBAGE", 400),
    "a bad head": (CALL + b"content-length: +1\r\n\r\n", 400),
    "a bad body": (CALL + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
    "a bad target": (b"GET //x HTTP/1.1\r\n\r\n", 404),
    "a coded body": (CALL + b"content-encoding: gzip\r\n\r\n", 415),
    "a body that is too large": (CALL + b"content-length: 9999999\r\n\r\n", 413),
    "a head that is too large": (b"GET /health HTTP/1.1\r\nx: %b\r\n\r\n" % (b"y" * 20_000), 431),
    "too many headers": (b"GET /health HTTP/1.1\r\n" + b"x: y\r\n" * 65 + b"\r\n", 431),
}


@pytest.mark.parametrize(("second", "status"), REFUSED.values(), ids=REFUSED)
async def test_a_refused_request_is_answered_after_the_one_in_flight_before_it(rig, second, status):
    rig.calls.go.clear()
    client = await rig.connect()
    await client.send(CALL + b"content-length: 2\r\n\r\n{}" + second)
    await rig.calls.reached.wait()
    rig.calls.go.set()
    said = await client.rest()
    assert statuses(said) == [200, status]
    assert b"policy_denied" in said
    assert said.lower().count(b"connection: close") == 1
    assert len(rig.calls.seen) == 1
    await client.close()


@pytest.mark.parametrize("before", [1, 2, 5])
async def test_a_refused_request_is_answered_once_however_many_are_before_it(rig, before):
    assert statuses(await rig.raw(NEXT * before + b"GARBAGE" + NEXT)) == [200] * before + [400]


async def test_nothing_after_connection_close_is_answered_though_it_is_refused(rig):
    said = await rig.raw(b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\nGARBAGE")
    assert statuses(said) == [200]


async def test_nothing_after_connection_close_is_parsed(rig):
    said = await rig.raw(b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n" + CALL + b"content-length: 2\r\n\r\n{}")
    assert statuses(said) == [200]
    assert rig.calls.seen == []


async def test_a_client_that_leaves_does_not_stop_its_call(rig):
    rig.calls.go.clear()
    client = await rig.connect()
    await client.send(request("POST", "/v1/tools/call", b"{}"))
    await rig.calls.reached.wait()
    await client.close()
    await until(lambda: not rig.server._state.connections)
    rig.calls.go.set()
    await until(lambda: rig.calls.finished)


# --- who is at the other end ------------------------------------------------------------------------------------------


async def test_a_peer_that_is_not_allowed_is_turned_away_before_anything_is_read(tmp_path):
    async with Rig(tmp_path, allowed_uids=frozenset({os.geteuid() + 1})) as rig:
        said = await rig.raw(b"")
        assert statuses(said) == [403]
        assert b"another user" in said


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_is_refused_by_mode_and_where_the_mode_lets_it_by_its_credentials(tmp_path, rig):
    def as_nobody(path: str) -> bytes:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            said = b"failed"
            try:
                os.setresuid(65_534, 65_534, 65_534)
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(path)
                    with contextlib.suppress(BrokenPipeError):  # turned away before it could even ask
                        sock.sendall(NEXT)
                    said = sock.recv(4_096)
            except PermissionError:
                said = b"permission"
            finally:
                os.write(write, said)
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        with os.fdopen(read, "rb") as pipe:
            return pipe.read()

    for parent in (*reversed(tmp_path.parents), tmp_path):
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    assert await asyncio.to_thread(as_nobody, str(rig.path)) == b"permission"
    rig.path.chmod(0o666)
    assert statuses(await asyncio.to_thread(as_nobody, str(rig.path))) == [403]
