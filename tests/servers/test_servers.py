"""Servers behind the daemon, for real: processes and sockets, both eras, well behaved or not."""

import asyncio
import contextlib
import json
import os
import sys

import pytest

from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.servers.connection import State
from briefcase.core.mcp.call_options import CallOptions, ClientCapabilities, ElicitationModes
from briefcase.model.errors import CallerError, UpstreamError
from support.servers import SECRET, Rig, ended, served, state_of
from support.waiting import until

WAYS = [("stdio", "stateless"), ("stdio", "handshake"), ("http", "stateless"), ("http", "handshake"), ("http", "sse")]


@pytest.mark.parametrize(("transport", "era"), WAYS)
async def test_a_server_of_any_era_and_transport_offers_everything(transport, era):
    async with served(transport, era) as rig:
        await rig.ready()
        assert (
            rig.registry.connection("fx").revision
            == {
                "stateless": "2026-07-28",
                "handshake": "2025-11-25",
                "sse": "2024-11-05",
            }[era]
        )
        assert len(rig.registry.specs()) > 30
        assert (await rig.call("fx.echo", {"text": "hi"}))["structuredContent"] == {"echo": "hi"}
        resources = (await rig.call("fx:resources.list"))["resources"]
        assert resources[0]["uri"] == "test://static-text"
        read = await rig.call("fx:resources.read", {"uri": "test://template/7/data"})
        assert "Data for ID: 7" in read["contents"][0]["text"]
        assert len((await rig.call("fx:prompts.list"))["prompts"]) == 5
        args = {"name": "test_prompt_with_arguments", "arguments": {"arg1": "a", "arg2": "b"}}
        assert "arg1='a'" in (await rig.call("fx:prompts.get", args))["messages"][0]["content"]["text"]
        ask = {"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "a", "value": "par"}}
        assert (await rig.call("fx:complete", ask))["completion"]["values"] == ["paris", "park", "party"]


@pytest.mark.parametrize(("transport", "era"), WAYS)
async def test_progress_and_log_messages_reach_the_call_that_wants_them(transport, era):
    async with served(transport, era) as rig:
        await rig.ready()
        await rig.call("fx.test_tool_with_progress", options=CallOptions(progress=True))
        told, _ = await rig.exchange.read(0, 0)
        assert [message["params"]["progress"] for message in told] == [0, 50, 100]
        assert all("progressToken" not in message["params"] for message in told)
        await rig.call("fx.test_tool_with_logging", options=CallOptions(log_level="info"))
        told, _ = await rig.exchange.read(0, 0)
        assert told[0]["params"]["data"] == "Tool execution started"
        await rig.call("fx.test_tool_with_progress")
        assert await rig.exchange.read(0, 0) == ([], 0)


@pytest.mark.parametrize(("transport", "era"), WAYS)
async def test_a_question_suspends_its_call_until_its_own_client_answers(transport, era):
    options = CallOptions(capabilities=ClientCapabilities(elicitation=ElicitationModes()))
    async with served(transport, era) as rig:
        await rig.ready()
        wanted = await rig.call("fx.test_elicitation", {"message": "who?"}, options=options)
        assert wanted["resultType"] == "input_required"
        key, question = next(iter(wanted["inputRequests"].items()))
        assert question["params"]["message"] == "who?"
        going_on = {
            "target": "fx.test_elicitation",
            "arguments": {"message": "who?"},
            "state": wanted["requestState"],
            "responses": {key: {"action": "accept", "content": {"username": "ada"}}},
        }
        for change in (
            {"state": wanted["requestState"][:-4] + "AAAA"},
            {"arguments": {"message": "other"}},
            {"target": "fx.write_note"},
        ):
            with pytest.raises(UpstreamError) as caught:
                await rig.call("fx:continue", {**going_on, **change}, options=options)
            assert caught.value.sent is False
        with pytest.raises(UpstreamError):
            await rig.call("fx:continue", going_on, options=options, principal="ranger")
        answer = await rig.call("fx:continue", going_on, options=options)
        assert "ada" in answer["content"][0]["text"]


@pytest.mark.parametrize("era", ["stateless", "handshake"])
async def test_a_client_that_can_not_be_asked_never_is(era):
    async with served("stdio", era) as rig:
        await rig.ready()
        if era == "handshake":
            with pytest.raises(UpstreamError, match="no client of this call"):
                await rig.call("fx.test_sampling", {"prompt": "x"})
        else:
            with pytest.raises(UpstreamError):
                await rig.call("fx.test_missing_capability")
            assert rig.exchange.error == {
                "code": -32021,
                "message": "sampling is needed",
                "data": {"requiredCapabilities": {"sampling": {}}},
            }


@pytest.mark.parametrize(("transport", "era"), WAYS)
async def test_a_server_that_hangs_is_left_at_the_deadline_and_serves_on(transport, era):
    async with served(transport, era) as rig:
        await rig.ready()
        with pytest.raises(UpstreamError) as caught:
            await rig.call("fx.hang", within_ms=1_000)
        assert caught.value.code == "upstream_timeout"
        assert caught.value.sent is True
        assert (await rig.call("fx.echo", {"text": "on"}))["structuredContent"] == {"echo": "on"}


async def test_a_cancelled_call_ends_at_once():
    async with served() as rig:
        await rig.ready()
        calling = asyncio.create_task(rig.call("fx.hang"))
        await asyncio.sleep(0.05)
        rig.exchange.cancel()
        with pytest.raises(UpstreamError, match="cancelled"):
            await calling


async def test_a_server_that_dies_in_an_answer_is_started_again():
    async with served() as rig:
        await rig.ready()
        with pytest.raises(UpstreamError, match="ended"):
            await rig.call("fx.die")
        await until(lambda: rig.registry.connection("fx").state is not State.READY)
        assert (await rig.call("fx.echo", {"text": "back"}))["structuredContent"] == {"echo": "back"}


@pytest.mark.parametrize(("transport", "era"), [("stdio", "stateless"), ("http", "stateless"), ("http", "handshake")])
async def test_an_answer_of_a_hundred_megabytes_is_cut_off(transport, era):
    async with served(transport, era) as rig:
        await rig.ready()
        with pytest.raises(UpstreamError):
            await rig.call("fx.big", within_ms=20_000)


@pytest.mark.timeout(300)  # a slow machine takes its 10,000 notifications with as many pauses
async def test_a_flood_of_notifications_is_bounded_and_the_answer_comes():
    async with served(timeout_ms=100_000) as rig:
        await rig.ready()
        wanted = CallOptions(log_level="debug", progress=True)
        answer = await rig.call("fx.flood", options=wanted, within_ms=100_000)
        assert answer["content"][0]["text"] == "flooded"
        told, count = await rig.exchange.read(0, 0)
        assert count == 5_000
        assert len(told) == 1_000


@pytest.mark.parametrize(("transport", "misbehaviour"), [("http", "wrong_id"), ("http", "half")])
async def test_an_answer_with_another_id_or_half_of_one_is_no_answer(transport, misbehaviour):
    async with served(transport, "stateless", "--misbehave", misbehaviour) as rig:
        await rig.ready()
        with pytest.raises(UpstreamError):
            await rig.call("fx.echo", {"text": "mine"})


async def test_an_answer_in_one_calls_stream_never_reaches_its_neighbour():
    async with served("http", "stateless", "--misbehave", "neighbours_id") as rig:
        await rig.ready()
        waiting = asyncio.create_task(rig.call("fx.hang", principal="ranger", within_ms=1_500))
        await asyncio.sleep(0.1)
        with pytest.raises(UpstreamError, match="without one"):
            await rig.call("fx.echo", {"text": "the scout's own"})
        with pytest.raises(UpstreamError, match="did not answer"):
            await waiting


async def test_answers_for_nobody_on_a_shared_line_cross_to_nobody():
    async with served("stdio", "stateless", "--misbehave", "wrong_id") as rig:
        await rig.ready()
        answers = await asyncio.gather(*(rig.call("fx.echo", {"text": str(n)}) for n in range(20)))
        assert [answer["structuredContent"]["echo"] for answer in answers] == [str(n) for n in range(20)]


async def test_a_number_that_is_not_exact_everywhere_is_delivered_as_its_text():
    async with served("http", "stateless") as rig:
        await rig.ready()
        answer = await rig.call("fx.big_number")
        assert answer["structuredContent"] == {"n": str(2**60)}


async def test_a_server_that_dies_of_the_probe_gets_its_handshake():
    async with served("stdio", "handshake", "--misbehave", "dies_of_probe") as rig:
        await rig.ready()
        assert rig.registry.connection("fx").revision == "2025-11-25"


async def test_a_schema_that_refers_elsewhere_or_a_strange_name_is_refused_and_said():
    async with served("stdio", "stateless", "--misbehave", "bad_schema") as rig:
        await rig.ready()
        assert {problem.name for problem in rig.registry.connection("fx").problems} == {
            "remote_reference",
            "no spaces",
        }
        assert rig.registry.resolve("fx.remote_reference") is None
        assert rig.registry.resolve("fx.echo") is not None


async def test_a_server_gets_its_named_secrets_and_nothing_of_ours():
    os.environ["BRIEFCASE_AUTH_TOKEN"] = "ours"
    try:
        async with served(secret_env={"FIXTURE_SECRET": "known"}, env={"PLAIN": "x"}) as rig:
            await rig.ready()
            text = (await rig.call("fx.show_environment"))["content"][0]["text"]
            assert text.endswith(SECRET)  # the firewall redacts it on its way to an agent
            names = json.loads(text.rpartition(" ")[0])
            assert {"FIXTURE_SECRET", "PLAIN", "PATH"} <= set(names)
            assert not [name for name in names if name.startswith("BRIEFCASE")]
            assert SECRET not in str([receipt.event for receipt in rig.ledger.chain])
    finally:
        del os.environ["BRIEFCASE_AUTH_TOKEN"]


async def test_a_secret_that_is_not_set_keeps_the_server_away():
    async with served(secret_env={"FIXTURE_SECRET": "unknown"}) as rig:
        await until(lambda: rig.registry.connection("fx").problem)
        assert rig.registry.connection("fx").problem == "the secret `unknown` is not set"
        assert rig.registry.connection("fx").state is not State.READY


async def test_its_process_ends_with_the_registry():
    async with served() as rig:
        await rig.ready()
        process = rig.registry.connection("fx")._session._transport._process
        assert os.getpgid(process.pid) == process.pid
    assert process.exited.is_set()


async def test_its_process_ends_with_a_daemon_that_is_killed(tmp_path):
    program = (
        "import asyncio, sys, os\n"
        "from pathlib import Path\n"
        "from briefcase.adapters.children.confinement import Confinement\n"
        "from briefcase.adapters.servers.stdio_transport import StdioTransport\n"
        "async def main():\n"
        f"    confinement = Confinement(Path({str(tmp_path)!r}), (), needs_all=False)\n"
        "    way = StdioTransport(('sleep', '600'), {}, '', os.environ, confinement)\n"
        "    await way.open(lambda *_: None, lambda _: None)\n"
        "    print(way._process.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )

    if sys.platform != "linux":
        pytest.skip("the kernel's parent-death signal is Linux's")
    daemon = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    child = int(await daemon.stdout.readline())
    await ended(daemon)
    with contextlib.suppress(FileNotFoundError):
        await until(lambda: state_of(child) == "Z")


# --- definitions -----------------------------------------------------------------------------------------


async def test_a_changed_definition_is_held_back_until_an_operator_accepts_exactly_it():
    async with served() as rig:
        await rig.ready()
        before = rig.registry.resolve("fx.echo").spec.digest_hex
        assert rig.ledger.kinds() == ["mcp_server_set", "mcp_definitions_pinned"]
        await rig.call("fx.change_echo")
        await until(lambda: rig.registry.resolve("fx.echo") is None)
        assert rig.ledger.kinds()[-1] == "mcp_definitions_held"
        assert "fx.echo" not in {spec.id for spec in rig.registry.specs()}
        assert rig.registry.resolve("fx.write_note") is not None
        digest, changes = rig.registry.differences("fx")
        assert [change.name for change in changes] == ["echo"]
        assert "version 1" in changes[0].before.body["description"]
        assert "version 2" in changes[0].after.body["description"]
        with pytest.raises(CallerError, match="something else"):
            await rig.registry.accept("fx", "0" * 64, "operator")
        await rig.registry.accept("fx", digest, "operator")
        after = rig.registry.resolve("fx.echo").spec.digest_hex
        assert after != before
        assert rig.ledger.chain[-1].event["by"] == "operator"


async def test_pins_survive_a_restart_and_a_change_meanwhile_is_found():
    async with served() as rig:
        await rig.ready()
        await rig.registry.stop()
        stored = json.loads(rig.ledger.settings["mcp.pins.fx"])
        stored["tools"]["echo"]["description"] = "what it once said"
        rig.ledger.settings["mcp.pins.fx"] = json.dumps(stored).encode()
        rig.new_registry()
        rig.registry.start()
        assert rig.registry.resolve("fx.write_note") is not None, "accepted tools are there before the server is"
        await rig.ready()
        assert rig.registry.resolve("fx.echo") is None
        assert [change.name for change in rig.registry.differences("fx")[1]] == ["echo"]


async def test_with_review_nothing_is_offered_before_an_operator_looked():
    async with served(review=True) as rig:
        await rig.ready()
        assert list(rig.registry.specs()) == []
        digest, changes = rig.registry.differences("fx")
        assert len(changes) > 30
        await rig.registry.accept("fx", digest, "operator")
        assert rig.registry.resolve("fx.echo") is not None


async def test_rules_say_what_a_tool_is_and_hints_only_where_no_rule_does():
    rules = [
        {"tool": "echo", "category": "admin", "cost_microusd": 5},
        {"tool": "test_*", "category": "write"},
        {"tool": "forge", "hidden": True},
    ]
    async with served(rules=rules) as rig:
        await rig.ready()
        specs = {spec.id: spec for spec in rig.registry.specs()}
        assert (specs["fx.echo"].category, specs["fx.echo"].cost_microusd) == ("admin", 5)
        assert specs["fx.test_simple_text"].category == "write"
        assert specs["fx.write_note"].category == "write"
        assert specs["fx.change_echo"].category == "read"
        assert rig.registry.resolve("fx.forge") is None
        assert all(spec.net_access and spec.source == "mcp:fx" for spec in specs.values())


# --- compatibility ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "body", "state"),
    [
        ((), {}, State.REFUSED),
        (("--announce",), {}, State.READY),
        ((), {"allow_incompatible": True}, State.READY),
    ],
)
@pytest.mark.parametrize("era", ["stateless", "handshake"])
async def test_in_ga_a_server_announces_the_profile_or_is_let_in_by_an_operator(era, options, body, state):
    async with served("stdio", era, *options, needs_profile=True, **body) as rig:
        await rig.ready(state=state)
        if state is State.REFUSED:
            await until(lambda: "mcp_server_refused" in rig.ledger.kinds())
            assert rig.ledger.chain[-1].event["reason"] == "remote_mcp_incompatible"
            with pytest.raises(UpstreamError) as caught:
                await rig.call("fx:resources.list")
            assert (caught.value.code, caught.value.sent) == ("remote_mcp_incompatible", False)
        else:
            assert rig.ledger.chain[0].event["allow_incompatible"] is bool(body)
            assert rig.registry.resolve("fx.echo") is not None


# --- descriptions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server_id", "body"),
    [
        ("Fx", {"command": "x"}),
        ("a.b", {"command": "x"}),
        ("", {"command": "x"}),
        ("fx", {}),
        ("fx", {"command": "x", "endpoint_url": "https://x.example/mcp"}),
        ("fx", {"endpoint_url": "file:///etc/passwd"}),
        ("fx", {"endpoint_url": "https://user:pass@x.example/mcp"}),
        ("fx", {"endpoint_url": "https://x.example/ mcp"}),
        ("fx", {"command": "x\0y"}),
        ("fx", {"command": "x", "args": ["a"] * 65}),
        ("fx", {"command": "x", "env": {"LD_PRELOAD": "/tmp/x.so"}}),
        ("fx", {"command": "x", "env": {"BRIEFCASE_DATA_DIR": "/"}}),
        ("fx", {"command": "x", "secret_env": {"A": "Not A Name"}}),
        ("fx", {"command": "x", "env": {"A": "1"}, "secret_env": {"A": "known"}}),
        ("fx", {"command": "x", "rules": [{"tool": "*", "category": "Read"}]}),
        ("fx", {"command": "x", "rules": [{"tool": "*", "cost_microusd": -1}]}),
        ("fx", {"command": "x", "timeout_ms": 50}),
        ("fx", {"command": "x", "timeout_ms": 600_001}),
        ("fx", {"command": "x", "start_timeout_ms": 0}),
        ("fx", {"command": "x", "max_message_bytes": 1}),
        ("fx", {"command": "x", "headers": {"X-Org": "acme"}}),
        ("fx", {"endpoint_url": "https://x.example/mcp", "headers": {"Authorization": "Bearer x"}}),
        ("fx", {"endpoint_url": "https://x.example/mcp", "headers": {"Host": "y.example"}}),
        ("fx", {"endpoint_url": "https://x.example/mcp", "headers": {"X-A": "a\r\nX-B: b"}}),
        ("fx", {"endpoint_url": "https://x.example/mcp", "headers": {"X A": "a"}}),
        ("fx", {"endpoint_url": "https://x.example/mcp", "header_secrets": {"mcp-session-id": {"secret": "known"}}}),
        ("fx", {"endpoint_url": "https://x.example/mcp", "header_secrets": {"X-A": {"secret": "Not A Name"}}}),
        ("fx", {"endpoint_url": "https://x.example/mcp", "header_secrets": {"X-A": {"secret": "k", "prefix": "\n"}}}),
        (
            "fx",
            {
                "endpoint_url": "https://x.example/mcp",
                "bearer_secret": "known",
                "header_secrets": {"authorization": {"secret": "known"}},
            },
        ),
    ],
)
async def test_a_description_that_is_not_as_expected_is_refused(server_id, body):
    rig = Rig(None)
    with pytest.raises(CallerError):
        await rig.registry.set_server(server_id, body, "operator")
    assert rig.ledger.chain == []


async def test_a_deleted_server_is_gone_with_its_pins():
    async with served() as rig:
        await rig.ready()
        await rig.registry.delete_server("fx", "operator")
        assert rig.registry.resolve("fx.echo") is None
        assert rig.registry.resolve("fx:resources.list") is None
        assert json.loads(rig.ledger.settings["mcp.servers"]) == []
        assert rig.ledger.kinds()[-1] == "mcp_server_deleted"
        with pytest.raises(CallerError, match="no server"):
            rig.registry.connection("fx")


async def test_an_address_that_is_not_listed_is_never_reached():
    outbound = GuardedOutbound(())
    rig = Rig(outbound)
    await rig.registry.set_server("fx", {"endpoint_url": "http://127.0.0.1:9/mcp"}, "operator")
    await until(lambda: rig.registry.connection("fx").problem)
    assert "allow_private" in rig.registry.connection("fx").problem
    await rig.registry.stop()
    await outbound.close()
