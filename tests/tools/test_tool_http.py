"""Declared tools against a real HTTP service and hostile ones: what is sent, what comes back, what never does."""

import asyncio
import base64
import itertools
import json
from urllib.parse import quote

import msgspec
import pytest

from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.tools.definition import with_digest
from briefcase.adapters.tools.http import HttpTool
from briefcase.adapters.tools.manifest import parse_manifests
from briefcase.core.redaction.redactor import SecretRedactor
from briefcase.model.errors import StoreError, UpstreamError
from briefcase.model.ports import CallContext
from support.clock import FakeClock
from support.hostile_servers import RawServer, answering, close_outbound, http_answer
from support.secrets import FakeSecrets
from support.upstream import API_KEY, TicketDesk
from support.waiting import until

CANARY = "tk-live/4f9a+1c77=d0e8"


def context(left_ms: int = 10_000) -> CallContext:
    deadline_ns = FakeClock().monotonic_ns() + left_ms * 1_000_000
    return CallContext("call", "scout", "request", deadline_ns)


def declare(server, **fields):
    tool = {"id": "t", "method": "GET", "url": f"{server.url}/api", "category": "read", **fields}
    return parse_manifests(json.dumps({"tools": [tool]}).encode(), "desk.json")[0]


async def call(server, args=None, *, secrets=None, left_ms=60_000, times=1, **fields):
    """Execute a declared tool; gives the last result, or the fault."""

    async def run():
        custody = secrets or FakeSecrets(desk=CANARY)
        outbound = GuardedOutbound([server.address])
        tool = HttpTool(
            declare(server, **fields),
            outbound=outbound,
            secrets=custody,
            redactor=SecretRedactor(custody),
            clock=FakeClock(),
        )
        problem = tool.check_args(args or {})
        assert problem is None, problem
        try:
            for _ in range(times):
                result = await tool.execute(args or {}, context(left_ms))
        except UpstreamError as error:
            return error
        finally:
            await close_outbound(outbound)
        return result

    return await run()


def test_whoever_approves_reads_the_path_and_the_fixed_parameters_that_a_call_goes_to():
    with TicketDesk() as desk:
        url = f"{desk.url}/api/tickets/{{number}}?force=true"
        schema = {"properties": {"number": {"type": "integer"}}, "required": ["number"]}
        declared = declare(desk, method="DELETE", url=url, arguments={"number": "path"}, input_schema=schema)
        secrets = FakeSecrets()
        tool = HttpTool(declared, outbound=None, secrets=secrets, redactor=SecretRedactor(secrets), clock=FakeClock())
        assert tool.destination.address == f"DELETE {url}"


# --- a real service ---------------------------------------------------------------------------------------------


async def test_a_read_and_a_write_reach_a_real_service_with_its_credential():
    secrets = FakeSecrets(desk=API_KEY)
    credential = {"name": "desk", "header": "X-Api-Key"}
    with TicketDesk() as desk:
        added = await call(
            desk,
            {"title": "paper jam"},
            secrets=secrets,
            method="POST",
            url=f"{desk.url}/api/tickets",
            credential=credential,
            arguments={"title": "body"},
            input_schema={"properties": {"title": {"type": "string"}}, "required": ["title"]},
        )
        listed = await call(
            desk,
            {"status": "open"},
            secrets=secrets,
            url=f"{desk.url}/api/tickets",
            credential=credential,
            arguments={"status": "query"},
            input_schema={"properties": {"status": {"type": "string"}}},
        )

    assert added.content == {"id": 2, "status": "open", "title": "paper jam"}
    assert [ticket["id"] for ticket in listed.content["tickets"]] == [1, 2]
    assert listed.source == "127.0.0.1"
    assert desk.seen[0] == ("POST", "/api/tickets", b'{"title":"paper jam"}')


