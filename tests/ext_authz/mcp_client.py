"""One session of the official SDK's client, as a JSON object: `python mcp_client.py URL TOKEN`. Run where `mcp` is."""

from __future__ import annotations

import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


async def main(url: str, token: str) -> None:
    said: list[float] = []

    async def on_progress(progress: float, *_: object) -> None:
        said.append(progress)

    async with (
        streamablehttp_client(url, headers={"Authorization": f"Bearer {token}"}) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        opened = await session.initialize()
        tools = await session.list_tools()
        echoed = await session.call_tool("echo", {"text": "through envoy"})
        counted = await session.call_tool("count", {"to": 5}, progress_callback=on_progress)
        seen = await session.call_tool("seen_headers", {})
        found = {
            "server": opened.serverInfo.name,
            "tools": [tool.name for tool in tools.tools],
            "echoed": echoed.content[0].text,
            "counted": counted.content[0].text,
            "progress": said,
            "seen": seen.content[0].text,
        }
    sys.stdout.write(json.dumps(found))


asyncio.run(main(*sys.argv[1:]))
