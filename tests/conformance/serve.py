"""A daemon, the fixture server behind it, and a gateway in front: what the conformance suite and other clients talk to.

`python tests/conformance/serve.py [--era stateless|handshake|sse] [--transport stdio|http]` prints four lines (the URL
of the one server's view, the full view's, the daemon's socket, the agent's token) and serves until its input ends.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

TESTS = Path(__file__).parent.parent
sys.path.insert(0, str(TESTS))

from support.commands import await_address  # noqa: E402 - found by path
from support.daemons import RunningDaemon  # noqa: E402 - likewise

FIXTURE = TESTS / "servers" / "fixture_server.py"


def wait_for(what: str, check) -> None:
    deadline = time.monotonic() + 20
    while not check():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not happen in 20 s")
        time.sleep(0.02)


def serve(options, stack: ExitStack) -> None:
    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bc-")))
    if options.transport == "http":
        port_of = subprocess.Popen(
            [sys.executable, FIXTURE, "http", "--era", options.era], stdout=subprocess.PIPE, text=True
        )
        stack.callback(port_of.kill)
        url = port_of.stdout.readline().strip()
        body = {"endpoint_url": url}
        root.joinpath("data").mkdir(mode=0o700)
        allowed = url.removeprefix("http://").partition("/")[0]
        (root / "data" / "briefcase.toml").write_text(f'[net]\nallow_private = ["{allowed}"]\n')
    else:
        body = {"command": sys.executable, "args": [str(FIXTURE), "stdio", "--era", options.era]}
    daemon = stack.enter_context(RunningDaemon(root / "data"))
    body["rules"] = [{"tool": "*", "category": "read"}]
    daemon.request("POST", "/v1/mcp/servers/fixture", body)
    wait_for(
        "the server's connection", lambda: daemon.request("GET", "/v1/mcp/servers")[1]["servers"][0]["state"] == "ready"
    )
    token = daemon.request("POST", "/v1/agents", {"name": "conformance"})[1]["token"]
    env = {
        **daemon.env,
        "BRIEFCASE_AUTH_TOKEN": token,
        "BRIEFCASE_MCP_HTTP_ADDR": f"127.0.0.1:{options.port}",
        "BRIEFCASE_MCP_NO_STDIO": "1",
        "BRIEFCASE_MCP_HOLD_SECS": "0",
    }
    gateway = subprocess.Popen([sys.executable, "-m", "briefcase", "gateway"], env=env, stderr=subprocess.PIPE)
    stack.callback(gateway.wait)
    stack.callback(gateway.terminate)
    url = await_address(gateway)
    sys.stdout.write(f"{url}/fixture\n{url}\n{daemon.socket_path}\n{token}\n")
    sys.stdout.flush()
    os.read(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--era", choices=["stateless", "handshake", "sse"], default="stateless")
    parser.add_argument("--transport", choices=["stdio", "http"], default="stdio")
    parser.add_argument("--port", type=int, default=0)
    with ExitStack() as stack:
        serve(parser.parse_args(), stack)


if __name__ == "__main__":
    main()
