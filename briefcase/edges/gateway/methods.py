"""The methods of a server, one table: what each revision knows, and what we answer.

A method that asks a server behind the daemon becomes one governed operation (`operations`); the rest is answered from
the agent's catalog. Sessions, streams and subscriptions belong to the transports.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.core.jose.base64url import decode_base64url, encode_base64url
from briefcase.core.mcp.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    RESOURCE_NOT_FOUND,
    Request,
    RpcError,
    as_object,
)
from briefcase.core.mcp.param_headers import ParamHeaders
from briefcase.core.mcp.protocol import LATEST_HANDSHAKE, STATELESS_REVISIONS, is_defined, is_stateless
from briefcase.core.mcp.tasks import EXTENSION, HANDSHAKE_REVISION
from briefcase.edges.gateway import results
from briefcase.edges.gateway.catalog import Catalog, fetch_catalog
from briefcase.edges.gateway.context import Context
from briefcase.edges.gateway.daemon import Daemon, DaemonError
from briefcase.edges.gateway.names import NameLists, Names, may_be_given, own_arguments
from briefcase.edges.gateway.operations import Operation, Operations, rpc_error, task_wish
from briefcase.edges.gateway.tasks import TaskMethods
from briefcase.edges.gateway.view import UnknownResourceError, View
from briefcase.model.types import JsonObject, JsonValue

MAX_NAME_CHARS: Final = 256
MAX_PARAM_HEADERS: Final = 65_536  # tools whose arguments are mirrored in headers
INSTRUCTIONS: Final = (
    "Every call is checked against a policy and recorded. A call that needs a person's approval waits for it a while. "
    "Where nobody has decided by then it answers `isError` with `_meta.approval`: tell the user, and once they have "
    "approved it, send the same call again."
)
_LIST_CHANGED: Final[JsonObject] = {"listChanged": True}


class Methods:
    """Answers requests; one for the process."""

    def __init__(self, daemon: Daemon, operations: Operations) -> None:
        self._daemon = daemon
        self._operations = operations
        self._compatibility: JsonObject | None = None
        self._param_headers: dict[str, ParamHeaders] = {}
        self._lists = NameLists()
        self._table: Final[dict[str, Callable[[JsonObject, Context], Awaitable[JsonObject]]]] = {
            "tools/list": self._tools_list,
            "tools/call": self._tools_call,
            "resources/list": self._resources_list,
            "resources/templates/list": self._templates_list,
            "resources/read": self._resources_read,
            "resources/subscribe": self._resources_subscribe,
            "resources/unsubscribe": self._resources_unsubscribe,
            "prompts/list": self._prompts_list,
            "prompts/get": self._prompts_get,
            "completion/complete": self._complete,
            "server/discover": self._discover,
            "ping": self._ping,
            **TaskMethods(operations).table,
        }

    async def answer(self, request: Request, context: Context) -> JsonObject:
        """Answer one request.

        Raises:
            RpcError: with the code and the HTTP status its revision gives the fault.
        """
        handler = self._table.get(request.method) if is_defined(request.method, context.revision) else None
        if handler is None:
            status = HTTPStatus.NOT_FOUND if context.is_stateless else HTTPStatus.OK
            raise RpcError(METHOD_NOT_FOUND, f"unknown method `{request.method}`", http_status=status)
        try:
            result = await handler(request.params, context)
        except DaemonError as error:
            raise rpc_error(error) from None
        except UnknownResourceError as error:
            code = INVALID_PARAMS if context.is_stateless else RESOURCE_NOT_FOUND
            raise RpcError(code, str(error), data={"uri": str(error.uri)[:MAX_NAME_CHARS]}) from None
        return results.finish(result, request.method, context.revision)

    async def initialize(self, context: Context) -> JsonObject:
        """What a handshake answers in the revision that was agreed on. Raises as `answer`."""
        catalog = await self.catalog(context)
        return {
            "protocolVersion": context.revision,
            "capabilities": _capabilities(catalog, context),
            "serverInfo": results.SERVER_INFO,
            "instructions": INSTRUCTIONS,
        }

    async def catalog(self, context: Context) -> Catalog:
        """The agent's catalog, fresh from the daemon. Raises as `answer`."""
        try:
            catalog = await fetch_catalog(self._daemon, context.token)
        except DaemonError as error:
            raise rpc_error(error) from None
        self._note(catalog)
        if context.view.server is not None and context.view.server not in catalog.servers:
            raise RpcError(INVALID_PARAMS, f"unknown server `{context.view.server}`", http_status=HTTPStatus.NOT_FOUND)
        return catalog

    async def param_headers(self, name: JsonValue, context: Context) -> ParamHeaders:
        """The headers that mirror arguments of a tool, as it was last listed. Raises as `answer`."""
        if self._compatibility is None:
            await self.catalog(context)
        if not isinstance(name, str):
            return {}
        names = await self._names_for(name, context)
        return self._param_headers.get(context.view.id_of(names.tools.get(name, name)), {})

    # --- tools ----------------------------------------------------------------------------------------------------

    async def _tools_list(self, params: JsonObject, context: Context) -> JsonObject:
        _check_no_cursor(params)
        catalog = await self.catalog(context)
        tools, names = catalog.listed_tools(context.view)
        self._lists.put(_list_key(context), names)
        return {"tools": tools}

    async def _tools_call(self, params: JsonObject, context: Context) -> JsonObject:
        name, arguments = _name(params, "name"), params.get("arguments", {})
        if not isinstance(arguments, dict):
            raise RpcError(INVALID_PARAMS, "expected `arguments` as an object")
        if ":" in name:
            raise RpcError(INVALID_PARAMS, f"unknown tool `{name}`")
        names = await self._names_for(name, context)
        tool_id = context.view.id_of(names.tools.get(name, name))
        arguments = own_arguments(arguments, names.arguments.get(tool_id, {}))
        server = tool_id.partition(".")[0] if "." in tool_id else None
        can_wait = context.is_stateless or task_wish(params, context) is None  # a task, or an error: no other result
        operation = Operation("tools/call", tool_id, arguments, server, can_wait=can_wait)
        result = await self._operations.run(operation, params, context)
        compatibility = await self._known_compatibility(context)
        result["_meta"] = {**as_object(result.get("_meta")), "compatibility": compatibility}
        return result

    async def _names_for(self, name: str, context: Context) -> Names:
        """What names stand for, as this client's last list said; one is made for a name that may be of a newer one."""
        if context.view.keeps_ids:
            return Names()
        known = self._lists.get(_list_key(context)) or Names()
        if name in known.tools or not may_be_given(name):
            return known
        _, now = (await self.catalog(context)).listed_tools(context.view)
        known = Names({**now.tools, **known.tools}, {**now.arguments, **known.arguments})  # what was told stays so
        self._lists.put(_list_key(context), known)
        return known

    async def _known_compatibility(self, context: Context) -> JsonObject:
        """The daemon's profile, which does not change while it runs; asked once."""
        if self._compatibility is None:
            self._note(await fetch_catalog(self._daemon, context.token))
        return self._compatibility or {}

    def _note(self, catalog: Catalog) -> None:
        self._compatibility = catalog.compatibility
        listed = catalog.param_headers()
        if len(self._param_headers) + len(listed) > MAX_PARAM_HEADERS:
            self._param_headers = {}  # a server that renames its tools again and again is not remembered for it
        self._param_headers.update(listed)

    # --- resources ------------------------------------------------------------------------------------------------

    async def _resources_list(self, params: JsonObject, context: Context) -> JsonObject:
        page = await self._page("resources", "resources.list", params, context)
        items = _items(page.result, "resources")
        renamed: list[JsonValue] = [
            {**item, "uri": context.view.uri_of(page.server, str(item.get("uri")))} for item in items
        ]
        return page.with_items("resources", renamed)

    async def _templates_list(self, params: JsonObject, context: Context) -> JsonObject:
        page = await self._page("resources", "resources.templates", params, context)
        items = _items(page.result, "resourceTemplates")
        renamed: list[JsonValue] = [
            {**item, "uriTemplate": context.view.uri_of(page.server, str(item.get("uriTemplate")))} for item in items
        ]
        return page.with_items("resourceTemplates", renamed)

    async def _resources_read(self, params: JsonObject, context: Context) -> JsonObject:
        server, uri = context.view.split_uri(params.get("uri"))
        operation = Operation("resources/read", f"{server}:resources.read", {"uri": uri}, server)
        result = await self._operations.run(operation, params, context)
        if result.get("resultType") != "input_required":
            result["contents"] = [
                {**item, "uri": context.view.uri_of(server, str(item.get("uri")))}
                for item in _items(result, "contents")
            ]
        return result

    async def subscribe(self, uri: str, context: Context) -> None:
        """Have the daemon listen to a resource for this agent. Raises as `answer`."""
        await self._resources_subscribe({"uri": uri}, context)

    async def unsubscribe(self, uri: str, context: Context) -> None:
        """Have it stop. Raises as `answer`."""
        await self._resources_unsubscribe({"uri": uri}, context)

    async def _resources_subscribe(self, params: JsonObject, context: Context) -> JsonObject:
        return await self._subscription("subscribe", params, context)

    async def _resources_unsubscribe(self, params: JsonObject, context: Context) -> JsonObject:
        return await self._subscription("unsubscribe", params, context)

    async def _subscription(self, verb: str, params: JsonObject, context: Context) -> JsonObject:
        server, uri = context.view.split_uri(params.get("uri"))
        operation = Operation(f"resources/{verb}", f"{server}:resources.{verb}", {"uri": uri}, server)
        await self._operations.run(operation, params, context)
        return {}

    # --- prompts and completion -----------------------------------------------------------------------------------

    async def _prompts_list(self, params: JsonObject, context: Context) -> JsonObject:
        page = await self._page("prompts", "prompts.list", params, context)
        items = _items(page.result, "prompts")
        renamed: list[JsonValue] = [
            {**item, "name": context.view.name_in(page.server, str(item.get("name")))} for item in items
        ]
        return page.with_items("prompts", renamed)

    async def _prompts_get(self, params: JsonObject, context: Context) -> JsonObject:
        server, name = context.view.split_name(params.get("name"))
        arguments = params.get("arguments", {})
        if not isinstance(arguments, dict):
            raise RpcError(INVALID_PARAMS, "expected `arguments` as an object")
        args: JsonObject = {"name": name, "arguments": arguments}
        result = await self._operations.run(
            Operation("prompts/get", f"{server}:prompts.get", args, server), params, context
        )
        if result.get("resultType") != "input_required":
            result["messages"] = [
                {**item, "content": _renamed_content(server, item.get("content"), context)}
                for item in _items(result, "messages")
            ]
        return result

    async def _complete(self, params: JsonObject, context: Context) -> JsonObject:
        ref = as_object(params.get("ref"))
        if ref.get("type") == "ref/prompt":
            server, own = context.view.split_name(ref.get("name"))
            own_ref: JsonObject = {**ref, "name": own}
        elif ref.get("type") == "ref/resource":
            server, own = context.view.split_uri(ref.get("uri"))
            own_ref = {**ref, "uri": own}
        else:
            raise RpcError(INVALID_PARAMS, "expected `ref` of type `ref/prompt` or `ref/resource`")
        args: JsonObject = {"ref": own_ref, "argument": params.get("argument")}
        if "context" in params:
            args["context"] = params["context"]
        operation = Operation("completion/complete", f"{server}:complete", args, server)
        return await self._operations.run(operation, params, context)

    # --- the server itself ----------------------------------------------------------------------------------------

    async def _discover(self, _params: JsonObject, context: Context) -> JsonObject:
        catalog = await self.catalog(context)
        return {
            "supportedVersions": list(STATELESS_REVISIONS),
            "capabilities": _capabilities(catalog, context),
            "serverInfo": results.SERVER_INFO,
            "instructions": INSTRUCTIONS,
        }

    async def _ping(self, _params: JsonObject, _context: Context) -> JsonObject:
        return {}

    # --- lists over several servers ---------------------------------------------------------------------------------

    async def _page(self, capability: str, operation: str, params: JsonObject, context: Context) -> _Page:
        """One page of one server's list; our cursor names the server and holds the server's own cursor."""
        servers = (await self.catalog(context)).servers_with(capability, context.view)
        at, cursor = _read_cursor(params.get("cursor"))
        for position, server in enumerate(servers):
            if server < at:
                continue
            args: JsonObject = {"cursor": cursor} if cursor is not None and server == at else {}
            asked = Operation(operation, f"{server}:{operation}", args, server)
            try:
                result = await self._operations.run(asked, params, context)
            except RpcError as error:
                is_answer = error.http_status == HTTPStatus.OK and error.code != INTERNAL_ERROR
                if not is_answer or context.view.server is not None:
                    raise
                continue  # a server that is down or not for this agent hides its own things, not the others'
            if (comes := result.get("nextCursor")) is not None and comes in ("", args.get("cursor")):
                del result["nextCursor"]  # a cursor that does not move is the list's end
            follows = servers[position + 1] if position + 1 < len(servers) else None
            return _Page(server, result, follows)
        return _Page("", {}, None)


