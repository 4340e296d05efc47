"""A daemon that answers what it was told to, on a Unix socket; a browser; and one run of the command line with them."""

from __future__ import annotations

import http.server
import io
import json
import os
import socketserver
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from briefcase.daemon.configuration import configuration
from briefcase.edges.cli.main import main
from briefcase.model.configuration import Configuration

TOKEN = "o" * 43
STATE = "state-of-this-log-in"
BACK = "http://127.0.0.1:49152/callback"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        assert isinstance(self.server, Server)
        daemon = self.server.daemon
        daemon.seen.append((self.command, self.path, json.loads(body) if body else None, dict(self.headers)))
        answer = daemon.answers.get((self.command, path), (404, {"code": "not_found", "message": f"nothing at {path}"}))
        answer = answer() if callable(answer) else answer
        status, payload, *headers = answer if isinstance(answer, tuple) else (200, answer)
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the names http.server calls

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "unix"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    daemon: CannedDaemon

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that stopped waiting is a test's intention."""


class CannedDaemon:
    """`answers[method, path]` is a payload, a tuple of status, payload and headers, or a function that gives one."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Any] = {}
        self.seen: list[tuple[str, str, Any, dict[str, str]]] = []

    def __enter__(self) -> Self:
        self.directory = tempfile.TemporaryDirectory(prefix="bc-")
        self.data_dir = Path(self.directory.name)
        self.socket_path = self.data_dir / "briefcased.sock"
        token_file = self.data_dir / "auth_token"
        token_file.touch(0o600)
        token_file.write_text(TOKEN + "\n")
        self.server = Server(str(self.socket_path), Handler)
        self.server.daemon = self
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        self.directory.cleanup()

    def bodies(self, method: str, path: str) -> list[Any]:
        return [body for seen_method, seen_path, body, _ in self.seen if (seen_method, seen_path) == (method, path)]


def begins_login(daemon: CannedDaemon, path: str, named: dict[str, str], page: str, **fields: object) -> None:
    """Have the daemon begin log-ins at a page, and finish them.

    Args:
        daemon: the canned one.
        path: of what is logged in to.
        named: its id, as the daemon's answers name it.
        page: where a person is sent.
        fields: what else the daemon answers at the start.
    """

    def start() -> dict[str, object]:
        asked = daemon.bodies("POST", f"{path}/oauth/start")[-1]
        query = urlencode({"redirect_uri": asked["redirect_uri"], "state": STATE})
        return {"authorization_url": f"{page}?{query}", "state": STATE, **named, **fields}

    daemon.answers["POST", f"{path}/oauth/start"] = start
    daemon.answers["POST", f"{path}/oauth/exchange"] = named


class AgreeingBrowser:
    """In place of `webbrowser.open`: a person who agrees, and is sent back while the command waits."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._following: list[threading.Thread] = []

    def open(self, address: str) -> bool:
        back = parse_qs(urlsplit(address).query)
        answer = urlencode({"code": "a-code", "state": back["state"][0], "iss": self._issuer})
        following = threading.Thread(target=self._follow, args=(f"{back['redirect_uri'][0]}?{answer}",))
        self._following.append(following)
        following.start()
        return True

    def close(self) -> None:
        """Wait for the page it was sent back to; it was sent there once."""
        (following,) = self._following
        following.join()

    @staticmethod
    def _follow(address: str) -> None:
        with urllib.request.urlopen(address, timeout=120) as page:
            assert b"a-code" not in page.read()


class FakeRoot:
    """The composition root of a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir
        self.serve_error: Exception | None = None

    def serve(self, environ: Mapping[str, str], on_ready: Callable[..., object] | None = None) -> None:
        if self.serve_error is not None:
            raise self.serve_error

    def configuration(self, environ: Mapping[str, str]) -> Configuration:
        return configuration(environ)


class Ran:
    """What one run of the command line came to."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


def run(root: FakeRoot, *args: str, stdin: bytes = b"", **environment: str) -> Ran:
    """Run one command line in this process, with the environment's own BRIEFCASE variables taken away."""
    kept, streams = dict(os.environ), (sys.stdin, sys.stdout, sys.stderr)
    for name in [name for name in os.environ if name.startswith("BRIEFCASE_")]:
        del os.environ[name]
    os.environ.update({"BRIEFCASE_DATA_DIR": str(root.directory), **environment})
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    written = (io.BytesIO(), io.BytesIO())
    sys.stdout, sys.stderr = (io.TextIOWrapper(buffer, write_through=True) for buffer in written)
    try:
        try:
            code = main(root, list(args))
        except SystemExit as left:  # click's completion leaves so
            code = left.code if isinstance(left.code, int) else 0
        out, err = (buffer.getvalue().decode() for buffer in written)
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        os.environ.clear()
        os.environ.update(kept)
    return Ran(code, out, err)
