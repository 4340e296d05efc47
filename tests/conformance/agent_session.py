"""One agent's work on a public server, told as it happens: list, call, blocked, approved by a person, retried, shown.

`python agent_session.py PYTHON DIRECTORY` in an environment with `mcp` installed (requirements.txt). PYTHON has
`briefcase`, whose daemon the environment names and which has the public filesystem server `files` on DIRECTORY behind
it. The official SDK's client starts a gateway with an agent's token and nothing of the operator's; the operator is the
real command line. Fails on a miss.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

PYTHON, DIRECTORY = sys.argv[1], Path(sys.argv[2])
NOTE = {"path": "release.txt", "content": "rotate the keys\n"}
AGENT_VARIABLES = ("PATH", "BRIEFCASE_DAEMON_UNIX_SOCKET")


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def operator(*words: str) -> str:
    """One command of the operator's; gives its output."""
    command = [PYTHON, "-m", "briefcase", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def operator_json(*words: str) -> dict:
    return json.loads(operator(*words, "--json"))


def told_operator(*words: str) -> None:
    """One command of the operator's, shown as a person sees it."""
    tell(f"\noperator$ briefcase {' '.join(words)}")
    tell("\n".join(f"  {line}".rstrip() for line in operator(*words).splitlines()))


async def call(client: Client, name: str, arguments: dict):
    tell(f"\nagent> tools/call {name} {json.dumps(arguments)}")
    result = await client.call_tool(name, arguments)
    tell(f"  {'isError' if result.is_error else 'ok'}: {result.content[0].text.splitlines()[0]}")
    return result


async def work(client: Client) -> None:
    listed = (await client.list_tools()).tools
    tell(f"agent> tools/list (revision {client.protocol_version})")
    for tool in listed:
        if tool.name.startswith("files."):
            kind = tool.meta["briefcase"]
            tell(f"  {tool.name}: {kind['category']}{', needs approval' if kind.get('needs_approval') else ''}")

    read = await call(client, "files.read_text_file", {"path": "hello.txt"})
    assert not read.is_error, read
    assert read.meta["provenance"]["source"] == "mcp:files", read

    target = DIRECTORY / NOTE["path"]
    blocked = await call(client, "files.write_file", NOTE)
    approval = blocked.meta["approval"]
    assert blocked.is_error, blocked
    assert not target.exists()
    tell(f"  _meta.approval.id: {approval['id']}; the file is {'there' if target.exists() else 'not there'}")

    waiting = operator_json("approvals", "list")["approvals"]
    assert [item["id"] for item in waiting] == [approval["id"]], waiting
    told_operator("approvals", "list")
    told_operator("approvals", "approve", approval["id"])

    done = await call(client, "files.write_file", NOTE)
    assert not done.is_error, done
    assert target.read_text() == NOTE["content"]
    provenance = done.meta["provenance"]
    tell(f"  the file holds {target.read_text()!r}; receipt {provenance['receipt_id']} of {provenance['source']}")

    again = await call(client, "files.write_file", {**NOTE, "content": "something else\n"})
    assert again.is_error, "an approval is for one call, once"
    assert target.read_text() == NOTE["content"]

    receipt_id = str(provenance["receipt_id"])
    assert operator_json("receipts", "show", receipt_id)["event"]["tool_id"] == "files.write_file"
    told_operator("receipts", "show", receipt_id)
    assert operator_json("receipts", "verify")["ok"] is True
    told_operator("receipts", "verify")


async def main() -> None:
    token = operator_json("agents", "add", "scout")["token"]
    env = {name: os.environ[name] for name in AGENT_VARIABLES} | {
        "BRIEFCASE_AUTH_TOKEN": token,
        "BRIEFCASE_MCP_HOLD_SECS": "0",
    }
    gateway = StdioServerParameters(command=PYTHON, args=["-m", "briefcase", "gateway"], env=env)
    async with Client(stdio_client(gateway), mode="legacy") as client:
        await work(client)


if __name__ == "__main__":
    asyncio.run(main())
