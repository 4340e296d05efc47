"""Where notifications go in tests: an HTTP sink on loopback that keeps what it was sent, and a mail server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from aiosmtpd.smtp import SMTP


class Sent(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class HttpSink:
    """`answer` gives the status of each request, with headers; by default 204."""

    def __init__(self, answer: Callable[[int], tuple[int, dict[str, str]]] = lambda _: (204, {})) -> None:
        self.sent: list[Sent] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                sink.sent.append(Sent(self.path, headers, body))
                status, more = answer(len(sink.sent))
                self.send_response(status)
                for name, value in {"Content-Length": "0", **more}.items():
                    self.send_header(name, value)
                self.end_headers()

            do_GET = do_POST = handle_any  # noqa: N815 - the names that http.server calls

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class MailSink:
    """A mail server on loopback."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self._loop = asyncio.new_event_loop()

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802 - its name there
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 taken"

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}/?from=briefcase@example.com&to=ann@example.com&mode=insecure"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        serving = self._loop.create_server(lambda: SMTP(self, loop=self._loop), "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
