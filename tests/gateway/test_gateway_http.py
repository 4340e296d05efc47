"""The gateway over Streamable HTTP: who gets in, what is a message, sessions, streams; in front of a small daemon."""

import asyncio

import aiohttp
import orjson
import pytest
from gateway_rig import (
    CLIENT,
    GOING_ON,
    HANDSHAKE,
    RANGER,
    SCOUT,
    STATELESS,
    FakeDaemon,
    asking_daemon,
    messages,
    ok,
    rig,
)

from briefcase.edges.gateway import session as sessions
from briefcase.edges.http.limits import HttpLimits
from support.waiting import until

CALL = {"name": "echo", "arguments": {"text": "hi"}}
META = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientInfo": CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}


async def status_of(test, body, **headers) -> int:
    async with await test.post(body, **headers) as response:
        return response.status


def request(method: str = "tools/list", params: dict | None = None, request_id: object = 1) -> dict:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {}}


# --- who gets in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Referer": "http://evil.example/page"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"token": None}, 401),
        ({"token": "x" * 43}, 401),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, 401),
        ({"Authorization": "Bearer with space"}, 401),
        ({"Content-Type": "text/plain"}, 415),
        ({"Accept": "text/html"}, 406),
    ],
)
async def test_what_a_browser_or_a_stranger_sends_is_refused(headers, status):
    async with rig() as gateway:
        sent = {"MCP_Protocol_Version": STATELESS, "Mcp_Method": "tools/list", **headers}
        assert await status_of(gateway, request(params={"_meta": META}), **sent) == status
        assert gateway.daemon.calls == []


async def test_a_page_is_refused_before_anybody_is_authenticated():
    async with rig() as gateway:
        assert await status_of(gateway, request(), token="wrong" * 10, Origin="http://evil.example") == 403


async def test_only_an_allowed_origin_gets_cors_headers():
    async with rig(allowed_origins=frozenset({"http://localhost:6274"})) as gateway:
        for origin, allowed in (("http://localhost:6274", True), ("http://localhost:6275", False)):
            preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            async with gateway.http.options(gateway.base + "/mcp", headers=preflight) as response:
                assert response.status == (204 if allowed else 403)
                assert ("Access-Control-Allow-Origin" in response.headers) is allowed


@pytest.mark.parametrize("path", ["/", "/mcp/", "/mcpx", "//mcp", "/mcp/Fixture", "/mcp/a%2fb", "/MCP"])
async def test_nothing_else_is_served(path):
    async with rig() as gateway:
        assert await status_of(gateway, request(), path=path) == 404


async def test_an_agent_without_a_token_of_its_own_is_the_gateways_agent_where_there_is_one():
    async with rig(token=RANGER) as gateway:
        await gateway.call("echo", {"text": "a"}, token=None)
        await gateway.call("echo", {"text": "b"}, token=SCOUT)
        assert [name for name, _ in gateway.daemon.calls] == ["ranger", "scout"]


# --- what is a message ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b'{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{}}',
        b'{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{}}',
        b'{"jsonrpc":"2.0","id":1.0,"method":"tools/call","params":{}}',
        b'{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"a":1e400}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"a":9007199254740993}}}',
        b'[{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}]',
        b"[" * 5_000,
    ],
)
@pytest.mark.parametrize("revision", [STATELESS, HANDSHAKE])
async def test_what_is_no_message_runs_nothing_and_is_a_400(body, revision):
    async with rig() as gateway:
        headers = {} if revision == STATELESS else await gateway.initialize()
        async with await gateway.post(body, **{"MCP_Protocol_Version": revision, **headers}) as response:
            assert response.status == 400
            answer = orjson.loads(await response.read())
            assert answer["error"]["code"] in {-32700, -32600}
            assert "id" not in answer
        assert gateway.daemon.calls == []


async def test_a_notification_for_a_call_runs_nothing():
    async with rig() as gateway:
        headers = await gateway.initialize()
        notification = {"jsonrpc": "2.0", "method": "tools/call", "params": CALL}
        assert await status_of(gateway, notification, **headers) == 202
        notification["params"] = {**CALL, "_meta": META}
        assert await status_of(gateway, notification, MCP_Protocol_Version=STATELESS) == 400
        assert await status_of(gateway, notification) == 400
        assert gateway.daemon.calls == []


