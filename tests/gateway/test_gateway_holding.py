"""A call that a person must approve is held at the gateway: what ends it, what it costs, and what it may not do."""

import asyncio
import contextlib

import orjson
import pytest
from gateway_rig import CLIENT, RANGER, SCOUT, FakeDaemon, Rig, messages, rig

from briefcase.edges.gateway import holding
from briefcase.edges.gateway.settings import load_gateway_settings
from briefcase.model.errors import ConfigError
from support.waiting import until

NOTE = {"name": "note_add", "arguments": {"text": "a"}}
LONG_S = 60.0  # longer than any of these tests takes


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(holding, "PACE_S", 0.01)
    monkeypatch.setattr(holding, "TELL_S", 0.01)


def held(gateway: Rig, headers: dict, params: dict = NOTE, **more) -> asyncio.Task:
    """A call of a session, under way; gives its messages."""

    async def ask() -> list[dict]:
        return (await gateway.rpc("tools/call", params, **headers, **more))[1]

    return asyncio.create_task(ask())


def text_of(message: dict) -> str:
    return message["result"]["content"][0]["text"]


async def quiet(daemon: FakeDaemon) -> None:
    """Wait until nobody asks after an approval any more."""
    async with asyncio.timeout(10):
        seen = -1
        while seen != len(daemon.looks):
            seen = len(daemon.looks)
            await asyncio.sleep(0.1)


async def test_a_held_call_runs_once_when_a_person_says_yes_and_its_client_sees_it_live():
    async with rig(hold_s=LONG_S) as gateway:
        headers = await gateway.initialize()
        calling = held(gateway, headers, {**NOTE, "_meta": {"progressToken": "p"}})
        await gateway.daemon.next_look()
        await gateway.daemon.next_look()
        assert len(gateway.daemon.calls) == 1
        gateway.daemon.approve()
        *told, answer = await calling
        assert answer["result"]["structuredContent"] == {"noted": {"text": "a"}}
        assert len(gateway.daemon.calls) == 2
        progress = [message["params"] for message in told]
        assert {message["method"] for message in told} == {"notifications/progress"}
        assert {params["progressToken"] for params in progress} == {"p"}
        values = [params["progress"] for params in progress]
        assert len(values) > 1
        assert values == sorted(set(values)), "progress must grow"
        assert values[-1] < 0, "what the tool's server tells comes after it"
        again = held(gateway, headers)
        await gateway.daemon.next_look()
        gateway.daemon.reject("not twice")
        assert text_of((await again)[-1]) == "approval_rejected: a person said no to this call: not twice"


async def test_a_held_call_without_a_progress_token_has_an_open_stream_that_is_kept_alive():
    async with rig(hold_s=LONG_S) as gateway:
        headers = await gateway.initialize()
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": NOTE}
        async with await gateway.post(body, **headers) as response:  # it is here before anybody decided
            assert response.content_type == "text/event-stream"
            assert (await response.content.readline()).startswith(b":")
            gateway.daemon.approve()
            [answer] = await messages(response)
        assert answer["result"]["isError"] is False
        calling = held(gateway, headers, request_id=2, Accept="application/json")
        await gateway.daemon.next_look()
        gateway.daemon.approve()
        [answer] = await calling
        assert answer["result"]["isError"] is False, "a client that takes no stream waits for its JSON"


async def test_a_call_is_held_no_longer_than_is_set_and_its_retry_is_held_anew_and_uses_the_yes():
    async with rig(hold_s=0.05) as gateway:
        headers = await gateway.initialize()
        [first] = (await gateway.rpc("tools/call", NOTE, **headers))[1]
        assert first["result"]["_meta"]["approval"]["status"] == "pending"
        [second] = (await gateway.rpc("tools/call", NOTE, **headers))[1]
        assert second["result"]["_meta"]["approval"] == first["result"]["_meta"]["approval"]
        gateway.daemon.approve()
        [third] = (await gateway.rpc("tools/call", NOTE, **headers))[1]
        assert third["result"]["isError"] is False
        assert len(gateway.daemon.approvals) == 1


