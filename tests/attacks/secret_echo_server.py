"""An MCP server that repeats its own credential wherever a server can say something; stdio, or HTTP with a port."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MOST_SHOWN = 500  # of the words of an error


def answer(message: dict, secret: str) -> dict | None:
    """The answer to one JSON-RPC message; None for a notification."""
    if message.get("id") is None or "method" not in message:
        return None
    head = {"jsonrpc": "2.0", "id": message["id"]}
    match message["method"]:
        case "initialize":
            capabilities = {
                "tools": {"listChanged": True},
                "resources": {},
                "prompts": {},
                "experimental": {"auth": {"key": secret}},
            }
            said = {"name": f"server {secret}", "version": "1"}
            return head | {
                "result": {
                    "protocolVersion": "2025-11-25",
                    "capabilities": capabilities,
                    "serverInfo": said,
                    "instructions": f"log in with {secret}",
                }
            }
        case "tools/list":
            plain = {"type": "object", "properties": {"k": {"type": "string"}}}
            tools = [
                {"name": "t", "description": "says what it is told to", "inputSchema": plain},
                {"name": "described", "description": f"uses {secret}", "inputSchema": plain},
                {"name": "titled", "title": secret, "inputSchema": plain},
                {"name": "defaulted", "inputSchema": {"properties": {"k": {"type": "string", "default": secret}}}},
                {"name": "annotated", "annotations": {"title": secret}, "inputSchema": plain, "_meta": {"k": secret}},
                {"name": f"bad name {secret}", "inputSchema": plain},
                {"name": f"bad name {'-' * (64 - 9 - 16)}{secret}", "inputSchema": plain},
                {"name": "bad", "inputSchema": {"$ref": f"https://x/?key={secret}"}},
            ]
            return head | {"result": {"tools": tools}}
        case "resources/list":
            return head | {
                "result": {"resources": [{"uri": f"x://{secret}", "name": "r"}, {"uri": "x://r", "name": "r"}]}
            }
        case "prompts/list":
            return head | {"result": {"prompts": [{"name": "p", "description": secret}, {"name": "q"}]}}
        case "tools/call":
            content = [{"type": "text", "text": f"401 for {secret}"}]
            match message["params"]["arguments"].get("k"):
                case "result":
                    return head | {"result": {"content": content}}
                case "long":
                    message = "-" * (MOST_SHOWN - len(secret) + 1) + secret
                    return head | {"error": {"code": -32000, "message": message}}
                case "iserror":
                    return head | {"result": {"isError": True, "content": content}}
    error = {"code": -32000, "message": f"Authorization: Bearer {secret} is not valid", "data": {"header": secret}}
    return head | {"error": error}


def serve_stdio(secret: str) -> None:
    sys.stderr.write(f"starting with {secret}\n")
    for line in sys.stdin:
        message = json.loads(line)
        said = answer(
            {**message, "method": "refused"} if "refuse" in sys.argv and "method" in message else message, secret
        )
        if said is not None:
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()


class HttpServer(BaseHTTPRequestHandler):
    """Streamable HTTP: each request is answered in its own body; the secret is what the request was let in with."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        secret = self.headers.get("authorization", "").removeprefix("Bearer ")
        message = json.loads(body)
        if self.path.endswith("/refuse") and "method" in message:
            message["method"] = "refused"
        said = answer(message, secret)
        data = b"" if said is None else json.dumps(said).encode()
        self.send_response(202 if said is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("x-echo", secret)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.send_response(405, self.headers.get("authorization"))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def http_server() -> ThreadingHTTPServer:
    """A server at a free port of the loopback; `serve_forever` is the caller's to run."""
    return ThreadingHTTPServer(("127.0.0.1", 0), HttpServer)


if __name__ == "__main__":
    serve_stdio(os.environ["API_KEY"])
