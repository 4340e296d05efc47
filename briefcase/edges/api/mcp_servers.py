"""MCP servers: the operator's side (describe, look, accept) and the gateway's (what an agent may see, calls, changes).

A gateway calls what a server offers by `POST /v1/mcp/call`: `tools/call` of the contract with the client's side of the
conversation beside it. While the call runs, its notifications are read from `GET /v1/mcp/calls/{id}`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec

from briefcase.adapters.oauth.registration import ServerOAuth
from briefcase.adapters.servers.config import HeaderSecret
from briefcase.adapters.servers.connection import Connection
from briefcase.adapters.servers.definitions import Definition
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.mcp.call_options import CallOptions
from briefcase.core.policy.preview import preview_tools
from briefcase.core.wire.call_requests import CallRecord
from briefcase.core.wire.calls import CallAnswer
from briefcase.core.wire.servers import (
    AcceptBody,
    Accepted,
    CallCancelled,
    CallNotifications,
    Catalog,
    ChangeList,
    ChangeRecord,
    DefinitionChange,
    Differences,
    FollowQuery,
    ServerDeleted,
    ServerDetail,
    ServerList,
    ServerOffer,
    ServerProblem,
    ServerSummary,
)
from briefcase.edges.api.routing import CALLERS, OPERATOR, Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.http.routing import Reply
from briefcase.model.errors import CallerError
from briefcase.model.types import COMPATIBILITY_PROFILE, JsonObject, JsonValue

MAX_WAIT_MS: Final = 60_000
MAX_TOLD_CHARS: Final = 256
_MS_PER_S: Final = 1_000


class ServerBody(msgspec.Struct):
    """A server's description: `endpoint_url` or `command`, and what it may have.

    `timeout_ms` is a call's deadline, 0 for the daemon's own; `start_timeout_ms` bounds the handshake and the listing.
    """

    endpoint_url: str = ""
    command: str = ""
    args: list[str] = []
    cwd: str = ""
    env: dict[str, str] = {}
    secret_env: dict[str, str] = {}
    headers: dict[str, str] = {}
    header_secrets: dict[str, HeaderSecret] = {}
    bearer_secret: str | None = None
    oauth: ServerOAuth = ServerOAuth()
    rules: list[dict[str, Any]] = []
    review: bool = False
    allow_incompatible: bool = False
    timeout_ms: int = 0
    start_timeout_ms: int = 30_000
    max_message_bytes: int = 32 << 20


class ServerCallBody(msgspec.Struct):
    """A call, and its exchange."""

    call: CallRecord
    exchange: CallOptions = CallOptions()


# --- the operator's side --------------------------------------------------------------------------------------------


async def list_servers(services: Services, _: Request) -> ServerList:
    """`GET /v1/mcp/servers`."""
    registry = services.mcp
    return ServerList([await _summary(services, connection) for connection in registry.connections()])


async def show_server(services: Services, request: Request) -> ServerDetail:
    """`GET /v1/mcp/servers/{id}`."""
    registry = services.mcp
    connection = registry.connection(request.params["id"])
    config = connection.config
    named = {"bearer": config.bearer_secret, "oauth client": config.oauth.client_secret}
    own = {name: secret for name, secret in named.items() if secret is not None}
    headers = {name: sent.secret for name, sent in config.header_secrets.items()}
    return ServerDetail(
        summary=await _summary(services, connection),
        args=list(config.args),
        cwd=config.cwd,
        variables=sorted(config.env),
        secrets={**config.secret_env, **headers, **own},
        rules=[msgspec.to_builtins(rule) for rule in config.rules],
        problems=[ServerProblem(problem.name, problem.problem) for problem in connection.problems],
        stderr=list(connection.complaints),
    )


async def set_server(services: Services, request: Request) -> ServerSummary:
    """`POST /v1/mcp/servers/{id}`: durable when this answers; it is connected to in the background."""
    registry, server_id = services.mcp, request.params["id"]
    body = parse_json(request.body)
    if not isinstance(body, dict):
        raise CallerError("expected an object with `endpoint_url` or `command`")
    await services.operator.servers.set(server_id, body, request.principal.name)
    return await _summary(services, registry.connection(server_id))


async def delete_server(services: Services, request: Request) -> ServerDeleted:
    """`POST /v1/mcp/servers/{id}/delete`."""
    await services.operator.servers.delete(request.params["id"], request.principal.name)
    return ServerDeleted(request.params["id"])


async def show_differences(services: Services, request: Request) -> Differences:
    """`GET /v1/mcp/servers/{id}/diff`."""
    server_id = request.params["id"]
    digest, changes = services.mcp.differences(server_id)
    shown = [DefinitionChange(change.name, _body(change.before), _body(change.after)) for change in changes]
    return Differences(server_id=server_id, digest=digest, changes=shown)


async def accept_definitions(services: Services, request: Request) -> Accepted:
    """`POST /v1/mcp/servers/{id}/accept`: exactly what was looked at, or nothing."""
    server_id = request.params["id"]
    wanted = request.body_as(AcceptBody)
    accepted = await services.operator.servers.accept(server_id, wanted.digest, request.principal.name)
    return Accepted(server_id=server_id, tools=accepted)


# --- the gateway's side ---------------------------------------------------------------------------------------------


async def show_catalog(services: Services, request: Request) -> Catalog:
    """`GET /v1/mcp/catalog`."""
    registry = services.mcp
    specs = services.tools.specs()
    preview = preview_tools(services.policy.active(), request.principal, specs, services.clock.now_us())
    servers = {
        connection.config.id: ServerOffer(connection.state.value, connection.capabilities, connection.revision)
        for connection in registry.connections()
    }
    return Catalog(
        mode=services.profile.mode,
        compatibility_profile=COMPATIBILITY_PROFILE,
        servers=servers,
        tools=dict(registry.extras()),
        hidden=list(preview.hidden),
        needs_approval=list(preview.asking),
    )


async def call_server(services: Services, request: Request) -> Reply:
    """`POST /v1/mcp/call`: as `POST /v1/tools/call`, with an exchange that lives as long as the call."""
    registry, principal = services.mcp, request.principal
    call = await services.calls.read(principal, request.body)
    try:
        options = _options_in(call.exchange)
    except CallerError as error:
        raise await services.calls.refusals.refuse(principal, error, request.body) from None
    exchange = registry.exchanges.open(principal.owner, call.request_id, options)
    try:
        answer = await services.calls.call(principal, msgspec.structs.replace(call, exchange=None, channel=exchange))
    finally:
        exchange.end()
    if answer.status == "error" and exchange.error is not None:
        return Reply({**answer.payload, "rpc_error": exchange.error}, timing_us=answer.timing_us)
    return Reply(answer.body, timing_us=answer.timing_us, is_filtered=answer.is_filtered)


async def follow_call(services: Services, request: Request) -> CallNotifications:
    """`GET /v1/mcp/calls/{id}`: of the asker's own calls."""
    query = request.query_as(FollowQuery)
    exchange = services.mcp.exchanges.find(request.principal.owner, request.params["id"].lower())
    if exchange is None:
        raise CallerError(f"no call `{request.params['id']}`", code="not_found")
    notifications, after = await request.waited(partial(exchange.read, query.after), _wait_s(query))
    return CallNotifications(notifications, after, exchange.has_ended)