async def test_a_stateless_clients_first_round_shows_what_to_approve_and_the_next_is_held():
    async with rig(hold_s=LONG_S) as gateway:
        first = await gateway.call("note_add", {"text": "a"}, capabilities={"elicitation": {}})
        assert first["inputRequests"]["approval"]["method"] == "elicitation/create"
        accepted = {"requestState": first["requestState"], "inputResponses": {"approval": {"action": "accept"}}}
        retry = gateway.call("note_add", {"text": "a"}, capabilities={"elicitation": {}}, params=accepted)
        calling = asyncio.create_task(retry)
        await gateway.daemon.next_look()
        gateway.daemon.approve()
        assert (await calling)["structuredContent"] == {"noted": {"text": "a"}}


async def test_a_stateless_clients_held_round_ends_with_the_reason_of_a_no():
    async with rig(hold_s=LONG_S) as gateway:
        first = await gateway.call("note_add", {"text": "a"})
        calling = asyncio.create_task(
            gateway.call("note_add", {"text": "a"}, params={"requestState": first["requestState"]})
        )
        await gateway.daemon.next_look()
        gateway.daemon.reject("too late in the day")
        assert (await calling)["content"][0]["text"].endswith("a person said no to this call: too late in the day")
        assert len(gateway.daemon.calls) == 1


async def test_a_cancelled_call_is_held_no_longer_and_a_later_yes_is_for_the_retry():
    async with rig(hold_s=LONG_S) as gateway:
        headers = await gateway.initialize()
        calling = held(gateway, headers)
        await gateway.daemon.next_look()
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        async with await gateway.post(cancelled, **headers) as response:
            assert response.status == 202
        assert await calling == []
        await quiet(gateway.daemon)
        gateway.daemon.approve()
        assert len(gateway.daemon.calls) == 1, "nobody asked for it any more"
        [answer] = (await gateway.rpc("tools/call", NOTE, **headers))[1]
        assert answer["result"]["isError"] is False


@pytest.mark.parametrize("era", ["handshake", "stateless"])
async def test_who_leaves_is_held_no_longer_and_nothing_runs_until_they_come_back(era):
    async with rig(hold_s=LONG_S) as gateway:
        headers = await gateway.initialize()
        params, sent = dict(NOTE), headers
        if era == "stateless":
            first = await gateway.call("note_add", {"text": "a"})
            meta = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": CLIENT,
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            params |= {"requestState": first["requestState"], "_meta": meta}
            sent = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call", "Mcp_Name": "note_add"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        response = await gateway.post(body, **sent)
        with contextlib.suppress(TimeoutError):
            async with response as opened:
                await gateway.daemon.next_look()
                opened.close()
        await quiet(gateway.daemon)
        gateway.daemon.approve()
        assert len(gateway.daemon.calls) == 1, "it ran with nobody there"
        again = await gateway.call("note_add", {"text": "a"}) if era == "stateless" else None
        if again is None:
            [answer] = (await gateway.rpc("tools/call", NOTE, request_id=2, **headers))[1]
            again = answer["result"]
        assert again["isError"] is False


