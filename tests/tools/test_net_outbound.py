"""The guarded way out over real sockets: where it goes, what it sends once, and what it bounds."""

import asyncio
import gzip
import socket
import ssl
import time
import zlib

import pytest

from briefcase.adapters.net.exchanges import MAX_POOLS
from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.model.errors import ConfigError, UpstreamError
from briefcase.model.ports import HttpRequest
from support.certificates import new_certificate
from support.hostile_servers import RawServer, answering, close_outbound, http_answer
from support.waiting import until, wait_until

MAX_BODY = 10_000


async def exchange(requests, *, allow=(), lookup=None, tls=None, at_once=False):
    """Send requests through one outbound; gives each answer or fault."""

    async def run():
        outbound = GuardedOutbound(allow, tls=tls, **({"lookup": lookup} if lookup else {}))

        async def send(request):
            try:
                return await outbound.request(request)
            except UpstreamError as error:
                return error

        try:
            if at_once:
                return list(await asyncio.gather(*map(send, requests)))
            return [await send(request) for request in requests]
        finally:
            await close_outbound(outbound)

    return await run()


def get(url, **fields):
    return HttpRequest(**{"method": "GET", "url": url, "max_body_bytes": MAX_BODY, "timeout_ms": 60_000, **fields})


async def ask(server, **fields):
    """One GET to a listed server."""
    return (await exchange([get(**{"url": f"{server.url}/x", **fields})], allow=[server.address]))[0]


def resolving(*addresses):
    """A resolver that gives these for every name, and counts how often it was asked."""
    asked = []

    async def lookup(host, port):
        asked.append((host, port))
        return addresses

    lookup.asked = asked
    return lookup


# --- where it goes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.1.2.3", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
     "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[fd00:ec2::254]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1",
     "0", "①②⑦.⓪.⓪.①", "127.0.0.1.", "[fe80::1%25lo]"],
)  # fmt: skip
async def test_a_special_purpose_address_is_refused_in_every_spelling_before_anything_is_sent(host):
    (refused,) = await exchange([get(f"https://{host}/")], lookup=resolving())

    assert refused.code == "upstream_refused"
    assert refused.sent is False


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "fe80::1%lo", "64:ff9b::a9fe:a9fe",
     "2002:a9fe:a9fe::", "0.0.0.0", "192.88.99.1", "224.0.0.1"],
)  # fmt: skip
async def test_a_name_is_judged_by_what_it_resolves_to(address):
    (refused,) = await exchange([get("https://innocent.example/")], lookup=resolving(address))

    assert refused.code == "upstream_refused"
    assert refused.sent is False


async def test_one_special_address_among_public_ones_refuses_the_name():
    (refused,) = await exchange([get("https://mixed.example/")], lookup=resolving("8.8.8.8", "127.0.0.1"))

    assert refused.code == "upstream_refused"


async def test_the_connection_goes_to_the_very_address_that_was_checked():
    """A name is resolved once for a connection; a resolver that changes its mind the second time gains nothing."""
    with RawServer(answering(http_answer())) as checked, RawServer(answering(http_answer())) as other:
        answers = iter([["127.0.0.1"], ["127.0.0.2"]])

        async def rebinding(_host, _port):
            return next(answers)

        name = f"desk.example:{checked.port}"
        (answer,) = await exchange([get(f"http://{name}/")], allow=[name], lookup=rebinding)

        assert answer.status == 200
        assert next(answers) == ["127.0.0.2"]
        assert (checked.connections, other.connections) == (1, 0)


async def test_a_name_that_turns_private_between_two_connections_is_refused():
    with RawServer(answering(http_answer(Connection="close"))) as server:
        name = f"desk.example:{server.port}"
        answers = iter([["127.0.0.1"], ["169.254.169.254"]])

        async def rebinding(_host, _port):
            return next(answers)

        first, second = await exchange([get(f"http://{name}/")] * 2, allow=[name], lookup=rebinding)

        assert first.status == 200
        assert second.code == "upstream_refused"


async def test_a_listed_name_may_be_private_but_never_link_local():
    (refused,) = await exchange(
        [get("https://desk.example/")], allow=["desk.example"], lookup=resolving("169.254.169.254")
    )

    assert refused.code == "upstream_refused"


