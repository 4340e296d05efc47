"""`briefcase.client` at a real daemon, plain and in a loop: decided, waited for, run and reported."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import uuid

import pytest

from briefcase.client import (
    Allowed,
    ApprovalPending,
    AsyncBoundary,
    Boundary,
    BoundaryFault,
    Denied,
    Refused,
    Waiting,
)
from briefcase.model.reasons import next_step_of
from support.addresses import free_port
from support.daemons import RunningDaemon
from support.waiting import until, wait_until

FREE = {"text": "hi"}


def declare(boundary, done):
    """The functions that these tests' programs declare."""

    @boundary.tool(category="read")
    def look_up(word: str, times: int = 1) -> str:
        """Look a word up."""
        done.append((word, times))
        return word * times

    @boundary.tool(category="write", cost="0.01", wait_s=0)
    def send_mail(to: str, parts: list) -> None:
        """Send one letter."""
        done.append((to, parts))

    @boundary.tool(category="read")
    def fall_over() -> None:
        """Raise."""
        done.append("fell")
        raise KeyError("a secret")

    return look_up, send_mail, fall_over


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("client") / "data"
    (data_dir / "tools").mkdir(mode=0o700, parents=True)
    data_dir.chmod(0o700)
    program = Boundary("/nowhere", token="bca_x")
    declare(program, [])
    manifest = data_dir / "tools" / "program.json"
    manifest.write_text(program.manifest())
    manifest.chmod(0o600)
    with RunningDaemon(data_dir) as running:
        running.agent = running.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        yield running
        assert running.request("POST", "/v1/receipts/verify")[1]["ok"] is True


@pytest.fixture
def boundary(daemon, monkeypatch):
    for name, value in daemon.env.items():
        if name.startswith("BRIEFCASE_"):
            monkeypatch.setenv(name, value)
    for one in pending(daemon):
        daemon.request("POST", f"/v1/approvals/{one['id']}/deny", {})
    with Boundary(token=daemon.agent) as made:
        yield made


def receipts(daemon, **wanted):
    listed = daemon.request("GET", "/v1/receipts?limit=50")[1]["receipts"]
    return [one["event"] for one in listed if wanted.items() <= one["event"].items()]


def pending(daemon):
    found = daemon.request("GET", "/v1/approvals")[1]["approvals"]
    return [one for one in found if one["principal"] == "scout"]


def decide_soon(daemon, verb, body):
    def decide():
        wait_until(lambda: pending(daemon))
        daemon.request("POST", f"/v1/approvals/{pending(daemon)[0]['id']}/{verb}", body)

    thread = threading.Thread(target=decide)
    thread.start()
    return thread


def test_a_call_in_a_block_is_decided_before_it_and_reported_after_it(daemon, boundary):
    with boundary.call("look_up", {"word": "a", "times": 1}) as call:
        call.output = b"found"
        assert not receipts(daemon, intent_id=call.receipt_id)
    [outcome] = receipts(daemon, intent_id=call.receipt_id)
    assert outcome["status"] == "ok"
    assert outcome["output_bytes"] == 5
    with pytest.raises(BoundaryFault, match="one report"):
        call.succeeded()


def test_what_leaves_the_block_by_an_exception_is_reported_by_its_name_alone(daemon, boundary):
    with pytest.raises(ZeroDivisionError), boundary.call("look_up", {"word": "b", "times": 1}) as call:
        _ = 1 / 0
    [outcome] = receipts(daemon, intent_id=call.receipt_id)
    assert (outcome["status"], outcome["error"]) == ("error", "ZeroDivisionError")


def test_a_plain_call_is_reported_by_hand(daemon, boundary):
    call = boundary.call("look_up", {"word": "c", "times": 1})
    call.cost_microusd = 7
    call.failed("no such word")
    [outcome] = receipts(daemon, intent_id=call.receipt_id)
    assert outcome["error"] == "no such word"