async def test_a_flood_of_held_calls_is_bounded_and_looked_after_in_few_requests(monkeypatch):
    monkeypatch.setattr(holding, "MAX_HELD_FOR_EACH", 60)
    monkeypatch.setattr(holding, "MAX_HELD", 80)
    async with rig(hold_s=LONG_S) as gateway:

        async def flood(token: str) -> list[asyncio.Task]:
            calls = []
            for at in range(4):
                headers = await gateway.initialize(token=token)
                for number in range(30):
                    params = {"name": "note_add", "arguments": {"text": f"{at}-{number}"}}
                    calls.append(held(gateway, headers, params, token=token, request_id=number))
            return calls

        scout = await flood(SCOUT)
        await until(lambda: sum(call.done() for call in scout) == 60)
        ranger = await flood(RANGER)
        await until(lambda: sum(call.done() for call in ranger) == 100)
        for call in filter(asyncio.Task.done, scout + ranger):
            assert call.result()[-1]["result"]["_meta"]["approval"]["status"] == "pending"
        seen = len(gateway.daemon.looks)
        await until(lambda: len(gateway.daemon.looks) > seen + 6)
        assert max(map(len, gateway.daemon.looks)) == 50, "many are looked after in one request"
        for approval in gateway.daemon.approvals.values():
            approval["status"] = "approved"
        answers = await asyncio.gather(*scout, *ranger)
        ran = [answer for answer in answers if answer[-1]["result"]["isError"] is False]
        assert len(ran) == 80
        used = sum(approval["status"] == "consumed" for approval in gateway.daemon.approvals.values())
        assert used == 80


async def test_a_token_that_ends_while_its_call_is_held_ends_it():
    async with rig(hold_s=LONG_S) as gateway:
        headers = await gateway.initialize()
        calling = held(gateway, headers)
        await gateway.daemon.next_look()
        gateway.daemon.revoked.add("scout")
        gateway.daemon.approve()
        assert (await calling)[-1]["error"]["data"]["code"] == "unauthorized"
        assert len(gateway.daemon.calls) == 1


async def test_a_daemon_that_errs_for_a_moment_has_decided_nothing():
    async with rig(hold_s=LONG_S) as gateway:
        headers = await gateway.initialize()
        calling = held(gateway, headers)
        await gateway.daemon.next_look()
        kept = dict(gateway.daemon.approvals)
        for approval in gateway.daemon.approvals.values():
            gateway.daemon.approvals[approval["id"]] = {**approval, "status": "unheard of"}
        await gateway.daemon.next_look()
        await gateway.daemon.next_look()
        assert not calling.done()
        gateway.daemon.approvals = kept
        gateway.daemon.approve()
        assert (await calling)[-1]["result"]["isError"] is False


async def test_an_approval_that_ended_otherwise_runs_nothing():
    async with rig(hold_s=LONG_S) as gateway:
        headers = await gateway.initialize()
        for status in ("expired", "consumed"):
            calling = held(gateway, headers)
            await gateway.daemon.next_look()
            for approval in gateway.daemon.approvals.values():
                approval["status"] = status
            answer = (await calling)[-1]
            assert answer["result"]["isError"] is True
            assert "approval" in answer["result"]["_meta"]
        assert all("approval_token" not in call for _, call in gateway.daemon.calls)


async def test_a_batch_is_not_held():
    async with rig(hold_s=LONG_S) as gateway:
        headers = await gateway.initialize("2025-03-26")
        body = [{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": NOTE}]
        async with await gateway.post(orjson.dumps(body), **headers) as response:
            [[answer]] = await messages(response)
        assert answer["result"]["_meta"]["approval"]["status"] == "pending"
        assert gateway.daemon.looks == []


@pytest.mark.parametrize(("text", "hold_s"), [(None, 45.0), ("0", 0.0), ("600", 600.0)])
def test_the_time_is_read_of_the_environment(tmp_path, text, hold_s):
    environ = {"BRIEFCASE_AUTH_TOKEN": "t"} | ({} if text is None else {"BRIEFCASE_MCP_HOLD_SECS": text})
    assert load_gateway_settings(environ, tmp_path / "s", tmp_path).hold_s == hold_s


@pytest.mark.parametrize("text", ["601", "-1", "1.5", "soon", "99999", "٣"])
def test_a_time_that_is_none_is_refused(tmp_path, text):
    environ = {"BRIEFCASE_AUTH_TOKEN": "t", "BRIEFCASE_MCP_HOLD_SECS": text}
    with pytest.raises(ConfigError, match="BRIEFCASE_MCP_HOLD_SECS"):
        load_gateway_settings(environ, tmp_path / "s", tmp_path)