class _Page(msgspec.Struct, frozen=True):
    """One server's page. `follows` is the server whose list comes after this one's last page."""

    server: str
    result: JsonObject
    follows: str | None

    def with_items(self, name: str, items: list[JsonValue]) -> JsonObject:
        answered: JsonObject = {name: items}
        cursor = self.result.get("nextCursor")
        if isinstance(cursor, str):
            answered["nextCursor"] = _write_cursor(self.server, cursor)
        elif self.follows is not None:
            answered["nextCursor"] = _write_cursor(self.follows, None)
        return answered


def agreed_revision(params: JsonObject) -> str:
    """The handshake revision to answer with: the client's where we speak it, else our newest (lifecycle, versions)."""
    wanted = params.get("protocolVersion")
    known = isinstance(wanted, str) and is_defined("initialize", wanted)
    return str(wanted) if known else LATEST_HANDSHAKE


def _capabilities(catalog: Catalog, context: Context) -> JsonObject:
    view = context.view
    capabilities: JsonObject = {"tools": dict(_LIST_CHANGED), "briefcase": catalog.compatibility}
    if catalog.servers_with("prompts", view):
        capabilities["prompts"] = dict(_LIST_CHANGED)
    if catalog.servers_with("resources", view):
        capabilities["resources"] = {"subscribe": True, **_LIST_CHANGED}
    if catalog.servers_with("completions", view):
        capabilities["completions"] = {}
    if not is_stateless(context.revision) or catalog.servers_with("logging", view):
        capabilities["logging"] = {}
    if context.is_stateless and catalog.serves_tasks(view):
        capabilities["extensions"] = {EXTENSION: {}}
    elif context.revision == HANDSHAKE_REVISION and catalog.serves_tasks(view, HANDSHAKE_REVISION):
        capabilities["tasks"] = {"cancel": {}, "requests": {"tools": {"call": {}}}}
    return capabilities