def test_a_denial_has_its_reason_its_receipt_and_what_to_do(daemon, boundary):
    with pytest.raises(Denied) as caught:
        boundary.call("nobodys_tool", {})
    denied = caught.value
    assert denied.reason == "unknown_tool"
    assert denied.receipt_id in {one["id"] for one in receipts(daemon)}
    assert denied.next_step == next_step_of("unknown_tool")
    assert denied.next_step in str(denied)
    assert boundary.decide("nobodys_tool", {}) == Refused("unknown_tool", denied.receipt_id)


def test_a_call_waits_for_a_person_and_goes_on_with_their_yes_once(daemon, boundary):
    args = {"to": "ann", "parts": ["yes"]}
    deciding = decide_soon(daemon, "approve", {})
    with boundary.call("send_mail", args, wait_s=50):
        pass
    deciding.join()
    again = boundary.decide("send_mail", args, wait_s=0)
    assert isinstance(again, Waiting), "one yes is for one call"


def test_a_no_reaches_the_program_with_its_reason(daemon, boundary):
    deciding = decide_soon(daemon, "deny", {"reason": "write by hand"})
    with pytest.raises(Denied, match="write by hand"):
        boundary.call("send_mail", {"to": "bob", "parts": ["no"]}, wait_s=50)
    deciding.join()


def test_a_call_that_nobody_decides_is_pending_and_the_same_request_goes_on(daemon, boundary):
    args = {"to": "cyn", "parts": []}
    with pytest.raises(ApprovalPending) as caught:
        boundary.call("send_mail", args, wait_s=0)
    waiting = caught.value
    daemon.request("POST", f"/v1/approvals/{waiting.approval_id}/approve", {})
    with boundary.call("send_mail", args, wait_s=0, request_id=waiting.request_id):
        pass


def test_one_yes_runs_one_call_whoever_names_its_request_again(daemon, boundary):
    args, request_id = {"to": "dan", "parts": []}, str(uuid.uuid4())
    waiting = boundary.decide("send_mail", args, wait_s=0, request_id=request_id)
    daemon.request("POST", f"/v1/approvals/{waiting.approval_id}/approve", {})
    with boundary.call("send_mail", args, request_id=request_id):
        pass
    with pytest.raises(Denied, match="replay_detected"):
        boundary.call("send_mail", args, request_id=request_id)


def test_the_daemon_runs_a_tool_of_its_own(boundary):
    ran = boundary.run("echo", FREE)
    assert ran.content == {"echo": "hi"}
    assert ran.receipt_id > 0
    with pytest.raises(Denied):
        boundary.run("nobodys_tool", {})
    with pytest.raises(ApprovalPending):
        boundary.run("note_add", {"text": "x"}, wait_s=0)


def test_a_declared_function_runs_with_the_very_arguments_that_were_decided_on(daemon, boundary):
    done = []
    look_up, send_mail, fall_over = declare(boundary, done)
    assert look_up("ab", times=2) == "abab"
    assert look_up("ab") == "ab"
    assert done == [("ab", 2), ("ab", 1)]
    with pytest.raises(ApprovalPending) as caught:
        send_mail("ann", ["x"])
    assert len(done) == 2, "what waits has not run"
    with pytest.raises(KeyError):
        fall_over()
    newest = receipts(daemon, kind="outcome")[0]
    assert newest["error"] == "KeyError"
    assert "secret" not in json.dumps(newest)
    daemon.request("POST", f"/v1/approvals/{caught.value.approval_id}/deny", {})


@pytest.mark.parametrize("kind", ["generator", "coroutine"])
def test_a_function_that_would_run_after_its_report_is_refused(daemon, boundary, kind):
    done = []

    async def later():
        done.append("later")

    def one_by_one(word: str, times: int = 1):
        done.append(word)
        yield times

    def begun(word: str, times: int = 1):
        return later()

    function = one_by_one if kind == "generator" else begun
    function.__annotations__ = {"word": str, "times": int}
    tool = boundary.tool(category="read", tool_id="look_up")(function)
    with pytest.raises(TypeError, match="has run when it returns"):
        tool("w")
    assert done == []
    assert receipts(daemon, kind="outcome")[0]["error"] == "TypeError"