@pytest.mark.parametrize(("revision", "status"), [("2025-03-26", 200), ("2025-06-18", 400), (HANDSHAKE, 400)])
async def test_a_batch_is_for_the_revisions_that_had_them(revision, status):
    async with rig() as gateway:
        headers = await gateway.initialize(revision)
        batch = [request("ping", request_id=7), {"jsonrpc": "2.0", "method": "notifications/x"}, request("ping")]
        async with await gateway.post(batch, **headers) as response:
            assert response.status == status
            if status == 200:
                answers = orjson.loads(await response.read())
                assert [answer["id"] for answer in answers] == [7, 1]


async def test_a_body_past_the_bound_is_refused():
    async with rig() as gateway:
        big = request(params={"_meta": META, "name": "echo", "arguments": {"text": "x" * (2 << 20)}})
        assert await status_of(gateway, big) == 413


# --- the stateless revision -------------------------------------------------------------------------------------------


def without(key: str) -> dict:
    return {name: value for name, value in META.items() if not name.endswith(key)}


@pytest.mark.parametrize(
    ("meta", "headers", "status", "code"),
    [
        (without("protocolVersion"), {}, 400, -32602),
        (without("clientCapabilities"), {}, 400, -32602),
        (without("clientInfo"), {}, 200, None),
        (META, {"MCP_Protocol_Version": "2025-11-25"}, 400, -32020),
        (META, {"MCP_Protocol_Version": "1999-01-01"}, 400, -32020),
        ({**META, "io.modelcontextprotocol/protocolVersion": "1999-01-01"}, {}, 400, -32020),
        (META, {"Mcp_Method": "tools/call"}, 400, -32020),
        (META, {"Mcp_Method": ""}, 400, -32020),
        (META, {"Mcp_Method": "TOOLS/LIST"}, 400, -32020),
    ],
)
async def test_the_metadata_of_a_stateless_request_is_checked(meta, headers, status, code):
    async with rig() as gateway:
        sent = {"MCP_Protocol_Version": STATELESS, "Mcp_Method": "tools/list", **headers}
        got, answers = await gateway.rpc("tools/list", {"_meta": meta}, request_id="q", **sent)
        assert got == status
        assert answers[-1].get("error", {}).get("code") == code
        assert answers[-1]["id"] == "q"


async def test_an_unknown_revision_is_told_which_are_spoken():
    async with rig() as gateway:
        meta = {**META, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}
        for params in ({"_meta": meta}, {}):
            status, answers = await gateway.rpc("tools/list", params, MCP_Protocol_Version="2099-01-01")
            assert (status, answers[0]["error"]["code"]) == (400, -32022)
            assert answers[0]["error"]["data"] == {"supported": [STATELESS], "requested": "2099-01-01"}


@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "no/such"])
async def test_a_method_the_stateless_revision_does_not_have_is_not_found(method):
    async with rig() as gateway:
        status, answer = await gateway.stateless(method)
        assert (status, answer["error"]["code"], answer["id"]) == (404, -32601, 1)


@pytest.mark.parametrize("name", ["note_add", "=?base64?!?=", "=?base64?bm90ZV9hZGQ=?=", "echo, echo"])
async def test_a_name_in_the_header_that_is_not_the_bodys_is_refused(name):
    async with rig() as gateway:
        status, answer = await gateway.stateless("tools/call", CALL, Mcp_Name=name)
        assert (status, answer["error"]["code"]) == (400, -32020)
        assert gateway.daemon.calls == []


async def test_a_stateless_result_says_everything_the_revision_asks_for():
    async with rig() as gateway:
        _, listed = await gateway.stateless("tools/list")
        assert listed["result"]["resultType"] == "complete"
        assert listed["result"]["cacheScope"] == "private"
        assert listed["result"]["ttlMs"] >= 0
        _, found = await gateway.stateless("server/discover")
        assert found["result"]["supportedVersions"] == [STATELESS]
        assert found["result"]["capabilities"]["briefcase"] == {
            "mode": "reference",
            "compatibility_profile": "aacp_v1",
        }
        assert found["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "briefcase"


# --- sessions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [("2024-11-05", "2024-11-05"), ("2025-06-18", "2025-06-18"), (STATELESS, HANDSHAKE), ("1999-01-01", HANDSHAKE)],
)
async def test_a_handshake_agrees_on_a_revision(asked, agreed):
    async with rig() as gateway:
        await gateway.initialize(asked)
        assert gateway.initialized["protocolVersion"] == agreed
        assert gateway.initialized["capabilities"]["briefcase"]["compatibility_profile"] == "aacp_v1"