def _name(params: JsonObject, field: str) -> str:
    name = params.get(field)
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
        raise RpcError(INVALID_PARAMS, f"expected `{field}` as a string of 1 to {MAX_NAME_CHARS} characters")
    return name


def _items(result: JsonObject, name: str) -> list[JsonObject]:
    items = result.get(name)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _renamed_content(server: str, content: JsonValue, context: Context) -> JsonValue:
    renamed = context.view.rename_blocks(server, content if isinstance(content, list) else [content])
    return renamed if isinstance(content, list) or not isinstance(renamed, list) else renamed[0]


def _check_no_cursor(params: JsonObject) -> None:
    if params.get("cursor") is not None:
        raise RpcError(INVALID_PARAMS, "unknown `cursor`: this list has one page")


def _write_cursor(server: str, cursor: str | None) -> str:
    return encode_base64url(msgspec.msgpack.encode((server, cursor)))


def _read_cursor(cursor: JsonValue) -> tuple[str, str | None]:
    """A cursor is the agent's own input: it can name nothing that the agent could not ask for anyway."""
    if cursor is None:
        return "", None
    try:
        return msgspec.msgpack.decode(decode_base64url(str(cursor)), type=tuple[str, str | None])
    except (msgspec.DecodeError, ValueError):
        raise RpcError(INVALID_PARAMS, "unknown `cursor`") from None


def _list_key(context: Context) -> tuple[bytes, str | None, View]:
    """Whose list it is: a session's where there is one, else a token's."""
    return context.principal_digest, context.session, context.view
