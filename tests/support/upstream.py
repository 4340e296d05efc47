"""A small real HTTP service on loopback for tools to call: a ticket desk that remembers everything that reached it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

API_KEY = "tk-live-4f9a1c77d0e84b6e"


class TicketDesk:
    """`GET /api/tickets?status=`, `POST /api/tickets {title}`; wants the header `X-Api-Key`."""

    def __init__(self) -> None:
        self.tickets: list[dict[str, Any]] = [
            {"id": 1, "title": "printer on fire", "status": "open", "internal_note": "hush"}
        ]
        self.seen: list[tuple[str, str, bytes]] = []
        self._lock = threading.Lock()
        desk = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.answer(b"")

            def do_POST(self) -> None:
                self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def answer(self, body: bytes) -> None:
                status, payload = desk.answer(self.command, self.path, self.headers.get("X-Api-Key"), body)
                data = json.dumps(payload).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"

    def answer(self, method: str, path: str, api_key: str | None, body: bytes) -> tuple[int, object]:
        with self._lock:
            self.seen.append((method, path, body))
            if api_key != API_KEY:
                return 401, {"error": "who are you", "sent": api_key}
            if method == "POST":
                ticket = {"id": len(self.tickets) + 1, "status": "open", **json.loads(body)}
                self.tickets.append(ticket)
                return 201, ticket
            status = parse_qs(urlsplit(path).query).get("status", ["open"])[0]
            return 200, {"tickets": [ticket for ticket in self.tickets if ticket["status"] == status]}

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
