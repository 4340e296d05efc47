"""`briefcase up`: what a first user needs. The daemon on its embedded stores, one call to look at, the next step.

The daemon runs in this very process. Once it serves, one demonstration call goes over its real socket, and its
decision, its receipts and where the microseconds went are shown. `--once` leaves after that, with an exit code.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Final

import click

from briefcase.core.wire.calls import CALL_ANSWER, CallAnswer, CallOk
from briefcase.core.wire.identity import ProfileAnswer
from briefcase.core.wire.receipts import ReceiptList, ReceiptRecord
from briefcase.edges.cli.app import ANSWER_TIMEOUT_S, App, pass_app
from briefcase.edges.cli.client import Address, Client, token_of
from briefcase.edges.cli.late import asyncio, json_output, render, rich_text
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import complain, note, wire_of
from briefcase.edges.cli.tools import exit_code_of
from briefcase.edges.client.expected import expected_daemon
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import CODES, BriefcaseError

DEMO_TOOL: Final = "echo"
DEMO_ARGS: Final = {"text": "hello from briefcase"}
NEXT_STEPS: Final = (
    'tools call note_add --args-json \'{"text":"rotate the keys"}\'',
    "approvals watch",
)
BAR_CHARS: Final = 30
REST: Final = "socket"  # what the daemon did not spend: the way there and back, and this client


@click.command(epilog=example("briefcase up", "briefcase up --once"))
@click.option("--once", is_flag=True, help="Leave after the demonstration.")
@pass_app
def up(app: App, *, once: bool) -> int:
    """Start the daemon, make one demonstration call, stay up until Ctrl-C."""
    demonstration = Demonstration(app, once=once)
    app.root.serve(app.environ, demonstration.start)
    return demonstration.finish()


class Demonstration:
    """One call on a thread of its own, while the daemon has the main one.

    Args:
        app: the environment; the daemon is this process, so variables that name another are not for it.
        once: stop the daemon when the call is done.
    """

    def __init__(self, app: App, *, once: bool) -> None:
        self._app = app
        self._once = once
        self._thread = threading.Thread(target=self._run, name="demonstration", daemon=True)
        self._exit_code = CODES["internal"].exit_code

    def start(self) -> None:
        """Begin: calls can be served now. Whoever closes the terminal wants the daemon to stop, as Ctrl-C does."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _stop)
        self._thread.start()

    def finish(self) -> int:
        """The exit code, after the daemon has stopped."""
        if self._once:
            self._thread.join()
            return self._exit_code
        return 0

    def _run(self) -> None:
        try:
            self._exit_code = self._demonstrate()
        except BriefcaseError as error:
            complain(wire_of(error))
            self._exit_code = error.exit_code
        finally:
            if self._once:
                _stop()

    def _demonstrate(self) -> int:
        app = self._app
        own_variables = {name: app.environ[name] for name in app.environ if name != "BRIEFCASE_AUTH_TOKEN"}
        socket_path = app.socket_path
        client = Client(
            Address(socket_path=str(socket_path)),
            lambda: expected_daemon(own_variables, lambda: app.data_dir),
            lambda: token_of(own_variables, lambda: app.data_dir),
            timeout_s=ANSWER_TIMEOUT_S,
        )
        client.get(
            "/v1/profile", ProfileAnswer
        )  # what the first request of a process costs is none of the call's own time

        began_ns = time.monotonic_ns()
        context = {"request_id": str(uuid.uuid4())}
        call = {"tool_id": DEMO_TOOL, "args": DEMO_ARGS, "context": context}
        reply = client.post("/v1/tools/call", CALL_ANSWER, {"call": call})
        whole_us = (time.monotonic_ns() - began_ns) // 1_000
        recorded = client.get("/v1/receipts", ReceiptList, limit=2, tool_id=DEMO_TOOL).answer.receipts
        show_call(app, reply, recorded)
        show_timing(app, reply, whole_us)
        if not self._once:
            show_next_steps(app, socket_path)
        return exit_code_of(reply.answer)


def _stop() -> None:
    """Stop the daemon of this process as a service manager would: it drains."""
    os.kill(os.getpid(), signal.SIGTERM)


def show_call(app: App, reply: Reply[CallAnswer], recorded: list[ReceiptRecord]) -> None:
    """Write what was asked, decided, answered and recorded; the receipts come newest first."""
    answer = reply.answer
    oldest = recorded[-1].event
    policies = ", ".join(f"`{name}`" for name in oldest.get("policy_ids", ()))
    kinds = ", ".join(f"{receipt.id} {receipt.event['kind']}" for receipt in reversed(recorded))
    shown = answer.result.content if isinstance(answer, CallOk) else reply.document
    app.screen.line()
    app.screen.fields(
        [
            ("  call", f"{DEMO_TOOL} {json_output.json_text({**DEMO_ARGS})}"),
            (
                "  decision",
                render.styled(oldest["decision"]).append(f", by policy {policies}" if policies else "", "default"),
            ),
            ("  answer", json_output.json_text(shown)),
            ("  receipts", f"{kinds}: on disk before the answer left"),
            ("  chain head", render.dim(recorded[0].hash_hex)),
        ]
    )


def show_timing(app: App, reply: Reply[CallAnswer], whole_us: int) -> None:
    """Write where the time went, phase by phase."""
    phases = [*reply.timing_us, (REST, max(0, whole_us - sum(us for _, us in reply.timing_us)))]
    longest = max(us for _, us in phases) or 1
    rows = [
        (f"  {phase}", f"{us:,}", rich_text.Text("█" * round(us / longest * BAR_CHARS) or "▏", "cyan"))
        for phase, us in phases
    ]
    app.screen.line()
    app.screen.table(("  where the time went", ">µs", ""), [*rows, ("  in all", f"{whole_us:,}", "")], empty="")


def show_next_steps(app: App, socket_path: Path) -> None:
    """Write commands that work when pasted into a second terminal, wherever this one was started."""
    command = " ".join((*_variables(app, socket_path), *_program()))
    click.echo("\nnow, in a second terminal:\n")
    for step in NEXT_STEPS:
        click.echo(f"  {command} {step}")
    click.echo()
    note("Ctrl-C stops the daemon")
    sys.stdout.flush()


def _program() -> list[str]:
    """How this program is called from anywhere."""
    started = Path(sys.argv[0])
    found = shutil.which("briefcase")
    if found and Path(found).resolve() == started.resolve():
        return ["briefcase"]
    if started.name == "__main__.py":
        return [shlex.quote(sys.executable), "-m", "briefcase"]
    return [shlex.quote(str(started.absolute()))]


def _variables(app: App, socket_path: Path) -> list[str]:
    """What the second terminal does not know of this one's environment."""
    variables = []
    if app.environ.get("BRIEFCASE_DATA_DIR") or app.environ.get("XDG_DATA_HOME"):
        variables.append(f"BRIEFCASE_DATA_DIR={shlex.quote(str(app.data_dir))}")
    if app.environ.get("BRIEFCASE_UNIX_SOCKET"):
        variables.append(f"BRIEFCASE_DAEMON_UNIX_SOCKET={shlex.quote(str(socket_path))}")
    return variables
