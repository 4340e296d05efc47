"""The checks that LiteLLM's proxy makes before an MCP tool is called, with the boundary as a guardrail of it."""

import asyncio

import litellm
from fastapi import HTTPException
from litellm.caching.caching import DualCache
from litellm.proxy._experimental.mcp_server.mcp_server_manager import MCPServerManager
from litellm.proxy._types import UserAPIKeyAuth
from litellm.proxy.utils import ProxyLogging
from litellm.types.mcp_server.mcp_server_manager import MCPServer
from scene import approve_all, tell

from briefcase.client import AsyncBoundary
from briefcase.edges.client.adapters.litellm import BoundaryGuardrail


async def main() -> None:
    async with AsyncBoundary(wait_s=0) as boundary:
        litellm.callbacks = [BoundaryGuardrail(boundary)]
        logging = ProxyLogging(user_api_key_cache=DualCache())
        manager = MCPServerManager()
        server = MCPServer(server_id="s", name="s", transport="http", url="http://127.0.0.1:1")

        async def check(name: str, arguments: dict) -> list:
            try:
                await manager.pre_call_tool_check(
                    name=name,
                    arguments=arguments,
                    server_name="s",
                    user_api_key_auth=UserAPIKeyAuth(api_key="sk-x"),
                    proxy_logging_obj=logging,
                    server=server,
                )
            except HTTPException as refused:
                return [refused.status_code, refused.detail["error"]]
            return [200, ""]

        tell(allowed=await check("look_up", {"word": "ox"}))
        tell(denied=await check("secret_tool", {}))
        tell(waiting=await check("send_mail", {"to": "ann"}))
        approve_all()
        tell(approved=await check("send_mail", {"to": "ann"}))
        tell(again=await check("send_mail", {"to": "ann"}))


asyncio.run(main())