async def test_a_listed_address_is_listed_for_its_own_port_and_name_only():
    with RawServer(answering(http_answer())) as server:
        asked = [get(server.url), get(f"http://127.0.0.1:{server.port + 1}"), get(f"http://localhost:{server.port}")]
        first, *others = await exchange(asked, allow=[server.address], lookup=resolving("127.0.0.1"))

        assert first.status == 200
        assert {other.code for other in others} == {"upstream_refused"}
        assert server.connections == 1


async def test_plain_http_is_only_for_listed_destinations():
    lookup = resolving("127.0.0.1")

    (refused,) = await exchange([get("http://desk.example/")], lookup=lookup)

    assert refused.code == "upstream_refused"
    assert "https" in refused.message
    assert lookup.asked == []


async def test_a_name_without_an_address_is_a_fault_of_the_upstream():
    async def unknown(_host, _port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for lookup in (unknown, resolving()):
        (failed,) = await exchange([get("https://nowhere.example/")], lookup=lookup)
        assert (failed.code, failed.sent) == ("upstream_failed", False)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_an_answer_and_is_not_followed(status):
    with RawServer(answering(http_answer())) as target:
        with RawServer(answering(http_answer(b"", status, Location=f"{target.url}/stolen"))) as server:
            (answer,) = await exchange([get(server.url)], allow=[server.address, target.address])

        assert answer.status == int(status[:3])
        assert target.connections == 0


async def test_the_environment_proxies_and_netrc_are_ignored(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login thief password thief\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with RawServer(answering(http_answer())) as proxy, RawServer(answering(http_answer())) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)

        assert (await ask(server)).status == 200
        assert proxy.connections == 0
        assert b"authorization" not in server.heads[0].lower()


# --- what is sent -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "TRACE"},
        {"method": "GET\r\nX: y"},
        {"headers": {"X-Key": "a\r\nX-Other: b"}},
        {"headers": {"X-Key": "a\tb"}},
        {"headers": {"Host": "other.example"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"url": "https://user:pass@desk.example/"},
        {"url": "https://desk.example\\@127.0.0.1/"},
        {"url": "https://desk.example/\r\nX: y"},
        {"url": "https://desk.example/a/%2e%2e/b"},
    ],
)
async def test_what_would_change_the_request_is_refused_before_a_connection(fields):
    lookup = resolving("127.0.0.1")

    (refused,) = await exchange([get(**{"url": "https://desk.example/", **fields})], lookup=lookup)

    assert (refused.code, refused.sent) == ("upstream_refused", False)
    assert lookup.asked == []


async def test_the_request_line_and_the_headers_are_sent_as_they_were_given():
    with RawServer(answering(http_answer())) as server:
        await exchange(
            [get(f"{server.url}/a%2Fb//c?d=%26&e=+", headers={"X-Key": "k v"})],
            allow=[server.address],
        )

        lines = server.heads[0].split(b"\r\n")
        assert lines[0] == b"GET /a%2Fb//c?d=%26&e=+ HTTP/1.1"
        assert b"X-Key: k v" in lines
        assert f"Host: {server.address}".encode() in lines
        assert b"Accept-Encoding: gzip" in lines


async def test_cookies_are_neither_kept_nor_sent():
    with RawServer(answering(http_answer(Set_Cookie="session=one-user"))) as server:
        await exchange([get(server.url)] * 2, allow=[server.address])

        assert server.connections == 1
        assert not any(b"cookie" in head.lower() for head in server.heads)


async def test_connections_are_reused_within_a_pool_key_and_never_across():
    with RawServer(answering(http_answer())) as server:
        keys = ["one", "one", "two", "one", "two"]
        answers = await exchange([get(server.url, pool_key=key) for key in keys], allow=[server.address])

        assert [answer.status for answer in answers] == [200] * 5
        assert server.connections == 2


async def test_the_number_of_pools_is_bounded():
    async def run():
        outbound = GuardedOutbound([server.address])
        for number in range(MAX_POOLS + 10):
            await outbound.request(get(server.url, pool_key=str(number)))
        kept = len(outbound._exchanges._pools)
        await close_outbound(outbound)
        return kept

    with RawServer(answering(http_answer())) as server:
        assert await run() == MAX_POOLS


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_what_may_act_has_a_connection_of_its_own_and_is_never_sent_twice(method):
    def hang_up(connection, _head):
        connection.shutdown(socket.SHUT_RDWR)
        return False

    with RawServer(hang_up) as server:
        (failed,) = await exchange([get(server.url, method=method)], allow=[server.address])

        assert (failed.code, failed.sent) == ("upstream_failed", True)
        assert len(server.heads) == 1

    with RawServer(answering(http_answer())) as server:
        await exchange([get(server.url, method=method)] * 3, allow=[server.address])

        assert server.connections == 3