def _wait_s(query: FollowQuery) -> float:
    return min(query.wait_ms, MAX_WAIT_MS) / _MS_PER_S


async def cancel_call(services: Services, request: Request) -> CallCancelled:
    """`POST /v1/mcp/calls/{id}/cancel`: one of the asker's own; it still ends with its receipt."""
    exchange = services.mcp.exchanges.find(request.principal.owner, request.params["id"].lower())
    if exchange is None or exchange.has_ended:
        return CallCancelled(cancelled=False)
    exchange.cancel()
    return CallCancelled(cancelled=True)


async def follow_changes(services: Services, request: Request) -> ChangeList:
    """`GET /v1/mcp/events`: `after` below 0 asks only where to begin; of resources, what the asker follows."""
    query = request.query_as(FollowQuery)
    registry, asker = services.mcp, request.principal.owner
    if query.after < 0:
        return ChangeList([], registry.changes.count)
    kept, after = await request.waited(partial(registry.changes.read, query.after), _wait_s(query))
    found = [change for change in kept if registry.followers.may_know(asker, change)]
    return ChangeList([ChangeRecord(change.server, change.kind, change.uri) for change in found], after)


def _options_in(said: JsonValue) -> CallOptions:
    """What a request says of its client beside the call."""
    try:
        return CallOptions() if said is None else msgspec.convert(said, CallOptions)
    except msgspec.ValidationError as error:
        found = str(error)[:MAX_TOLD_CHARS].lower()
        raise CallerError(
            f"expected in `exchange` only what a server may be told beside the arguments: {found}",
            hint="what else a server is to be told goes into the arguments, where a person sees it",
        ) from None


def _body(definition: Definition | None) -> JsonObject | None:
    return None if definition is None else definition.body


async def _summary(services: Services, connection: Connection) -> ServerSummary:
    registry, config = services.mcp, connection.config
    standing = await services.mcp_logins.standing(config)
    _, changes = registry.differences(config.id)
    return ServerSummary(
        id=config.id,
        endpoint_url=config.address,
        has_oauth_refresh=standing.has_refresh,
        transport=config.transport,
        state=connection.state.value,
        problem=connection.told_problem or standing.problem,
        revision=connection.revision,
        tools=len(registry.accepted_names(config.id)),
        held=sum(change.after is not None for change in changes),
        allow_incompatible=config.allow_incompatible,
        unusable=len(connection.problems),
        needs_login=standing.needs_login,
    )


_ID: Final = "/v1/mcp/servers/{id}"
ROUTES: Final = (
    Route("GET", "/v1/mcp/servers", OPERATOR, list_servers, "All MCP servers", ServerList),
    Route("GET", _ID, OPERATOR, show_server, "One MCP server", ServerDetail),
    Route("POST", _ID, OPERATOR, set_server, "Add or change an MCP server", ServerSummary, body=ServerBody),
    Route("POST", f"{_ID}/delete", OPERATOR, delete_server, "Remove an MCP server", ServerDeleted),
    Route("GET", f"{_ID}/diff", OPERATOR, show_differences, "What changed since it was accepted", Differences),
    Route("POST", f"{_ID}/accept", OPERATOR, accept_definitions, "Accept what it lists", Accepted, body=AcceptBody),
    Route("GET", "/v1/mcp/catalog", CALLERS, show_catalog, "What the asker may see", Catalog),
    Route("POST", "/v1/mcp/call", CALLERS, call_server, "Call something of a server", CallAnswer, body=ServerCallBody),
    Route(
        "GET",
        "/v1/mcp/calls/{id}",
        CALLERS,
        follow_call,
        "A call's notifications",
        CallNotifications,
        query=FollowQuery,
    ),
    Route("POST", "/v1/mcp/calls/{id}/cancel", CALLERS, cancel_call, "Cancel a call", CallCancelled),
    Route(
        "GET", "/v1/mcp/events", CALLERS, follow_changes, "What changes on the servers", ChangeList, query=FollowQuery
    ),
)
