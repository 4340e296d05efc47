"""What every transport does with a message, whatever it came through: the two eras, cancelling, subscriptions.

A message that carries its own revision in `_meta` is stateless (2026-07-28) and is judged by itself; any other belongs
to the session an `initialize` opened. A notification never runs anything.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from briefcase.adapters.telemetry.log_context import open_request
from briefcase.core.mcp.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    UNSUPPORTED_REVISION,
    Notification,
    Request,
    RequestId,
    RpcError,
    as_object,
)
from briefcase.core.mcp.protocol import (
    LOG_LEVELS,
    META_CAPABILITIES,
    META_CLIENT,
    META_LOG_LEVEL,
    META_REVISION,
    META_SUBSCRIPTION,
    STATELESS_REVISIONS,
    is_stateless,
)
from briefcase.core.wire.servers import ChangeRecord
from briefcase.edges.gateway.context import Channel, Context
from briefcase.edges.gateway.feed import Feed, notification_of
from briefcase.edges.gateway.headers import mismatch
from briefcase.edges.gateway.methods import Methods, agreed_revision
from briefcase.edges.gateway.session import MAX_SUBSCRIPTIONS, Session
from briefcase.edges.gateway.view import UnknownResourceError, View
from briefcase.model.types import JsonObject, JsonValue

_FILTERS: Final = {
    "toolsListChanged": "notifications/tools/list_changed",
    "promptsListChanged": "notifications/prompts/list_changed",
    "resourcesListChanged": "notifications/resources/list_changed",
}


class Core:
    """The methods and the feed, as all transports of the process share them."""

    def __init__(self, methods: Methods, feed: Feed) -> None:
        self.methods = methods
        self.feed = feed

    async def open_session(
        self, request: Request, token: str, view: View, channel: Channel
    ) -> tuple[Session, JsonObject]:
        """Answer `initialize`: a session, and the result that opens it.

        Raises:
            RpcError: the daemon refuses the token, or cannot be asked.
        """
        session = Session(token, view, agreed_revision(request.params), request.params)
        return session, await self.methods.initialize(session_context(session, channel))

    async def answer(self, request: Request, context: Context, session: Session | None) -> JsonObject:
        """Answer a request of either era.

        Raises:
            RpcError: as the method says.
        """
        open_request()
        if request.method == "subscriptions/listen" and context.is_stateless:
            return await self._listen(request, context)
        if session is not None and request.method == "logging/setLevel":
            session.set_log_level(request.params.get("level"))
            return {}
        result = await self.methods.answer(request, context)
        if session is not None and request.method in {"resources/subscribe", "resources/unsubscribe"}:
            _note_subscription(session, request)
        return result

    def handle(self, notification: Notification, session: Session) -> None:
        """Take a notification. Only a cancellation means something; none of them runs anything."""
        if notification.method == "notifications/cancelled":
            session.cancel(notification.params.get("requestId"))

    async def tell_changes(self, session: Session, channel: Channel) -> None:
        """Send a session's client what changes, until cancelled."""
        changes: asyncio.Queue[ChangeRecord] = asyncio.Queue(maxsize=1_024)
        with self.feed.listening(session.token, lambda change: _offer(changes, change)):
            while True:
                told = notification_of(await changes.get(), session.view)
                if told is None:
                    continue
                method, params = told
                if method != "notifications/resources/updated" or params.get("uri") in session.subscriptions:
                    await channel.notify(method, params)

    async def _listen(self, request: Request, context: Context) -> JsonObject:
        """`subscriptions/listen`: what the client asked to hear of, tagged with this request's id, until it leaves."""
        wanted = as_object(request.params.get("notifications"))
        catalog = await self.methods.catalog(context)
        meta: JsonObject = {META_SUBSCRIPTION: request.id}
        has = {"toolsListChanged": True}
        has["promptsListChanged"] = bool(catalog.servers_with("prompts", context.view))
        has["resourcesListChanged"] = bool(catalog.servers_with("resources", context.view))
        agreed: JsonObject = {name: True for name in _FILTERS if wanted.get(name) is True and has[name]}
        methods = {_FILTERS[name] for name in agreed}
        uris = await self._subscribed(wanted.get("resourceSubscriptions"), context)
        if uris:
            agreed["resourceSubscriptions"] = list[JsonValue](uris)
        changes: asyncio.Queue[ChangeRecord] = asyncio.Queue(maxsize=1_024)
        try:
            with self.feed.listening(context.token, lambda change: _offer(changes, change)):
                await context.channel.notify(
                    "notifications/subscriptions/acknowledged", {"_meta": meta, "notifications": agreed}
                )
                while True:
                    told = notification_of(await changes.get(), context.view)
                    if told is not None and (told[0] in methods or told[1].get("uri") in uris):
                        await context.channel.notify(told[0], {**told[1], "_meta": meta})
        finally:
            for uri in uris:
                await self._unsubscribe(uri, context)

    async def _subscribed(self, wanted: JsonValue, context: Context) -> list[str]:
        """Subscribe to the resources that were asked for; those it cannot have are left out, as the page says."""
        uris: list[str] = []
        for uri in (wanted if isinstance(wanted, list) else [])[:MAX_SUBSCRIPTIONS]:
            try:
                await self.methods.subscribe(str(uri), context)
                uris.append(str(uri))
            except (RpcError, UnknownResourceError):
                continue
        return uris

    async def _unsubscribe(self, uri: str, context: Context) -> None:
        try:
            await asyncio.shield(self.methods.unsubscribe(uri, context))
        except (RpcError, asyncio.CancelledError):
            return  # the daemon forgets it with the server's connection at the latest


