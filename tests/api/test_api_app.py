"""One request through the API: guard, route, authentication, role, and what faults become."""

import json

import pytest
from structlog.testing import capture_logs

from briefcase.edges.api.app import ROUTES
from briefcase.edges.api.effects import CHANGES
from briefcase.model.errors import BriefcaseError, CallerError, StoreError
from briefcase.model.types import Role
from support.api import AGENT_TOKEN, APPROVER_TOKEN, AUDITOR_TOKEN, OPERATOR_TOKEN, OTHER_TOKEN, Rig, request
from support.principals import AGENT
from support.waiting import until

TOKENS = {
    Role.OPERATOR: OPERATOR_TOKEN,
    Role.APPROVER: APPROVER_TOKEN,
    Role.AGENT: AGENT_TOKEN,
    Role.AUDITOR: AUDITOR_TOKEN,
}


# --- who --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {OPERATOR_TOKEN}",
        f"bearer{OPERATOR_TOKEN}",
        OPERATOR_TOKEN,
        f"Bearer {OPERATOR_TOKEN[:-1]}",
        f"Bearer {OPERATOR_TOKEN}x",
        f"Bearer {OPERATOR_TOKEN.upper()}",
        f"Bearer {OPERATOR_TOKEN}, Bearer {OPERATOR_TOKEN}",
        f"Bearer {'x' * 9_000}",
    ],
)
async def test_without_a_known_token_nothing_is_told_and_the_failure_is_counted_but_not_receipted(rig, header):
    for number, route in enumerate((route for route in ROUTES if route.roles), start=1):
        path = route.path.replace("{", "").replace("}", "")
        headers = [] if header is None else [("authorization", header)]
        status, answered, body = await rig.ask(route.method, path, token=None, headers=headers)
        assert rig.authenticator.failures == number
        if route.refused_as is not None:  # a hook, whose client takes any other answer for none
            assert (status, denied_by_hook(body, "unauthorized")) == (200, True)
            continue
        assert (status, body["code"]) == (401, "unauthorized")
        assert answered["www-authenticate"] == "Bearer"
    assert rig.ledger.chain == []
    assert rig.calls.seen == []


def denied_by_hook(body, code):
    """Whether an answer is a denial in the words of a hook's client."""
    words = json.dumps(body)
    return '"deny"' in words and f"briefcase: {code}: " in words


async def test_two_authorization_headers_are_a_bad_request(rig):
    status, _, body = await rig.ask("GET", "/v1/tools", headers=[("authorization", "Bearer x")])
    assert (status, body["code"]) == (400, "bad_request")


async def test_health_and_readiness_need_no_token(rig):
    assert (await rig.ask("GET", "/health", token=None))[2] == {"status": "ok", "ts": "2026-01-01T00:00:00.000000Z"}
    assert (await rig.ask("GET", "/ready", token=None))[0] == 200


async def test_each_route_is_open_to_its_roles_and_closed_to_the_others(rig):
    for route in ROUTES:
        path = route.path.replace("{", "").replace("}", "")
        for role, token in TOKENS.items():
            status, _, body = await rig.ask(route.method, path, b"" if route.body else None, token=token)
            refused = (status, body.get("code")) == (403, "forbidden") or denied_by_hook(body, "forbidden")
            assert refused == bool(route.roles and role not in route.roles), (route.method, route.path, role)


def test_only_an_operator_may_change_anything_but_by_a_call_or_a_decision():
    decisions = {"/v1/approvals/{id}/approve", "/v1/approvals/{id}/deny", "/v1/grants/{id}/revoke"}
    decisions |= {"/v1/signers/passkeys", "/v1/signers/passkeys/rule"}  # an approver's own, once an operator opened it
    for route in ROUTES:
        if (route.method, route.path) in CHANGES:
            deciding = {Role.APPROVER} if route.path in decisions else set()
            is_signed = route.path.startswith("/v1/signer/") and route.path != "/v1/signer/pair/start"  # by its key
            assert route.roles == (set() if is_signed else {Role.OPERATOR, *deciding}), route.path