async def test_a_session_exists_only_for_the_token_and_the_endpoint_that_opened_it():
    catalog = {"servers": {"fx": {"capabilities": {"tools": {}}}}, "tools": {}, "hidden": []}
    async with rig(FakeDaemon(catalog=catalog)) as gateway:
        headers = await gateway.initialize()
        assert await status_of(gateway, request(), **headers) == 200
        assert await status_of(gateway, request(), token=RANGER, **headers) == 404
        assert await status_of(gateway, request(), path="/mcp/fx", **headers) == 404
        forged = {**headers, "Mcp_Session_Id": headers["Mcp_Session_Id"][:-1] + "_"}
        assert await status_of(gateway, request(), **forged) == 404
        assert await status_of(gateway, request()) == 400
        assert len(headers["Mcp_Session_Id"]) >= 43


async def test_a_deleted_session_is_gone():
    async with rig() as gateway:
        headers = await gateway.initialize()
        sent = {"Authorization": f"Bearer {SCOUT}", "Mcp-Session-Id": headers["Mcp_Session_Id"]}
        async with gateway.http.delete(
            gateway.base + "/mcp", headers={**sent, "Authorization": f"Bearer {RANGER}"}
        ) as response:
            assert response.status == 404
        async with gateway.http.delete(gateway.base + "/mcp", headers=sent) as response:
            assert response.status == 204
        assert await status_of(gateway, request(), **headers) == 404


async def test_sessions_are_bounded_per_token_and_expire():
    now = [0.0]

    kept = sessions.Sessions(lambda: now[0])
    opened = []
    for _ in range(sessions.MAX_SESSIONS_PER_TOKEN + 1):
        opened.append(sessions.Session(SCOUT, sessions.View(), HANDSHAKE, {}))
        kept.add(opened[-1])
    assert len(kept) == sessions.MAX_SESSIONS_PER_TOKEN
    assert kept.find(opened[0].id, SCOUT, sessions.View()) is None
    assert kept.find(opened[1].id, SCOUT, sessions.View()) is opened[1]
    now[0] += sessions.IDLE_S + 1
    assert kept.find(opened[1].id, SCOUT, sessions.View()) is None
    kept.expire()
    assert len(kept) == 0


async def test_a_request_id_in_use_is_refused_and_answers_never_cross():
    daemon = FakeDaemon()
    gates = {"a": asyncio.Event(), "b": asyncio.Event()}

    async def slow(_, call):
        await gates[call["args"]["text"]].wait()
        return ok({"echo": call["args"]["text"]})

    daemon.answers["echo"] = slow
    async with rig(daemon) as gateway:
        one, other = await gateway.initialize(), await gateway.initialize(token=RANGER)
        first = asyncio.create_task(gateway.rpc("tools/call", {**CALL, "arguments": {"text": "a"}}, **one))
        second = asyncio.create_task(
            gateway.rpc("tools/call", {**CALL, "arguments": {"text": "b"}}, token=RANGER, **other)
        )
        await until(lambda: len(daemon.calls) == 2)
        _, again = await gateway.rpc("tools/call", CALL, **one)
        assert "in use" in again[0]["error"]["message"]
        gates["b"].set()
        gates["a"].set()
        assert (await first)[1][0]["result"]["structuredContent"] == {"echo": "a"}
        assert (await second)[1][0]["result"]["structuredContent"] == {"echo": "b"}


# --- streams ----------------------------------------------------------------------------------------------------------


CATALOG = {
    "servers": {"fx": {"capabilities": {"tools": {}, "resources": {}, "prompts": {}}}},
    "tools": {},
    "hidden": [],
}


def talking(daemon: FakeDaemon, name: str = "fx.talk"):
    """A tool that says three things before it answers."""

    async def talk(_, call):
        events = daemon.events[call["context"]["request_id"]] = []
        for done in (0, 50, 100):
            events.append({"method": "notifications/progress", "params": {"progress": done, "total": 100}})
            events.append({"method": "notifications/message", "params": {"level": "info", "data": done}})
        return ok({"content": [{"type": "text", "text": "done"}]}, "mcp:fx")

    daemon.tools.append({**daemon.tools[0], "id": name})
    daemon.answers[name] = talk


