"""The official Python SDK's client against the gateway: both eras, over HTTP and stdio; fails on a miss.

`python python_sdk.py URL [COMMAND...]` in an environment with `mcp` installed (requirements.txt); COMMAND is a stdio
gateway, its environment already set.
"""

from __future__ import annotations

import asyncio
import os
import sys

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client


async def check(name: str, target, mode: str) -> None:
    progress = []

    async def on_progress(done: float, total: float | None, message: str | None) -> None:
        progress.append(done)

    async with Client(target, mode=mode) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        prefix = "" if "echo" in tools and "test_simple_text" in tools else "fixture."
        result = await client.call_tool(f"{prefix}echo", {"text": "hi"})
        assert result.structured_content == {"echo": "hi"}, result
        assert result.meta["provenance"]["source"] == "mcp:fixture", result.meta
        await client.call_tool(f"{prefix}test_tool_with_progress", {}, progress_callback=on_progress)
        assert progress == [0, 50, 100], progress
        assert len((await client.list_resources()).resources) == 3
        assert len((await client.list_prompts()).prompts) >= 5
        sys.stdout.write(f"ok   {name}: {len(tools)} tools, revision {client.protocol_version}\n")


async def main() -> None:
    url, command = sys.argv[1], sys.argv[2:]
    for mode in ("auto", "legacy"):
        await check(f"python sdk, http, {mode}", url, mode)
        if command:
            parameters = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
            await check(f"python sdk, stdio, {mode}", stdio_client(parameters), mode)


if __name__ == "__main__":
    asyncio.run(main())
