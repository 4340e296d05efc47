"""`briefcase hook`, as `--help` and completion know it; `__main__` runs it without this module, and without click."""

from __future__ import annotations

import os
import sys

import click

from briefcase.edges.cli.lazy import example
from briefcase.edges.hook.main import TIMEOUTS_MS, run


@click.command(
    epilog=example(
        "briefcase hook claude-code --token-file ~/.config/briefcase/claude-code.token",
        "briefcase hook gemini --timeout-ms 20000 --token-file ~/.config/briefcase/gemini.token",
    )
)
@click.argument("client", type=click.Choice(list(TIMEOUTS_MS)))
@click.option("--token-file", default="", help="Where the agent's token is, instead of BRIEFCASE_AUTH_TOKEN.")
@click.option(
    "--timeout-ms", type=click.IntRange(1, 9_999_999), help="How long the answer may take, then the call is blocked."
)
def hook(client: str, token_file: str, timeout_ms: int | None) -> None:
    """Answer one event of a coding agent's hook; exit 2 blocks the call.

    Reads the client's event from standard input, asks the daemon, and prints the client's own answer. Whatever goes
    wrong ends with exit 2: `briefcase help hooks`.
    """
    words = [client, "--token-file", token_file]
    sys.exit(run([*words, "--timeout-ms", str(timeout_ms)] if timeout_ms else words, os.environ))