async def test_progress_comes_before_the_answer_with_the_clients_own_token():
    daemon = FakeDaemon(catalog=CATALOG)
    talking(daemon)
    async with rig(daemon) as gateway:
        params = {"name": "fx.talk", "arguments": {}, "_meta": {"progressToken": "mine"}}
        headers = await gateway.initialize()
        _, got = await gateway.rpc("tools/call", params, **headers)
        assert [message["params"] for message in got[:-1]] == [
            {"progress": done, "total": 100, "progressToken": "mine"} for done in (0, 50, 100)
        ]
        assert got[-1]["result"]["content"][0]["text"] == "done"
        assert daemon.calls[-1][1]["exchange"]["progress"] is True


@pytest.mark.parametrize(("level", "heard"), [("debug", 3), ("info", 3), ("warning", 0), (None, 0)])
async def test_log_messages_come_as_loud_as_the_client_asked(level, heard):
    daemon = FakeDaemon(catalog=CATALOG)
    talking(daemon)
    async with rig(daemon) as gateway:
        headers = await gateway.initialize()
        if level is not None:
            await gateway.rpc("logging/setLevel", {"level": level}, **headers)
        _, got = await gateway.rpc("tools/call", {"name": "fx.talk", "arguments": {}}, **headers)
        assert len([message for message in got if message.get("method") == "notifications/message"]) == heard


async def test_a_call_is_cancelled_when_its_stateless_client_leaves():
    daemon = FakeDaemon(catalog=CATALOG)
    begun = asyncio.Event()

    async def hang(*_):
        begun.set()
        await asyncio.sleep(60)

    daemon.answers["fx.hang"] = hang
    async with rig(daemon) as gateway:
        leaving = asyncio.create_task(gateway.call("fx.hang", {}))
        await begun.wait()
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await until(lambda: daemon.cancelled)
        assert daemon.cancelled == [daemon.calls[0][1]["context"]["request_id"]]


async def test_a_session_client_cancels_by_name_and_gets_no_answer():
    daemon = FakeDaemon(catalog=CATALOG)
    begun = asyncio.Event()

    async def hang(*_):
        begun.set()
        await asyncio.sleep(60)

    daemon.answers["fx.hang"] = hang
    async with rig(daemon) as gateway:
        headers = await gateway.initialize()
        calling = asyncio.create_task(gateway.rpc("tools/call", {"name": "fx.hang", "arguments": {}}, **headers))
        await begun.wait()
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        assert await status_of(gateway, cancel, **headers) == 202
        assert await calling == (202, [])
        await until(lambda: daemon.cancelled)


async def stream_of(gateway, headers, **more):
    sent = {"Authorization": f"Bearer {SCOUT}", "Accept": "text/event-stream", **more}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await gateway.http.get(gateway.base + "/mcp", headers=sent)


async def next_event(response) -> tuple[str, dict]:
    event_id = ""
    while True:
        line = (await response.content.readline()).decode()
        assert line, "the stream has ended"
        line = line.strip()
        if line.startswith("id: "):
            event_id = line[4:]
        if line.startswith("data: "):
            return event_id, orjson.loads(line[6:])


async def test_a_session_hears_of_changes_and_only_of_what_it_subscribed_to():
    daemon = FakeDaemon(catalog=CATALOG)
    async with rig(daemon) as gateway:
        headers = await gateway.initialize()
        uri = "fx+test://a"
        await gateway.rpc("resources/subscribe", {"uri": uri}, **headers)
        assert daemon.calls[-1][1]["tool_id"] == "fx:resources.subscribe"
        stream = await stream_of(gateway, headers)
        await until(lambda: daemon.polls == 2)  # the second waits for a change
        daemon.change(server="fx", kind="resource", uri="test://other")
        daemon.change(server="fx", kind="resource", uri="test://a")
        _, updated = await next_event(stream)
        assert updated["params"] == {"uri": uri}
        daemon.change(server="fx", kind="tools", uri="")
        _, changed = await next_event(stream)
        assert changed["method"] == "notifications/tools/list_changed"
        stream.close()