async def test_a_service_that_refuses_says_so_without_giving_the_credential_back():
    """The desk echoes the key it was given."""
    with TicketDesk() as desk:
        refused = await call(desk, url=f"{desk.url}/api/tickets", credential={"name": "desk", "header": "X-Api-Key"})

    assert (refused.code, refused.sent) == ("upstream_refused", True)
    assert refused.message.startswith("the upstream answered 401: ")
    assert "[redacted]" in refused.message
    assert CANARY not in refused.message + refused.detail


# --- the credential ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credential", "sent"),
    [
        ({"header": "X-Api-Key"}, f"X-Api-Key: {CANARY}"),
        ({"header": "Authorization", "prefix": "Bearer "}, f"Authorization: Bearer {CANARY}"),
        ({"basic_user": "me"}, f"Authorization: Basic {base64.b64encode(f'me:{CANARY}'.encode()).decode()}"),
        ({"query": "api key"}, f"GET /api?api%20key={quote(CANARY, safe='')} HTTP/1.1"),
    ],
)
async def test_the_credential_goes_to_its_one_place(credential, sent):
    with RawServer(answering(http_answer())) as server:
        await call(server, credential={"name": "desk", **credential})

    lines = server.heads[0].decode().split("\r\n")
    assert lines.count(sent) == 1
    assert "the-agents-own-token" not in server.heads[0].decode()


async def test_the_credential_is_asked_for_at_each_call():
    secrets = FakeSecrets(desk=CANARY)
    with RawServer(answering(http_answer())) as server:
        await call(server, secrets=secrets, times=3, credential={"name": "desk", "header": "X-Api-Key"})

    assert secrets.asked == ["desk"] * 3


@pytest.mark.parametrize(
    "secrets",
    [
        FakeSecrets(),
        FakeSecrets(desk="line\r\nX-Evil: break"),
        FakeSecrets(desk="schlüssel"),
        FakeSecrets(desk=""),
    ],
)
async def test_without_a_usable_credential_nothing_is_sent(secrets):
    if secrets.kept.get("desk") == b"":
        secrets.kept.clear()
    with RawServer(answering(http_answer())) as server:
        failed = await call(server, secrets=secrets, credential={"name": "desk", "header": "X-Api-Key"})

    assert (failed.code, failed.sent) == ("secret_unavailable", False)
    assert "desk" in failed.message
    assert server.connections == 0
    assert failed.__context__ is None
    assert not any(value.decode() in failed.message for value in secrets.kept.values())


async def test_a_vault_that_fails_is_a_fault_before_anything_is_sent():
    class Locked(FakeSecrets):
        async def get(self, name):
            raise StoreError("the keyring is locked", code="secret_unavailable")

    with RawServer(answering(http_answer())) as server:
        failed = await call(server, secrets=Locked(), credential={"name": "desk", "header": "X-Api-Key"})

    assert (failed.code, failed.sent) == ("secret_unavailable", False)
    assert server.connections == 0


async def test_two_credentials_never_share_a_connection():
    async def run():
        secrets = FakeSecrets(one="secret-of-one", two="secret-of-two")
        outbound = GuardedOutbound([server.address])
        tools = [
            HttpTool(
                declare(server, id=name, credential={"name": name, "header": "X-Api-Key"}),
                outbound=outbound,
                secrets=secrets,
                redactor=SecretRedactor(secrets),
                clock=FakeClock(),
            )
            for name in ("one", "two")
        ]
        for tool in tools * 3:
            await tool.execute({}, context())
        await close_outbound(outbound)

    by_connection: dict[int, set[bytes]] = {}

    def serve(connection, head):
        by_connection.setdefault(id(connection), set()).add(head.lower().partition(b"x-api-key: ")[2].split(b"\r\n")[0])
        connection.sendall(http_answer())
        return True

    with RawServer(serve) as server:
        await run()

    assert sorted(by_connection.values(), key=sorted) == [{b"secret-of-one"}, {b"secret-of-two"}]