def session_context(session: Session, channel: Channel, *, may_hold: bool = True) -> Context:
    """The surroundings of a handshake client's request."""
    return Context(
        token=session.token,
        view=session.view,
        revision=session.revision,
        capabilities=session.capabilities,
        channel=channel,
        log_level=session.log_level,
        session=session.public_name,
        agent=session.agent,
        may_hold=may_hold,
    )


def is_stateless_message(params: JsonObject) -> bool:
    """Whether a request says its own revision, and so belongs to no session."""
    return META_REVISION in as_object(params.get("_meta"))


def stateless_context(
    request: Request,
    token: str,
    view: View,
    channel: Channel,
    header_revision: str | None = None,
    *,
    is_http: bool = False,
) -> Context:
    """The surroundings of a request that carries them (2026-07-28, basic protocol, `_meta`).

    Args:
        request: the request.
        token: its agent's.
        view: what its endpoint shows.
        channel: the way back.
        header_revision: what `MCP-Protocol-Version` says.
        is_http: whether there is such a header at all.

    Raises:
        RpcError: a required field is missing or of another type (`-32602`), the header says something else (`-32020`),
            or the revision is not spoken (`-32022`).
    """
    meta = as_object(request.params.get("_meta"))
    revision, capabilities = meta.get(META_REVISION), meta.get(META_CAPABILITIES)
    if not isinstance(revision, str):
        raise _missing(META_REVISION, request)
    if is_http and header_revision != revision:
        raise mismatch("MCP-Protocol-Version", request)
    if not is_stateless(revision):
        raise unsupported_revision(revision, request)
    if not isinstance(capabilities, dict):
        raise _missing(META_CAPABILITIES, request)
    client, level = meta.get(META_CLIENT), meta.get(META_LOG_LEVEL)
    if client is not None and not isinstance(client, dict):
        raise _missing(META_CLIENT, request)
    if level is not None and level not in LOG_LEVELS:
        raise _missing(META_LOG_LEVEL, request)
    name = as_object(client).get("name")
    return Context(
        token=token,
        view=view,
        revision=revision,
        capabilities=capabilities,
        channel=channel,
        log_level=level if isinstance(level, str) else None,
        agent=name[:64] if isinstance(name, str) and name else None,
    )


def unsupported_revision(revision: str, request: Request | None) -> RpcError:
    """The error that names what is spoken here (2026-07-28, versioning)."""
    return RpcError(
        UNSUPPORTED_REVISION,
        "unsupported protocol version",
        data={"supported": list[JsonValue](STATELESS_REVISIONS), "requested": revision[:64]},
        request_id=None if request is None else request.id,
        http_status=HTTPStatus.BAD_REQUEST,
    )


def not_initialized(request_id: RequestId | None) -> RpcError:
    """A message of the handshake era before its handshake."""
    return RpcError(
        INVALID_REQUEST,
        "expected `initialize` first, or the request metadata of 2026-07-28",
        request_id=request_id,
        http_status=HTTPStatus.BAD_REQUEST,
    )


def internal_error() -> RpcError:
    """A fault of ours: the client learns nothing else of it."""
    return RpcError(INTERNAL_ERROR, "internal error", http_status=HTTPStatus.INTERNAL_SERVER_ERROR)


def _missing(name: str, request: Request) -> RpcError:
    return RpcError(
        INVALID_PARAMS,
        f"expected `_meta` with a valid `{name}`",
        request_id=request.id,
        http_status=HTTPStatus.BAD_REQUEST,
    )


def _offer(changes: asyncio.Queue[ChangeRecord], change: ChangeRecord) -> None:
    if not changes.full():  # a client that reads nothing learns of changes when it next lists
        changes.put_nowait(change)


def _note_subscription(session: Session, request: Request) -> None:
    uri = str(request.params.get("uri"))
    if request.method == "resources/unsubscribe":
        session.unsubscribe(uri)
    else:
        session.subscribe(uri)