async def test_a_broken_stream_is_resumed_by_its_own_session_only():
    daemon = FakeDaemon(catalog=CATALOG)
    talking(daemon)
    async with rig(daemon) as gateway:
        headers, other = await gateway.initialize(), await gateway.initialize()
        params = {"name": "fx.talk", "arguments": {}, "_meta": {"progressToken": 1}}
        body = request("tools/call", params)
        async with await gateway.post(body, **headers) as response:
            lines = (await response.read()).decode().splitlines()
        ids = [line[4:] for line in lines if line.startswith("id: ")]
        resumed = await stream_of(gateway, headers, **{"Last-Event-ID": ids[-2]})
        event_id, answer = await next_event(resumed)
        assert event_id == ids[-1]
        assert answer["id"] == 1
        resumed.close()
        for stranger, last in ((other, ids[-2]), (headers, "x-1"), (headers, ids[-1].rpartition("-")[0] + "-999")):
            refused = await stream_of(gateway, stranger, **{"Last-Event-ID": last})
            assert refused.status == 404
            refused.close()


@pytest.mark.parametrize(
    ("wanted", "agreed"),
    [
        ({"toolsListChanged": True}, {"toolsListChanged": True}),
        ({"promptsListChanged": True, "toolsListChanged": False}, {"promptsListChanged": True}),
        ({"resourceSubscriptions": ["fx+test://a", "nonsense"]}, {"resourceSubscriptions": ["fx+test://a"]}),
        ({}, {}),
    ],
)
async def test_a_stateless_client_hears_exactly_what_it_listens_for(wanted, agreed):
    daemon = FakeDaemon(catalog=CATALOG)
    async with rig(daemon) as gateway:
        headers = {"MCP_Protocol_Version": STATELESS, "Mcp_Method": "subscriptions/listen"}
        body = request("subscriptions/listen", {"_meta": META, "notifications": wanted}, "sub")
        async with await gateway.post(body, **headers) as stream:
            _, first = await next_event(stream)
            assert first["method"] == "notifications/subscriptions/acknowledged"
            assert first["params"]["notifications"] == agreed
            assert first["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": "sub"}
            if agreed:
                await until(lambda: daemon.polls == 2)  # the second waits for a change
            daemon.change(server="fx", kind="tools", uri="")
            daemon.change(server="fx", kind="prompts", uri="")
            daemon.change(server="fx", kind="resource", uri="test://a")
            if agreed:
                _, told = await next_event(stream)
                expected = {
                    "toolsListChanged": "notifications/tools/list_changed",
                    "promptsListChanged": "notifications/prompts/list_changed",
                    "resourceSubscriptions": "notifications/resources/updated",
                }
                assert told["method"] == expected[next(iter(agreed))]
                assert told["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": "sub"}
        if "resourceSubscriptions" in agreed:
            await until(lambda: daemon.calls[-1][1]["tool_id"] == "fx:resources.unsubscribe")


async def test_a_sessions_stream_ends_when_its_client_leaves():
    daemon = FakeDaemon(catalog=CATALOG)
    async with rig(daemon) as gateway:
        session = await gateway.initialize()
        headers = {name.replace("_", "-"): value for name, value in session.items()}
        headers |= {"Authorization": f"Bearer {SCOUT}", "Accept": "text/event-stream"}
        async with gateway.http.get(f"{gateway.base}/mcp", headers=headers) as stream:
            assert stream.status == 200
            await until(lambda: daemon.polls == 2)  # the second waits for a change
        await until(lambda: daemon.last_poll.transport is None)  # nobody listens for a client that has left
        daemon.change(server="fx", kind="tools", uri="")
        await until(lambda: not daemon.changed.is_set())  # the poll that nobody waits for has ended
        assert daemon.polls == 2