ECHOES = {
    "in the body of an error": lambda head: http_answer(head, "500 Oops", Content_Type="text/plain"),
    "in JSON of an error": lambda head: http_answer(json.dumps({"got": head.decode()}).encode(), "403 No"),
    "in the reason": lambda head: http_answer(b"", f"400 {secret_line(head)}"),
    "in a header of an error": lambda head: http_answer(b"", "400 No", X_Echo=secret_line(head)),
    "in a redirect": lambda head: http_answer(b"", "302 Found", Location=f"http://127.0.0.1/?{secret_line(head)}"),
    "in a content type": lambda head: http_answer(b"x", Content_Type=secret_line(head)),
    "in a content encoding": lambda head: http_answer(b"x", Content_Encoding=secret_line(head)),
    "in broken JSON": lambda head: http_answer(b'{"got":' + head),
    "in a broken head": lambda head: b"HTTP/1.1 2\x0100 " + head,
    "beyond its length": lambda head: http_answer(b"{}" + head, Content_Length="1"),
    "base64 in an error": lambda head: http_answer(base64.b64encode(head), "500 Oops"),
    "before the cut of an excerpt": lambda head: http_answer(b"x" * 285 + secret_line(head).encode(), "500 Oops"),
    "not as UTF-8": lambda head: http_answer(b"\xff" + head, "500 Oops"),
}  # fmt: skip


def secret_line(head: bytes) -> str:
    return next(line for line in head.decode().split("\r\n") if "X-Api-Key" in line).partition(": ")[2]


@pytest.mark.parametrize("where", ECHOES)
async def test_an_upstream_that_echoes_the_credential_does_not_get_it_out_through_a_fault(where):
    def serve(connection, head):
        connection.sendall(ECHOES[where](head))
        return False

    with RawServer(serve) as server:
        failed = await call(server, credential={"name": "desk", "header": "X-Api-Key"})

    said = repr((failed.message, failed.hint, failed.detail, failed.args, failed.__cause__, failed.__context__))
    for start in range(len(CANARY) - 8):
        assert CANARY[start : start + 9] not in said
    assert base64.b64encode(CANARY.encode()).decode()[2:-4] not in said


# --- the answer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (http_answer(b'{"a":[1,2.5,null]}'), {"a": [1, 2.5, None]}),
        (http_answer(b'"text"', Content_Type="application/problem+json; charset=utf-8"), "text"),
        (http_answer("grüße".encode(), Content_Type="text/plain; charset=utf-8"), "grüße"),
        (http_answer(b"<a>", Content_Type="Text/HTML"), "<a>"),
        (http_answer(b"", "204 No Content"), None),
        (http_answer(b"", Content_Type="image/png"), None),
        (http_answer(b'{"id":1}', "201 Created"), {"id": 1}),
    ],
)
async def test_json_and_text_are_read(answer, content):
    with RawServer(answering(answer)) as server:
        assert (await call(server)).content == content


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http_answer(b"{"), "read exactly"),
        (http_answer(b'{"a":1,"a":2}'), "read exactly"),
        (http_answer(b'{"a":12345678901234567890}'), "read exactly"),
        (http_answer(b'{"a":NaN}'), "read exactly"),
        (http_answer(b"[" * 500 + b"]" * 500), "read exactly"),
        (http_answer(b'"\xff"'), "read exactly"),
        (http_answer(b"\xff", Content_Type="text/plain"), "no UTF-8"),
        (http_answer(b"\x89PNG", Content_Type="image/png"), "expected JSON or text"),
        (http_answer(b"x", Content_Type=""), "expected JSON or text"),
        (http_answer(b"x" * 1_001), "too large"),
    ],
)
async def test_what_can_not_be_taken_exactly_is_a_fault(answer, said):
    with RawServer(answering(answer)) as server:
        failed = await call(server, max_response_bytes=1_000)

    assert (failed.code, failed.sent) == ("upstream_failed", True)
    assert said in failed.message