# --- connections that are kept for what may act --------------------------------------------------------------------


async def talk(server, steps, *, allow=None, lookup=None, tls=None):
    """Do each step with one outbound, whose POSTs keep their connections; gives what the posts gave.

    A step is a number of seconds in which the connections are idle, a function to call on the loop's own thread or to
    await, or the fields of a POST.
    """
    idle_s = 0.0

    async def post(outbound, fields):
        request = {"url": server.url, "method": "POST", "body": b"{}", "pool_key": "k", "keeps_connection": True}
        try:
            async with outbound.stream(get(**{**request, **fields})) as answer:
                return b"".join([piece async for piece in answer.pieces])
        except UpstreamError as error:
            return error

    async def run():
        chosen = {"lookup": lookup} if lookup else {}
        outbound = GuardedOutbound([server.address] if allow is None else allow, tls=tls, **chosen)
        given = []
        for step in steps:
            if isinstance(step, dict):
                given.append(await post(outbound, step))
            elif asyncio.iscoroutinefunction(step):
                await step()
            elif callable(step):
                step()
            else:
                nonlocal idle_s
                idle_s += step
        await close_outbound(outbound)
        return given

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aiohttp.connector.monotonic", lambda: idle_s)
        return await run()


async def test_a_post_that_keeps_its_connection_shares_it_with_its_like_and_with_nothing_else():
    with RawServer(answering(http_answer())) as server:
        others = [{"pool_key": "other"}, {"keeps_connection": False}, {"method": "GET", "body": None}]
        assert await talk(server, [{}, {}, *others, {}, *others[:1], {}]) == [b"{}"] * 8
        assert server.connections == 4


async def test_a_connection_that_was_idle_for_a_second_is_used_no_more():
    with RawServer(answering(http_answer())) as server:
        assert await talk(server, [{}, 0.5, {}, 1.1, {}]) == [b"{}"] * 3
        assert server.connections == 2


def closing_soon(connection, _head):
    connection.sendall(http_answer())
    return False


def stray(connection, _head):
    connection.sendall(http_answer(b'"mine"'))
    time.sleep(0.05)
    connection.sendall(http_answer(b'"stolen"'))
    return True


@pytest.mark.parametrize(("serve", "body"), [(closing_soon, b"{}"), (stray, b'"mine"')])
@pytest.mark.parametrize("is_seen", [True, False], ids=["seen by the loop", "not seen yet"])
async def test_a_connection_that_was_closed_or_written_to_while_idle_takes_no_post(serve, body, is_seen):
    with RawServer(serve) as server:

        def has_come():
            wait_until(lambda: server.finished == len(server.heads))

        async def is_read():
            has_come()
            for _ in range(5):
                await asyncio.sleep(0)

        pause = is_read if is_seen else has_come
        assert await talk(server, [{}, pause, {}, pause, {}]) == [body] * 3
        assert (server.connections, len(server.heads)) == (3, 3)


async def test_a_post_that_meets_the_end_of_its_connection_is_in_doubt_and_never_sent_again():
    """It was on its way when the server closed: that costs one answer, and no other from then on."""
    seen = []

    def serve(connection, _head):
        seen.append(connection)
        if seen.count(connection) == 1:
            connection.sendall(http_answer())
            return True
        connection.shutdown(socket.SHUT_RDWR)
        return False

    with RawServer(serve) as server:
        first, failed, *later = await talk(server, [{}] * 5)
        assert (first, failed.code, failed.sent) == (b"{}", "upstream_failed", True)
        assert later == [b"{}"] * 3
        assert (server.connections, len(server.heads)) == (4, 5)


@pytest.mark.parametrize(("announced", "connections"), [("timeout=2", 4), ("max=3, Timeout = 1", 4), ("timeout=5", 1)])
async def test_a_server_that_says_it_closes_soon_gets_a_new_connection_each_time(announced, connections):
    with RawServer(answering(http_answer(Keep_Alive=announced))) as server:
        assert await talk(server, [{}] * 4) == [b"{}"] * 4
        assert server.connections == connections