async def test_a_server_asks_a_session_client_over_its_own_request():
    daemon = FakeDaemon(catalog=CATALOG)
    asked = {"method": "elicitation/create", "params": {"message": "name?", "requestedSchema": {}}}
    wanted = {"resultType": "input_required", "inputRequests": {"q": asked}, "requestState": "state"}
    daemon.answers["fx.ask"] = lambda *_: ok(wanted, "mcp:fx")

    def go_on(_, call):
        text = f"hello {call['args']['responses']['q']['content']['name']}"
        assert call["args"]["state"] == "state"
        return ok({"content": [{"type": "text", "text": text}]}, "mcp:fx")

    daemon.answers["fx:continue"] = go_on
    async with rig(daemon) as gateway:
        headers = await gateway.initialize(capabilities={"elicitation": {}})
        async with await gateway.post(request("tools/call", {"name": "fx.ask", "arguments": {}}), **headers) as stream:
            _, question = await next_event(stream)
            assert question["method"] == "elicitation/create"
            reply = {
                "jsonrpc": "2.0",
                "id": question["id"],
                "result": {"action": "accept", "content": {"name": "A"}},
            }
            stranger = await gateway.initialize()
            assert await status_of(gateway, {**reply, "result": {"action": "decline"}}, **stranger) == 202
            assert await status_of(gateway, reply, **headers) == 202
            _, answer = await next_event(stream)
            assert answer["result"]["content"][0]["text"] == "hello A"
        mute = await gateway.initialize()
        _, got = await gateway.rpc("tools/call", {"name": "fx.ask", "arguments": {}}, **mute)
        assert got[-1]["result"]["isError"] is True


@pytest.mark.parametrize("with_token", [True, False])
async def test_answers_that_a_person_must_approve_are_kept_for_the_retry_of_a_client_with_a_handshake(with_token):
    daemon = asking_daemon()
    async with rig(daemon) as gateway:
        headers = await gateway.initialize(capabilities={"elicitation": {}})
        call = {"name": "fx.ask", "arguments": {}}
        async with await gateway.post(request("tools/call", call), **headers) as stream:
            _, question = await next_event(stream)
            reply = {"jsonrpc": "2.0", "id": question["id"], "result": GOING_ON["responses"]["q"]}
            assert await status_of(gateway, reply, **headers) == 202
            _, blocked = await next_event(stream)
        assert blocked["result"]["_meta"]["approval"]["tool_id"] == "fx:continue"
        token = daemon.approve()
        retry = {**call, "approvalToken": token} if with_token else call
        _, got = await gateway.rpc("tools/call", retry, **headers)
        assert got[-1]["result"]["isError"] is False
        last = daemon.calls[-1][1]
        assert (last["tool_id"], last["args"], last["approval_token"]) == ("fx:continue", GOING_ON, token)
        daemon.answers["fx.ask"] = ok({"content": []}, "mcp:fx")
        await gateway.rpc("tools/call", call, **headers)
        assert daemon.calls[-1][1]["tool_id"] == "fx.ask", "what went on once goes on no more"


async def test_a_stopping_gateway_ends_its_streams():
    async with aiohttp.ClientSession() as outliving:
        async with rig(FakeDaemon(catalog=CATALOG)) as gateway:
            headers = await gateway.initialize()
            gateway.http = outliving
            stream = await stream_of(gateway, headers)
            assert stream.status == 200
        assert b"data" not in await stream.content.read()


async def test_a_stopping_gateway_ends_what_runs_for_a_stateless_client(monkeypatch):
    monkeypatch.setattr("briefcase.edges.gateway.serve.LIMITS", HttpLimits(drain_ms=3_600_000))
    daemon = FakeDaemon()
    daemon.answers["echo"] = lambda *_: asyncio.sleep(60)
    async with aiohttp.ClientSession() as outliving:
        async with rig(daemon) as gateway:
            gateway.http = outliving
            call = asyncio.create_task(gateway.stateless("tools/call", CALL))
            await until(lambda: daemon.calls)
        assert await call == (202, {})


async def test_a_daemon_that_is_gone_is_an_error_and_no_answer():
    async with rig() as gateway:
        headers = await gateway.initialize()
        gateway.daemon.answers["echo"] = lambda *_: (_ for _ in ()).throw(RuntimeError("boom"))
        _, got = await gateway.rpc("tools/call", CALL, **headers)
        assert got[0]["error"]["code"] == -32603
        assert "boom" not in str(got)


async def test_every_kind_of_answer_is_one_message_or_a_stream():
    async with (
        rig() as gateway,
        await gateway.post(
            request(params={"_meta": META}), MCP_Protocol_Version=STATELESS, Mcp_Method="tools/list"
        ) as response,
    ):
        assert response.content_type == "application/json"
        assert len(await messages(response)) == 1