async def test_json_can_be_taken_as_text_where_its_numbers_are_not_exact():
    with RawServer(answering(http_answer(b'{"id":12345678901234567890}'))) as server:
        assert (await call(server, response="text")).content == '{"id":12345678901234567890}'


@pytest.mark.parametrize(
    ("status", "code"),
    [("400 No", "upstream_refused"), ("404 No", "upstream_refused"), ("429 Slow", "upstream_refused"),
     ("301 Moved", "upstream_failed"), ("304 Same", "upstream_failed"), ("500 Oops", "upstream_failed"),
     ("503 Later", "upstream_failed"), ("599 Odd", "upstream_failed")],
)  # fmt: skip
async def test_only_a_4xx_says_that_nothing_was_done(status, code):
    with RawServer(answering(http_answer(b"", status))) as server:
        failed = await call(server)

    assert (failed.code, failed.sent) == (code, True)
    assert status[:3] in failed.message


async def test_an_excerpt_of_an_error_is_short_and_visible_and_absent_where_paths_are_bound():
    answer = http_answer(b'{"hidden":"internal"}' + "\u202e".encode() + b"x" * 10_000, "422 No")
    firewall = {"mode": "allow_paths", "allowed_paths": ["/id"]}
    with RawServer(answering(answer)) as server:
        shown, bound = await call(server), await call(server, output_firewall=firewall)

    assert "internal" in shown.message
    assert "\u202e" not in shown.message
    assert len(shown.message) < 400
    assert bound.message == "the upstream answered 422"


@pytest.mark.parametrize(
    ("header", "cost"),
    [
        ("2000", 2_000),
        ("0", 0),
        ("", None),
        ("-5", None),
        ("NaN", None),
        ("1e9", None),
        ("²", None),
        ("9" * 16, None),
    ],
)
async def test_a_cost_is_taken_only_as_a_plain_number(header, cost):
    answer = http_answer(X_Cost_MicroUSD=header.encode().decode("latin-1"))
    with RawServer(answering(answer)) as server:
        assert (await call(server, cost_header="x-cost-microusd")).cost_microusd == cost


async def test_a_cost_that_no_manifest_asks_for_is_ignored():
    with RawServer(answering(http_answer(X_Cost_MicroUSD="1"))) as server:
        assert (await call(server)).cost_microusd is None


@pytest.mark.parametrize(("timeout_ms", "left_ms"), [(30_000, 100_000), (100_000, 30_000)])
async def test_the_shorter_of_the_tools_and_the_calls_time_counts(steered_loop, timeout_ms, left_ms):
    def silent(connection, _head):
        connection.recv(1)
        return False

    with RawServer(silent) as server:
        calling = asyncio.create_task(call(server, timeout_ms=timeout_ms, left_ms=left_ms))
        await until(lambda: server.heads)
        await steered_loop.advance(31)
        failed = await calling

    assert (failed.code, failed.sent) == ("upstream_timeout", True)
    assert "30000 ms" in failed.message


async def test_a_call_whose_time_is_over_is_not_sent():
    with RawServer(answering(http_answer())) as server:
        failed = await call(server, left_ms=0)

    assert (failed.code, failed.sent) == ("upstream_timeout", False)
    assert server.connections == 0


async def test_an_argument_that_does_not_fit_its_place_is_not_sent():
    with RawServer(answering(http_answer())) as server:
        failed = await call(
            server,
            {"p": "../admin"},
            url=f"{server.url}/api/{{p}}",
            arguments={"p": "path"},
            input_schema={"properties": {"p": {"type": "string"}}, "required": ["p"]},
        )

    assert (failed.code, failed.sent) == ("invalid_args", False)
    assert server.connections == 0


# --- the definition ---------------------------------------------------------------------------------------------