def test_an_approver_sees_and_decides_what_waits_and_nothing_else():
    served = {(route.method, route.path) for route in ROUTES if Role.APPROVER in route.roles}
    assert served == {
        ("GET", "/v1/identity"), ("GET", "/v1/profile"), ("GET", "/v1/approvals"), ("GET", "/v1/approvals/{id}"),
        ("POST", "/v1/approvals/{id}/approve"), ("POST", "/v1/approvals/{id}/deny"),
        ("POST", "/v1/signers/passkeys/registration"), ("POST", "/v1/signers/passkeys"),
        ("POST", "/v1/signers/passkeys/ruling"), ("POST", "/v1/signers/passkeys/rule"),
        ("POST", "/v1/approvals/{id}/grant"), ("GET", "/v1/grants"), ("POST", "/v1/grants/{id}/revoke"),
        ("POST", "/v1/page/links"),
    }  # fmt: skip


async def test_a_revoked_agent_is_refused_at_once(rig):
    assert (await rig.ask("GET", "/v1/tools", token=AGENT_TOKEN))[0] == 200
    assert (await rig.ask("POST", f"/v1/agents/{AGENT.name}/revoke"))[2] == {"name": AGENT.name}
    assert (await rig.ask("GET", "/v1/tools", token=AGENT_TOKEN))[0] == 401
    assert (await rig.ask("GET", "/v1/tools", token=OTHER_TOKEN))[0] == 200
    assert (await rig.ask("POST", f"/v1/agents/{AGENT.name}/revoke"))[0] == 404


# --- browsers, over TCP -----------------------------------------------------------------------------------------------

HOSTS = {
    "none": [],
    "two": ["127.0.0.1:{port}", "127.0.0.1:{port}"],
    "foreign": ["example.com"],
    "rebinding": ["evil.example:{port}"],
    "a name that begins like ours": ["localhost.evil.example:{port}"],
    "another port": ["127.0.0.1:1"],
    "no port": ["127.0.0.1"],
    "another loopback address": ["127.0.0.2:{port}"],
    "userinfo": ["x@127.0.0.1:{port}"],
    "empty": [""],
}


@pytest.mark.parametrize("hosts", HOSTS.values(), ids=HOSTS.keys())
async def test_over_tcp_a_host_that_is_not_ours_is_forbidden_before_anybody_is_authenticated(tmp_path, hosts):
    async with Rig(tmp_path, tcp=True) as rig:
        headers = [("host", host.format(port=rig.port)) for host in hosts]
        client = await rig.connect(tcp=True)
        await client.send(request("GET", "/v1/tools", token="wrong", headers=headers, host=None))
        status, _, body = await client.answer()
        assert (status, body["code"]) == (403, "forbidden")
        assert rig.authenticator.failures == 0
        await client.close()


@pytest.mark.parametrize(
    "header",
    [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost"),
        ("origin", "https://127.0.0.1:{port}"),
        ("origin", "http://127.0.0.1:{port}.evil.example"),
        ("referer", "https://evil.example/x"),
        ("referer", "http://127.0.0.1:{port}@evil.example/"),
        ("referer", "http://127.0.0.1:{port}0/"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "new-word"),
    ],
)
async def test_over_tcp_a_page_of_another_site_is_forbidden_whatever_its_token(tmp_path, header):
    async with Rig(tmp_path, tcp=True) as rig:
        name, value = header
        client = await rig.connect(tcp=True)
        own = ("host", f"127.0.0.1:{rig.port}")
        headers = [own, (name, value.format(port=rig.port))]
        await client.send(request("POST", "/v1/tools/call", b"{}", headers=headers, host=None))
        assert (await client.answer())[0] == 403
        assert rig.calls.seen == []
        await client.close()


@pytest.mark.parametrize(
    "headers",
    [
        [("host", "127.0.0.1:{port}")],
        [("host", "LOCALHOST:{port}")],
        [("host", "localhost:{port}"), ("origin", "http://localhost:{port}"), ("sec-fetch-site", "same-origin")],
        [("host", "localhost:{port}"), ("referer", "http://localhost:{port}/x"), ("sec-fetch-site", "none")],
    ],
    ids=["plain", "any case", "own page", "typed in"],
)
async def test_over_tcp_clients_and_our_own_pages_are_served(tmp_path, headers):
    async with Rig(tmp_path, tcp=True) as rig:
        client = await rig.connect(tcp=True)
        own = [(name, value.format(port=rig.port)) for name, value in headers]
        await client.send(request("GET", "/v1/tools", headers=own, host=None))
        assert (await client.answer())[0] == 200
        await client.close()