async def test_a_new_connection_is_resolved_and_judged_anew():
    answers, asked = iter([["127.0.0.1"], ["169.254.169.254"]]), []

    async def rebinding(host, _port):
        asked.append(host)
        return next(answers)

    with RawServer(answering(http_answer())) as server:
        url = f"http://kept.example:{server.port}/"
        allow = [f"kept.example:{server.port}"]
        first, second, refused = await talk(
            server, [{"url": url}, {"url": url}, 1.1, {"url": url}], allow=allow, lookup=rebinding
        )
        assert (first, second) == (b"{}", b"{}")
        assert (refused.code, refused.sent) == ("upstream_refused", False)
        assert (server.connections, len(asked)) == (1, 2)


@pytest.mark.parametrize(("named", "connections"), [("127.0.0.1", 1), ("other.example", 0)])
async def test_a_kept_connection_is_one_whose_certificate_was_verified(tmp_path, named, connections):
    theirs, trusting = self_signed(tmp_path, named)
    with RawServer(answering(http_answer()), tls=theirs) as server:
        given = await talk(server, [{}, {}, {}], tls=trusting)
        if connections:
            assert (given, server.connections) == ([b"{}"] * 3, connections)
        else:
            assert [(failed.code, failed.sent) for failed in given] == [("upstream_failed", False)] * 3
            assert server.heads == []


# --- what is bounded --------------------------------------------------------------------------------------------


def gzipped(data: bytes, **headers: str) -> bytes:
    return http_answer(gzip.compress(data), Content_Encoding="gzip", **headers)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"


def endless(head: bytes, piece: bytes):
    """Sends for ever; stops only when the other side hangs up."""

    def serve(connection, _head):
        connection.sendall(head)
        try:
            while True:
                connection.sendall(piece)
        except OSError:
            hung_up.append(True)
        return False

    hung_up: list[bool] = []
    serve.hung_up = hung_up
    return serve


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (UNTIL_CLOSE, b"x" * 65_536),
        (CHUNKED, b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
        (CHUNKED, b"1\r\nx\r\n" * 1_000),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65_536),
        (UNTIL_CLOSE.replace(b"text/plain", b"text/event-stream"), b"data: x\n\n" * 1_000),
    ],
)
async def test_an_endless_body_is_left_unread_and_its_connection_closed(head, piece):
    serve = endless(head, piece)
    with RawServer(serve) as server:
        failed = await ask(server)
        assert "too large" in failed.message
        wait_until(lambda: serve.hung_up)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(10_000)) + b"\r\n",
        b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_a_head_past_its_bounds_is_refused(head):
    with RawServer(answering(head)) as server:
        failed = await ask(server)

    assert (failed.code, failed.sent) == ("upstream_failed", True)


async def test_the_answers_that_are_being_read_are_bounded_together_and_what_was_read_makes_room(monkeypatch):
    monkeypatch.setattr("briefcase.adapters.net.exchanges.MAX_READING_BYTES", 3 * MAX_BODY)
    with RawServer(answering(http_answer(b"x" * MAX_BODY))) as server:
        one_by_one = await exchange([get(f"{server.url}/x")] * 8, allow=[server.address])
    assert [len(answer.body) for answer in one_by_one] == [MAX_BODY] * 8
    monkeypatch.setattr("briefcase.adapters.net.exchanges.MAX_READING_BYTES", MAX_BODY - 1)
    with RawServer(answering(http_answer(b"x" * MAX_BODY))) as server:
        failed = await ask(server)
    assert (failed.code, failed.sent) == ("upstream_failed", True)
    assert "too many answers" in failed.message


@pytest.mark.parametrize("size", [MAX_BODY, MAX_BODY + 1])
async def test_the_body_is_bound_to_the_byte_compressed_or_not(size):
    for answer in (http_answer(b"x" * size), gzipped(b"x" * size)):
        with RawServer(answering(answer)) as server:
            outcome = await ask(server)
        if size > MAX_BODY:
            assert "too large" in outcome.message
        else:
            assert outcome.body == b"x" * size


