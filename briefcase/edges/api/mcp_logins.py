"""Logging in to MCP servers behind the daemon, and out again. Operators only.

No answer holds a token or a verifier: whoever finishes a log-in needs the code and the `state` that its person came
back with, and an `iss` where there was one.
"""

from __future__ import annotations

from typing import Final

from briefcase.core.wire.servers import (
    ServerLoginAnswer,
    ServerLoginBody,
    ServerLoginRevoked,
    ServerLoginStarted,
    ServerNamed,
)
from briefcase.edges.api.routing import OPERATOR, Request, Route
from briefcase.edges.api.services import Services


async def start_login(services: Services, request: Request) -> ServerLoginStarted:
    """`POST /v1/mcp/servers/{id}/oauth/start`."""
    server_id, wanted = request.params["id"], request.body_as(ServerLoginBody)
    config = services.mcp.config(server_id)
    url, state = await services.mcp_logins.start(config, wanted.client_id, wanted.redirect_uri, wanted.scope or None)
    return ServerLoginStarted(server_id, url, state)


async def finish_login(services: Services, request: Request) -> ServerNamed:
    """`POST /v1/mcp/servers/{id}/oauth/exchange`: the server is connected to anew with what it gave."""
    server_id, answer = request.params["id"], request.body_as(ServerLoginAnswer)
    by = request.principal.name
    await services.operator.logins.finish(server_id, answer.code, answer.state, answer.iss, by=by)
    return ServerNamed(server_id)


async def revoke_login(services: Services, request: Request) -> ServerLoginRevoked:
    """`POST /v1/mcp/servers/{id}/oauth/revoke`: the connection that was made with it ends as well."""
    return await services.operator.logins.revoke(request.params["id"], request.principal.name)


_ID: Final = "/v1/mcp/servers/{id}/oauth"
ROUTES: Final = (
    Route("POST", f"{_ID}/start", OPERATOR, start_login, "Begin a log-in", ServerLoginStarted, body=ServerLoginBody),
    Route("POST", f"{_ID}/exchange", OPERATOR, finish_login, "Finish a log-in", ServerNamed, body=ServerLoginAnswer),
    Route("POST", f"{_ID}/revoke", OPERATOR, revoke_login, "End a log-in", ServerLoginRevoked),
)
