"""The root command, and the one place where errors become messages and exit codes.

Exit codes are those of `briefcase.model.errors.CODES`, and beside them:

| code | when |
|---|---|
| 0 | it was done |
| 10 | the call waits for a person's approval |
| 130 | interrupted (128 + SIGINT) |
| 141 | whoever read the output left (128 + SIGPIPE) |

With `--json` an error is one JSON object on standard error, in the daemon's own form: `code`, `message`, and `hint`
and `request_id` where there are any.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from briefcase import __version__
from briefcase.edges.cli.app import App, Root
from briefcase.edges.cli.late import logs
from briefcase.edges.cli.lazy import Lazy, LazyGroup, example
from briefcase.edges.cli.messages import complain, wire_of
from briefcase.model.errors import CODES, BriefcaseError

EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141

COMMANDS: Final[Mapping[str, Lazy]] = {
    "up": Lazy("briefcase.edges.cli.up:up", "Start the daemon, make one demonstration call, stay up until Ctrl-C."),
    "daemon": Lazy("briefcase.edges.cli.daemon:daemon", "Run the daemon in the foreground until SIGTERM or Ctrl-C."),
    "provider-gateway": Lazy(
        "briefcase.edges.cli.provider_gateway:provider_gateway", "Run the reference provider until SIGTERM or Ctrl-C."
    ),
    "gateway": Lazy("briefcase.edges.cli.gateway:gateway", "Serve MCP to agents, in front of the daemon."),
    "setup": Lazy("briefcase.edges.cli.setup:setup", "Put a coding agent's client behind the daemon, or undo it."),
    "tools": Lazy("briefcase.edges.cli.tools:tools", "List, call, import, remove and check tools."),
    "approvals": Lazy(
        "briefcase.edges.cli.approvals:approvals",
        "See what waits for a person; approve it, deny it, or take a yes back.",
    ),
    "grants": Lazy("briefcase.edges.cli.grants:grants", "See what passes without being asked again, and end it."),
    "ui": Lazy("briefcase.edges.cli.ui:ui", "Open the operator page in a browser."),
    "receipts": Lazy("briefcase.edges.cli.receipts:receipts", "List, show and verify the receipt chain."),
    "backup": Lazy("briefcase.edges.cli.backup:backup", "Make, verify and restore backups."),
    "budgets": Lazy("briefcase.edges.cli.budgets:budgets", "See and set what may be spent in a day."),
    "policy": Lazy("briefcase.edges.cli.policy:policy", "Show, check, compare and set the policy."),
    "providers": Lazy(
        "briefcase.edges.cli.providers:providers", "Name providers, log in to them, and contain one that misbehaves."
    ),
    "mcp": Lazy("briefcase.edges.cli.mcp:mcp", "Put MCP servers behind the daemon."),
    "secrets": Lazy("briefcase.edges.cli.secrets:secrets", "Keep the credentials that tools are called with."),
    "agents": Lazy("briefcase.edges.cli.agents:agents", "Name agents and give each its own token."),
    "operators": Lazy(
        "briefcase.edges.cli.operators:operators", "Name the people who operate, approve or audit, each with a token."
    ),
    "signers": Lazy("briefcase.edges.cli.signers:signers", "Pair and revoke the devices whose signature is a yes."),
    "signer": Lazy("briefcase.edges.cli.signer:signer", "Be a paired device: see what waits, and sign a yes or a no."),
    "notifier": Lazy("briefcase.edges.cli.notifier:notifier", "Tell people what waits and what is wrong."),
    "notify": Lazy("briefcase.edges.cli.notify:notify", "Say whom the notifier tells, and try it."),
    "hook": Lazy("briefcase.edges.cli.hook:hook", "Answer one event of a coding agent's hook; exit 2 blocks the call."),
    "witness": Lazy("briefcase.edges.cli.witness:witness", "Have others vouch for the receipt log."),
    "control-plane": Lazy(
        "briefcase.edges.cli.control_plane:control_plane", "Enrol with a control plane, sync with it, leave it."
    ),
    "tighten": Lazy(
        "briefcase.edges.cli.tighten:tighten", "Require approval, or disable, until a time or until lifted."
    ),
    "freeze": Lazy("briefcase.edges.cli.tighten:freeze", "Deny every call at once."),
    "thaw": Lazy("briefcase.edges.cli.tighten:thaw", "End a freeze."),
    "diagnostics": Lazy("briefcase.edges.cli.diagnostics:diagnostics", "Check, measure and gather evidence."),
    "soak": Lazy("briefcase.edges.cli.soak:soak", "Join soak reports into evidence."),
    "slo": Lazy("briefcase.edges.cli.soak:slo", "Hold a running deployment against its objectives."),
    "conformance": Lazy(
        "briefcase.edges.cli.conformance:conformance", "Hold a server to the contract and write a report."
    ),
    "release": Lazy("briefcase.edges.cli.release:release", "Verify a release before it is installed."),
    "fleet": Lazy("briefcase.edges.cli.fleet:fleet", "Steer a fleet through its control plane."),
    "identity": Lazy("briefcase.edges.cli.identity:identity", "Show who this daemon is."),
    "config": Lazy("briefcase.edges.cli.config:config", "Show the settings, and where each came from."),
    "help": Lazy("briefcase.edges.cli.help:show_help", "Print a page of the documentation, or list them."),
    "completion": Lazy("briefcase.edges.cli.completion:completion", "Print a completion script for your shell."),
}


MEANT: Final[Mapping[str, str]] = {
    "add": "mcp servers upsert",
    "approve": "approvals approve",
    "call": "tools call",
    "deny": "approvals deny",
    "doctor": "diagnostics check",
    "export": "receipts export",
    "health": "diagnostics check",
    "import": "tools import",
    "init": "up",
    "list": "tools list",
    "login": "providers oauth-login",
    "logs": "help ops#logs",
    "ls": "tools list",
    "remove": "tools remove",
    "restore": "backup restore",
    "rm": "tools remove",
    "run": "up",
    "serve": "daemon",
    "server": "mcp servers",
    "servers": "mcp servers",
    "settings": "config show",
    "start": "up",
    "status": "diagnostics check",
    "verify": "receipts verify",
    "version": "--version",
    "watch": "approvals watch",
}
"""What people type at first, and what it is called here."""


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    meant=MEANT,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=example("briefcase up", 'briefcase tools call echo --args-json \'{"text":"hello"}\''),
)
@click.version_option(__version__, prog_name="briefcase", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--sign-with",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Sign what is changed with a paired device's key (`signer init`).",
)
@click.pass_obj
def cli(app: App, *, debug: bool, sign_with: Path | None) -> None:
    """The trust boundary between AI agents and everything they can touch.

    Every tool call is checked, decided, approved where it must be, and receipted before it is answered. The daemon
    does it; these commands steer it. They find it by BRIEFCASE_DATA_DIR, BRIEFCASE_DAEMON_UNIX_SOCKET or
    BRIEFCASE_DAEMON_BASE_URL, and use the operator's token unless BRIEFCASE_AUTH_TOKEN names another.
    """
    app.debug = debug
    app.sign_with = sign_with


def main(root: Root, args: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        root: the composition root.
        args: the arguments without the program's name; None means this process's own.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if args is None else args)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a narrow locale must not turn a result into a crash
    try:
        code = _run(App(root, os.environ), given)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return EXIT_BROKEN_PIPE
    return code


def _run(app: App, args: list[str]) -> int:
    as_json = "--json" in args
    try:
        result = cli.main(args, prog_name="briefcase", obj=app, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        complain(_usage(error), as_json=as_json)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo(err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except SystemExit as left:
        if left.code == 1:  # how click itself leaves where the reader has left; completion leaves with 0
            raise BrokenPipeError from None
        raise
    except BriefcaseError as error:
        _show_traceback(app)
        _complain(app, wire_of(error), as_json=as_json)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: one line for the person, the rest under --debug
        _show_traceback(app)
        _complain(app, _internal(error), as_json=as_json)
        return CODES["internal"].exit_code
    return result if isinstance(result, int) else 0


def _complain(app: App, wire: Mapping[str, str], *, as_json: bool) -> None:
    """Say what went wrong; a server that no person started on a terminal says it as a line of its log."""
    if not app.serves or sys.stderr.isatty():
        complain(wire, as_json=as_json)
        return
    line = logs.failure_line(wire)
    click.echo(line, err=True)
    if logs.LOG.path is not None and sys.__stderr__ is not None:
        click.echo(line, file=sys.__stderr__)  # whoever started it does not read the log's file


def _usage(error: click.ClickException) -> dict[str, str]:
    context = getattr(error, "ctx", None)
    hint = f"see `{context.command_path} --help`" if context else ""
    return {"code": "usage", "message": error.format_message(), "hint": hint}


def _internal(error: Exception) -> dict[str, str]:
    return {
        "code": "internal",
        "message": f"the command failed inside: `{type(error).__name__}`",
        "hint": "run it again with `briefcase --debug …` and report what it shows",
    }


def _show_traceback(app: App) -> None:
    if app.debug:
        traceback.print_exc()


def _discard_output() -> None:
    """Let the interpreter's own flush at exit go nowhere, instead of failing a second time."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