async def test_a_gzip_bomb_is_never_inflated_past_the_bound(monkeypatch):
    largest = 0
    real = zlib.decompressobj

    class Watched:
        def __init__(self, *args) -> None:
            self.inner = real(*args)

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def decompress(self, data, max_length):
            nonlocal largest
            out = self.inner.decompress(data, max_length)
            largest = max(largest, len(out))
            return out

    monkeypatch.setattr("briefcase.adapters.net.exchanges.zlib.decompressobj", Watched)
    with RawServer(answering(gzipped(b"\0" * 5_000_000))) as server:
        failed = await ask(server)

    assert "too large" in failed.message
    assert 0 < largest <= MAX_BODY + 1


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(b"no gzip at all", Content_Encoding="gzip"),
        http_answer(gzip.compress(b"x" * 100)[:-9], Content_Encoding="gzip"),
        http_answer(gzip.compress(b"x") + gzip.compress(b"y"), Content_Encoding="gzip"),
        http_answer(zlib.compress(b"x"), Content_Encoding="deflate"),
        http_answer(b"x", Content_Encoding="br"),
        http_answer(gzip.compress(gzip.compress(b"x")), Content_Encoding="gzip, gzip"),
        b"no http at all\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_an_answer_that_can_not_be_read_is_a_fault_that_may_have_acted(answer):
    with RawServer(answering(answer)) as server:
        failed = await ask(server)

    assert (failed.code, failed.sent) == ("upstream_failed", True)


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(b"half", Content_Length="100"),
        CHUNKED + b"5\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"",
    ],
)
async def test_an_answer_that_ends_early_is_no_answer(answer):
    def serve(connection, _head):
        connection.sendall(answer)
        return False

    with RawServer(serve) as server:
        failed = await ask(server, method="POST")

    assert (failed.code, failed.sent) == ("upstream_failed", True)


async def test_what_is_left_behind_an_answer_never_becomes_the_next_one():
    """One user's answer never reaches another: not even on a connection they share."""
    smuggled = http_answer(b'"mine"') + http_answer(b'"stolen"')
    with RawServer(answering(smuggled, http_answer(b'"yours"'))) as server:
        first, second = await exchange([get(server.url)] * 2, allow=[server.address])

    assert first.body == b'"mine"'
    assert getattr(second, "body", b'"yours"') == b'"yours"'


async def test_many_at_once_each_get_their_own_answer():
    def serve(connection, head):
        connection.sendall(http_answer(head.split(b" ")[1]))
        return True

    with RawServer(serve) as server:
        asked = [get(f"{server.url}/{number}", pool_key=str(number % 2)) for number in range(60)]
        answers = await exchange(asked, allow=[server.address], at_once=True)

    assert [answer.body for answer in answers] == [f"/{number}".encode() for number in range(60)]


@pytest.mark.parametrize(
    ("script", "sent"),
    [
        ("silent", True),
        ("half a head", True),
        ("half a body", True),
        ("a byte at a time", True),
        ("interim answers for ever", True),
    ],
)
async def test_the_deadline_is_over_the_whole_exchange(steered_loop, script, sent):
    def serve(connection, _head):
        if script == "half a head":
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        elif script == "half a body":
            connection.sendall(http_answer(b"half", Content_Length="100"))
        elif script == "a byte at a time":
            connection.sendall(http_answer(b"", Content_Length="100"))
            while True:
                connection.sendall(b"x")
                time.sleep(0.02)
        elif script == "interim answers for ever":
            while True:
                connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
                time.sleep(0.001)
        connection.recv(1)
        return False

    with RawServer(serve) as server:
        asking = asyncio.create_task(ask(server, timeout_ms=60_000))
        await until(lambda: server.heads)
        await steered_loop.advance(30)
        assert not asking.done()
        await steered_loop.advance(31)
        failed = await asking

    assert (failed.code, failed.sent) == ("upstream_timeout", sent)


async def test_a_resolver_that_never_answers_is_cut_off_before_anything_is_sent():
    async def never(_host, _port):
        await asyncio.Event().wait()

    (failed,) = await exchange([get("https://slow.example/", timeout_ms=50)], lookup=never)

    assert (failed.code, failed.sent) == ("upstream_timeout", False)


async def test_a_closed_port_is_a_fault_before_anything_is_sent():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"

    (failed,) = await exchange([get(f"http://{address}/")], allow=[address])

    assert (failed.code, failed.sent) == ("upstream_failed", False)


