"""An MCP server over standard input and output that lists the tools of a JSON file and answers every call alike.

`python listing_server.py TOOLS.json`; the file is read again for each listing, so a test can change it.
"""

import json
import sys
from pathlib import Path

CAPABILITIES = {"tools": {"listChanged": True}}


def answer(method: str) -> dict | None:
    """The result of a request; None where there is none."""
    if method == "initialize":
        return {
            "protocolVersion": "2025-11-25",
            "capabilities": CAPABILITIES,
            "serverInfo": {"name": "listing", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": json.loads(Path(sys.argv[1]).read_text())}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": "done"}]}
    return {} if method == "ping" else None


for line in sys.stdin:
    message = json.loads(line)
    if "method" not in message or "id" not in message:
        continue
    result = answer(message["method"])
    outcome = {"error": {"code": -32601, "message": "no"}} if result is None else {"result": result}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **outcome}) + "\n")
    sys.stdout.flush()