CHANGES = {
    "nothing": {},
    "id": {"id": "u"},
    "description": {"description": "something else"},
    "method": {"method": "DELETE"},
    "path": {"url": "https://desk.example/other"},
    "host": {"url": "https://other.example/api"},
    "category": {"category": "write"},
    "cost": {"cost_usd": "1"},
    "timeout": {"timeout_ms": 5},
    "credential": {"credential": {"name": "desk", "header": "X-Api-Key"}},
    "credential's name": {"credential": {"name": "other", "header": "X-Api-Key"}},
    "credential's place": {"credential": {"name": "desk", "query": "key"}},
    "fixed header": {"headers": {"X-A": "1"}},
    "firewall": {"output_firewall": {"max_bytes": 5}},
    "output schema": {"output_schema": {"type": "object"}},
    "path prefixes": {"allowed_path_prefixes": ["/api"]},
    "arguments": {"arguments": {"a": "query"}, "input_schema": {"properties": {"a": {}}}},
    "an argument's name there": {"arguments": {"a": "query:b"}, "input_schema": {"properties": {"a": {}}}},
    "an argument's type": {"arguments": {"a": "query"}, "input_schema": {"properties": {"a": {"type": "string"}}}},
}


class Desk:
    url = "https://desk.example"


def test_whatever_changes_what_a_call_does_makes_another_tool_of_it():
    def digest(fields) -> str:
        declared = declare(Desk, **fields)
        tool = HttpTool(declared, outbound=None, secrets=None, redactor=None, clock=None)
        return tool.spec.digest_hex

    digests = {name: digest(fields) for name, fields in CHANGES.items()}

    for one, other in itertools.combinations(CHANGES, 2):
        assert digests[one] != digests[other], (one, other)
    assert digests["nothing"] == digest({})


# --- two credentials, and cookies -------------------------------------------------------------------------------


async def test_two_credentials_and_an_argument_share_the_request_and_its_cookies():
    secrets = FakeSecrets(desk="key", session="a=b/c")
    with RawServer(answering(http_answer(b"{}"))) as server:
        await call(
            server,
            {"theme": "dark"},
            secrets=secrets,
            arguments={"theme": "cookie:theme"},
            input_schema={"properties": {"theme": {}}},
            credentials=[{"name": "desk", "header": "X-Api-Key"}, {"name": "session", "cookie": "SID"}],
        )

    lines = server.heads[0].split(b"\r\n")
    assert b"X-Api-Key: key" in lines
    assert b"Cookie: theme=dark; SID=a=b/c" in lines


@pytest.mark.parametrize("secret", ["a;b", "a b", 'a"b', "ü", "a,b"])
async def test_a_secret_that_would_end_its_cookie_is_not_sent(secret):
    with RawServer(answering(http_answer(b"{}"))) as server:
        refused = await call(server, secrets=FakeSecrets(desk=secret), credential={"name": "desk", "cookie": "SID"})

    assert (refused.code, refused.sent, server.heads) == ("secret_unavailable", False, [])
    assert secret not in refused.message


def test_a_definition_that_older_manifests_had_keeps_its_digest():
    """What waits for approval, and what is pinned, is bound to it."""
    tool = {
        "id": "t",
        "method": "GET",
        "url": "https://desk.example/api",
        "category": "read",
        "arguments": {"q": "query"},
        "credential": {"name": "desk", "header": "X"},
        "input_schema": {"properties": {"q": {}}},
    }
    (declared,) = parse_manifests(json.dumps({"tools": [tool]}).encode(), "desk.json")
    secrets = FakeSecrets()
    http = HttpTool(declared, outbound=None, secrets=secrets, redactor=SecretRedactor(secrets), clock=FakeClock())
    assert http.spec.digest_hex == "63381b35ce85fd7987de117d295896a10c85519d41007b780e642f1051f1b4c0"
    slower = msgspec.structs.replace(http.spec, timeout_ms=90_000)
    assert with_digest(slower).digest_hex == with_digest(http.spec).digest_hex
