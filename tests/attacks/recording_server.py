"""An MCP server that writes down every byte it gets, over stdio or HTTP.

Each line of the record is JSON: `data`, the message's bytes as they came (base64), and over HTTP `headers`, all of them
in the order and spelling they came in.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STATELESS = "2026-07-28"
HANDSHAKE = "2025-11-25"
ANY = {"type": "object"}
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "prompts": {}, "completions": {}}
QUESTION = {
    "method": "elicitation/create",
    "params": {"mode": "form", "message": "which account?", "requestedSchema": {"type": "object", "properties": {}}},
}


class Recorder:
    """Notes what comes, and answers it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.lock = threading.Lock()
        self.waiting: object = None

    def note(self, data: bytes, headers: list[tuple[str, str]]) -> None:
        line = json.dumps({"data": base64.b64encode(data).decode(), "headers": headers})
        with self.lock, Path(self.options.record).open("a") as record:
            record.write(line + "\n")

    def answer(self, message: dict) -> dict | None:
        """The answer to a message, None where it wants none."""
        if message.get("id") == "q-1":
            return {"jsonrpc": "2.0", "id": self.waiting, "result": {"content": []}}
        if "id" not in message or "method" not in message:
            return None
        try:
            return {"jsonrpc": "2.0", "id": message["id"], "result": self.result(message["method"], message)}
        except InterruptedError:
            sys.stdout.flush()
            return None  # it waits for the answer to its question
        except LookupError:
            error = {"code": -32601, "message": "no such method"}
            return {"jsonrpc": "2.0", "id": message["id"], "error": error}

    def result(self, method: str, message: dict) -> dict:
        params = message.get("params", {})
        match method:
            case "server/discover" if self.options.era == "stateless":
                info = {"name": "recorder", "version": "1"}
                return {"supportedVersions": [STATELESS], "capabilities": CAPABILITIES, "serverInfo": info}
            case "initialize" if self.options.era == "handshake":
                info = {"name": "recorder", "version": "1"}
                return {"protocolVersion": HANDSHAKE, "capabilities": CAPABILITIES, "serverInfo": info}
            case "tools/list":
                return {"tools": self.tools()}
            case "tools/call" if self.options.asks and self.options.era == "handshake":
                question = {"jsonrpc": "2.0", "id": "q-1", **QUESTION}
                sys.stdout.write(json.dumps(question) + "\n")
                self.waiting = message["id"]
                raise InterruptedError
            case "tools/call" if self.options.asks and "inputResponses" not in params:
                asked = {"resultType": "input_required", "requestState": "the-server's"}
                return {**asked, "inputRequests": {"q": QUESTION}}
            case "tools/call":
                return {"content": [{"type": "text", "text": "done"}]}
            case "resources/read":
                return {"contents": [{"uri": params["uri"], "text": "x"}]}
            case "resources/list" | "resources/templates/list" | "prompts/list":
                return {{"resources/list": "resources", "prompts/list": "prompts"}.get(method, "resourceTemplates"): []}
            case "prompts/get":
                return {"messages": []}
            case "completion/complete":
                return {"completion": {"values": []}}
            case "resources/subscribe" | "resources/unsubscribe" | "ping":
                return {}
        raise LookupError(method)

    def tools(self) -> list[dict]:
        late = self.options.late
        if late and not Path(late).exists():
            return []
        schema = {"type": "object", "properties": {"to": {"type": "string", "x-mcp-header": "To"}, "amount": {}}}
        return [{"name": "pay", "description": "pays", "inputSchema": schema}]


def serve_stdio(recorder: Recorder) -> None:
    def say(message: dict) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    def announce() -> None:
        """Say that the tools changed once they have; and that a resource did, once somebody wrote which."""
        told: set[str] = set()
        while True:
            late = recorder.options.late
            if late and late not in told and Path(late).exists():
                told.add(late)
                say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            changed = Path(recorder.options.record + ".changed")
            for uri in changed.read_text().split() if changed.exists() else ():
                if uri not in told:
                    told.add(uri)
                    say({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}})
            time.sleep(0.02)

    threading.Thread(target=announce, daemon=True).start()
    for line in sys.stdin.buffer:
        recorder.note(line.removesuffix(b"\n"), [])
        answer = recorder.answer(json.loads(line))
        if answer is not None:
            say(answer)


def serve_http(recorder: Recorder) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            recorder.note(data, self.headers.items())
            answer = recorder.answer(json.loads(data))
            self.reply(202 if answer is None else 200, b"" if answer is None else json.dumps(answer).encode())

        def do_GET(self) -> None:
            recorder.note(b"", self.headers.items())
            self.reply(405, b"")

        def do_DELETE(self) -> None:
            self.do_GET()

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("transport", choices=["stdio", "http"])
    parser.add_argument("record")
    parser.add_argument("--era", choices=["stateless", "handshake"], default="stateless")
    parser.add_argument("--asks", action="store_true", help="a call of the tool asks its client something first")
    parser.add_argument("--late", default="", help="a file; there are no tools before it is there")
    options = parser.parse_args()
    {"stdio": serve_stdio, "http": serve_http}[options.transport](Recorder(options))


if __name__ == "__main__":
    main()
