"""An MCP server on standard streams with one tool, `pay`; it keeps the arguments it is called with in a file."""

import json
import sys
from pathlib import Path

SCHEMA = {"type": "object"}
TOOL = {"name": "pay", "description": "Pays out at once.", "inputSchema": SCHEMA}


def result_of(message: dict) -> dict | None:
    match message["method"]:
        case "initialize":
            info = {"name": "bank", "version": "1"}
            return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            return {"tools": [TOOL]}
        case "tools/call":
            Path(sys.argv[1]).write_text(json.dumps(message["params"]["arguments"]))
            return {"content": [{"type": "text", "text": "paid"}]}
    return None


for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked or "method" not in asked:
        continue
    answer = result_of(asked)
    said = {"result": answer} if answer is not None else {"error": {"code": -32601, "message": "no such method"}}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **said}) + "\n")
    sys.stdout.flush()