def test_arguments_that_change_while_a_person_reads_them_are_not_what_runs(daemon, boundary):
    done = []
    parts = ["as shown"]

    def approve():
        [waiting] = wait_until(lambda: pending(daemon))
        parts.append("slipped in")
        daemon.request("POST", f"/v1/approvals/{waiting['id']}/approve", {})

    @boundary.tool(category="write", cost="0.01", tool_id="send_mail", wait_s=50)
    def send(to: str, parts: list) -> None:
        """Send one letter."""
        done.append(parts)

    thread = threading.Thread(target=approve)
    thread.start()
    send("ann", parts)
    thread.join()
    assert done == [["as shown"]]


@pytest.mark.parametrize(
    ("category", "cost", "schema", "said"),
    [
        ("write", 0, None, "category"),
        ("read", "0.5", None, "cost"),
        ("read", 0, {"type": "object"}, "input_schema"),
    ],
)
def test_a_function_that_is_registered_otherwise_does_not_run(boundary, category, cost, schema, said):
    @boundary.tool(category=category, cost=cost, tool_id="look_up", input_schema=schema)
    def other(word: str, times: int = 1) -> str:
        raise AssertionError("it ran")

    with pytest.raises(BoundaryFault, match=said):
        other("a")


def test_a_function_that_nobody_registered_does_not_run(boundary):
    @boundary.tool(category="read")
    def unheard_of() -> None:
        raise AssertionError("it ran")

    with pytest.raises(BoundaryFault, match="the operator registers it") as caught:
        unheard_of()
    assert caught.value.code == "unknown_tool"


@pytest.mark.parametrize("args", [{"a": float("nan")}, {"a": b"x"}, {"a": "\ud800"}, {"a": {1, 2}}])
def test_arguments_that_json_cannot_hold_are_refused_before_anything_is_asked(boundary, args):
    with pytest.raises(BoundaryFault, match="JSON"):
        boundary.call("look_up", args)


def test_a_daemon_runs_no_callers_tool(daemon, boundary):
    call = {"tool_id": "look_up", "args": {"word": "a", "times": 1}, "context": {"request_id": str(uuid.uuid4())}}
    _, said = daemon.request("POST", "/v1/tools/call", {"call": call}, token=daemon.agent)
    assert said["status"] == "error"
    assert "run by its caller" in said["message"]


@pytest.mark.parametrize("token", ["operator", "nobody"])
def test_no_token_but_an_agents_is_taken(daemon, boundary, token):
    del boundary
    value = (daemon.data_dir / "auth_token").read_text().strip() if token == "operator" else "bca_" + "x" * 40
    with Boundary(token=value) as other, pytest.raises(BoundaryFault) as caught:
        other.decide("echo", FREE)
    assert caught.value.code == ("forbidden" if token == "operator" else "unauthorized")


def test_without_a_token_or_an_address_of_this_machine_there_is_no_boundary(monkeypatch):
    monkeypatch.delenv("BRIEFCASE_AUTH_TOKEN", raising=False)
    with pytest.raises(BoundaryFault, match="agents add"):
        Boundary("/x")
    for address in ("https://127.0.0.1", "http://example.org", "http://u@127.0.0.1", "http://127.0.0.1:x"):
        with pytest.raises(BoundaryFault, match="loopback"):
            Boundary(address, token="t")


def test_where_no_daemon_answers_nothing_runs(tmp_path):
    ran = []
    boundary = Boundary(str(tmp_path / "none.sock"), token="bca_x")
    look_up, *_ = declare(boundary, ran)
    for attempt in (lambda: look_up("a"), lambda: boundary.call("look_up", {}), lambda: boundary.run("echo", FREE)):
        with pytest.raises(BoundaryFault) as caught:
            attempt()
        assert caught.value.code == "daemon_unreachable"
        assert caught.value.next_step
    assert ran == []


def test_a_daemon_that_was_started_again_is_reached_again(tmp_path, monkeypatch):
    with RunningDaemon(tmp_path / "data") as daemon:
        for name, value in daemon.env.items():
            if name.startswith("BRIEFCASE_"):
                monkeypatch.setenv(name, value)
        token = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        with Boundary(token=token) as boundary:
            assert isinstance(boundary.decide("echo", FREE), Allowed)
            daemon.kill()
            with pytest.raises(BoundaryFault):
                boundary.decide("echo", FREE)
            daemon.start()
            assert isinstance(boundary.decide("echo", FREE), Allowed)