async def test_neither_message_nor_detail_repeats_the_request():
    secret = "tk-live-4f9a1c77"

    def echo(connection, head):
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head.partition(b"\r\n")[2].replace(b": ", b" : ") + b"\x01\r\n\r\n")
        return False

    with RawServer(echo) as server:
        failed = await ask(server, headers={"Authorization": f"Bearer {secret}"}, url=f"{server.url}/?key={secret}")

    assert failed.code == "upstream_failed"
    assert secret not in repr((failed.message, failed.detail, failed.hint, failed.args))
    assert failed.__cause__ is None


# --- streams ----------------------------------------------------------------------------------------------------


async def stream(server, **fields):
    """One streamed GET; gives the pieces, or the fault."""

    async def run():
        outbound = GuardedOutbound([server.address])
        try:
            async with outbound.stream(get(f"{server.url}/x", **fields)) as answer:
                return b"".join([piece async for piece in answer.pieces])
        except UpstreamError as error:
            return error
        finally:
            await close_outbound(outbound)

    return await run()


async def test_a_stream_gives_its_pieces_as_they_come():
    def serve(connection, _head):
        connection.sendall(UNTIL_CLOSE + b"data: 1\n\n")
        connection.sendall(b"data: 2\n\n")
        return False

    with RawServer(serve) as server:
        assert await stream(server) == b"data: 1\n\ndata: 2\n\n"
    assert b"Accept-Encoding: identity" in server.heads[0]


async def test_a_million_events_are_left_unread_past_the_bound():
    serve = endless(UNTIL_CLOSE, b"data: x\n\n" * 1_000)
    with RawServer(serve) as server:
        failed = await stream(server)

    assert "too large" in failed.message


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (gzipped(b"data: x"), "upstream_failed"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "upstream_failed"),
        (b"no http at all\r\n\r\n", "upstream_failed"),
        (CHUNKED + b"5\r\nhello\r\nzz\r\n", "upstream_failed"),
        (b"", "upstream_timeout"),
    ],
)
async def test_a_stream_that_can_not_be_read_is_a_fault_without_the_request(steered_loop, answer, code):
    with RawServer(answering(answer)) as server:
        headers = {"Authorization": "Bearer tk-live-4f9a1c77"}
        asking = asyncio.create_task(stream(server, timeout_ms=60_000, headers=headers))
        if code == "upstream_timeout":
            await until(lambda: server.heads)
            await steered_loop.advance(61)
        failed = await asking

    assert (failed.code, failed.sent) == (code, True)
    assert "tk-live" not in repr((failed.args, failed.detail, failed.__context__, failed.__cause__))


async def test_a_stream_goes_only_where_a_request_may():
    async def run():
        outbound = GuardedOutbound(lookup=resolving("127.0.0.1"))
        with pytest.raises(UpstreamError) as refused:
            async with outbound.stream(get("https://innocent.example/")):
                pass
        await close_outbound(outbound)
        return refused.value

    assert (await run()).code == "upstream_refused"


# --- TLS --------------------------------------------------------------------------------------------------------


def self_signed(tmp_path, host: str):
    """A certificate that is its own authority; gives the server's context and one that trusts it."""
    certificate, key = new_certificate(tmp_path, host)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=certificate)


@pytest.mark.parametrize(
    ("named", "trusted", "passes"),
    [("127.0.0.1", True, True), ("127.0.0.1", False, False), ("other.example", True, False)],
)
async def test_a_certificate_is_always_verified_with_its_name(tmp_path, named, trusted, passes):
    theirs, trusting = self_signed(tmp_path, named)
    with RawServer(answering(http_answer()), tls=theirs) as server:
        request = get(server.url, method="POST", headers={"Authorization": "Bearer x"})
        (outcome,) = await exchange([request], allow=[server.address], tls=trusting if trusted else None)

        if passes:
            assert outcome.status == 200
        else:
            assert (outcome.code, outcome.sent) == ("upstream_failed", False)
            assert server.heads == []


def test_trust_that_does_not_verify_is_refused():
    for context in (ssl._create_unverified_context(), ssl.create_default_context()):
        context.check_hostname = False
        with pytest.raises(ConfigError):
            GuardedOutbound(tls=context)