@pytest.mark.parametrize("host", ["2f746d702f642e736f636b", "evil.example", "", None])
async def test_on_the_unix_socket_any_host_will_do(rig, host):
    client = await rig.connect()
    await client.send(request("GET", "/v1/tools", host=host, headers=[("origin", "https://evil.example")]))
    assert (await client.answer())[0] == 200
    await client.close()


# --- bodies, answers, faults ------------------------------------------------------------------------------------------


async def test_a_call_reaches_the_flow_with_its_principal_and_its_very_bytes(rig):
    body = b'{"call": {"tool_id" :"echo"}}'
    for path in ("/v1/tools/call", "/v1/decide", "/v1/outcomes"):
        status, headers, answer = await rig.ask("POST", path, body, token=AGENT_TOKEN)
        assert (status, answer) == (200, {"status": "denied", "reason": "policy_denied"})
        assert headers["server-timing"] == "parse;dur=0.012, policy;dur=3.456"
    assert rig.calls.seen == [(AGENT, body)] * 3


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (CallerError("bad `x`", hint="mend it"), 400, {"code": "bad_request", "message": "bad `x`", "hint": "mend it"}),
        (CallerError("no", code="not_found", detail="secret"), 404, {"code": "not_found", "message": "no"}),
        (StoreError("not durable", detail="secret"), 503, {"code": "receipts_unavailable", "message": "not durable"}),
        (BriefcaseError("broken"), 500, {"code": "internal", "message": "broken"}),
        (ValueError("secret"), 500, {"code": "internal", "message": "something went wrong inside"}),
        (RecursionError("secret"), 500, {"code": "internal", "message": "something went wrong inside"}),
    ],
)
async def test_a_fault_becomes_its_code_and_message_and_nothing_private(rig, error, status, expected):
    rig.calls.error = error
    with capture_logs() as logs:
        got, _, body = await rig.ask("POST", "/v1/tools/call", b"{}")
    assert got == status
    assert body == {**expected, "request_id": "00000000-0000-4000-8000-000000000001"}
    assert "secret" not in json.dumps(body)
    assert [entry["request_id"] for entry in logs] == (
        ["00000000-0000-4000-8000-000000000001"] if status >= 500 or status == 400 else []
    )


async def test_a_wrong_method_is_told_which_are_right(rig):
    status, headers, body = await rig.ask("DELETE", "/v1/agents")
    assert (status, headers["allow"], body["code"]) == (405, "GET, POST", "method_not_allowed")


async def test_head_is_no_way_around_a_method(rig):
    said = await rig.raw(b"HEAD /v1/tools HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize(
    "query",
    [
        "limit=x",
        "limit=0",
        "limit=1001",
        "limit=1&limit=2",
        "offset=-1",
        "since=yesterday",
        "kind=%ff",
        "&".join(f"x{number}=1" for number in range(100)),
    ],
)
async def test_a_query_that_is_not_as_expected_is_a_bad_request(rig, query):
    status, _, body = await rig.ask("GET", f"/v1/receipts?{query}")
    assert (status, body["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"daily_limit_microusd":1.5}',
        b'{"daily_limit_microusd":-1}',
        b'{"daily_limit_microusd":"1"}',
        b'{"daily_limit_microusd":1,"daily_limit_microusd":2}',
        b'{"daily_limit_microusd":9007199254740992}',
    ],
)
async def test_a_body_that_is_not_as_expected_is_a_bad_request_and_changes_nothing(rig, body):
    status, _, answer = await rig.ask("POST", "/v1/budgets/read", body)
    assert (status, answer["code"]) == (400, "bad_request")
    assert rig.ledger.chain == []


async def test_unknown_fields_are_ignored_in_queries_and_bodies(rig):
    assert (await rig.ask("GET", "/v1/receipts?limit=1&colour=red"))[0] == 200
    body = {"daily_limit_microusd": 7, "colour": "red"}
    assert (await rig.ask("POST", "/v1/budgets/read", body))[2]["daily_limit_microusd"] == 7


async def test_a_client_that_leaves_before_its_body_is_whole_is_not_handled(tmp_path):
    head = b"POST /v1/tools/call HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %s\r\n" % AGENT_TOKEN.encode()
    with capture_logs() as logs:
        async with Rig(tmp_path) as rig:
            client = await rig.connect()
            await client.send(head)
            await client.send(b"content-length: 10\r\n\r\n{")
            await until(lambda: rig.server._state.tasks)
            client.writer.transport.abort()
            await until(lambda: not rig.server._state.tasks)
            assert rig.calls.seen == []
    assert logs == []