def test_over_tcp_the_daemon_must_prove_itself(tmp_path, monkeypatch):
    port = free_port()
    with RunningDaemon(tmp_path / "data", BRIEFCASE_TCP_ADDR=f"127.0.0.1:{port}") as daemon:
        token = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        monkeypatch.setenv("BRIEFCASE_DATA_DIR", str(daemon.data_dir))
        address = f"http://127.0.0.1:{port}"
        with Boundary(address, token=token) as boundary:
            assert isinstance(boundary.decide("echo", FREE), Allowed)
        monkeypatch.setenv("BRIEFCASE_DAEMON_DID", "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK")
        with Boundary(address, token=token) as boundary, pytest.raises(BoundaryFault) as caught:
            boundary.decide("echo", FREE)
        assert caught.value.code == "untrusted_daemon"


def test_the_import_loads_no_library_and_no_loop():
    heavy = ["asyncio", "httptools", "msgspec", "orjson", "cryptography", "http.client", "inspect", "ssl", "email"]
    code = f"import sys, briefcase.client; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- in a loop -----------------------------------------------------------------------------------------------------


@pytest.fixture
def in_loop(daemon, boundary):
    del boundary  # its variables
    return AsyncBoundary(token=daemon.agent)


async def test_an_awaited_call_is_decided_waited_for_run_and_reported(daemon, in_loop):
    async with in_loop:
        async with in_loop.call("look_up", {"word": "l", "times": 1}) as call:
            pass
        [outcome] = receipts(daemon, intent_id=call.receipt_id)
        assert outcome["status"] == "ok"
        plain = await in_loop.call("look_up", {"word": "m", "times": 1})
        await plain.failed("changed my mind")
        with pytest.raises(BoundaryFault, match="once"):
            await plain
        with pytest.raises(Denied):
            await in_loop.call("nobodys_tool", {})
        with pytest.raises(ZeroDivisionError):
            async with in_loop.call("look_up", {"word": "n", "times": 1}) as call:
                _ = 1 / 0
        assert (await in_loop.run("echo", FREE)).content == {"echo": "hi"}
        assert isinstance(await in_loop.decide("echo", FREE), Allowed)


async def test_a_declared_function_is_awaited_and_a_plain_one_is_refused(daemon, in_loop):
    del daemon
    done = []
    async with in_loop:

        @in_loop.tool(category="read")
        async def look_up(word: str, times: int = 1) -> str:
            """Look a word up."""
            done.append(word)
            return word * times

        assert await look_up("z", times=3) == "zzz"
        assert done == ["z"]
        with pytest.raises(TypeError, match="async"):
            in_loop.tool(category="read")(len)
        with pytest.raises(TypeError, match="plain"):
            Boundary("/x", token="t").tool(category="read")(look_up)


async def test_many_calls_wait_without_a_thread_for_each(daemon, in_loop):
    async with in_loop:
        before = threading.active_count()
        calls = [
            asyncio.create_task(in_loop.decide("send_mail", {"to": f"n{number}", "parts": []}, wait_s=50))
            for number in range(8)
        ]
        await until(lambda: len(pending(daemon)) == 8)
        assert threading.active_count() == before
        for one in pending(daemon):
            daemon.request("POST", f"/v1/approvals/{one['id']}/approve", {})
        assert all(isinstance(decision, Allowed) for decision in await asyncio.gather(*calls))


async def test_a_call_that_is_cancelled_midway_is_reported(daemon, in_loop):
    async with in_loop:
        entered = asyncio.Event()
        seen = []

        async def work():
            async with in_loop.call("look_up", {"word": "q", "times": 1}) as call:
                seen.append(call.receipt_id)
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: receipts(daemon, intent_id=seen[0]))
        assert receipts(daemon, intent_id=seen[0])[0]["error"] == "CancelledError"
