"""`envoy.service.auth.v3.Authorization/Check`, on a loopback address of its own.

The question is the HTTP API's (`api/ext_authz.py`), in other words:

| over HTTP | over gRPC |
|---|---|
| the request's `authorization` | the metadata's, where Envoy adds one to its question; else the held request's |
| `/ext_authz/<server>/mcp` | `context_extensions: {server: ...}` and the path `/mcp`; without it, `/<server>/mcp` |
| the body | `raw_body` (`pack_as_bytes: true`); `body` is refused: Envoy replaces what is no UTF-8 in it |
| 200 | `ok_response` |
| 401, 403, 429 | `denied_response` |
| 400, 500, 503 | a status of gRPC, which Envoy takes for an error: closed with `failure_mode_allow: false` |

# INVARIANT (closed): an answer is `ok_response` only where `check` gave `Forward`.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import grpc
import msgspec
import orjson

from briefcase.adapters.telemetry.log_context import open_request
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.core.calls.ratelimits import PrincipalBuckets
from briefcase.core.wire.ext_authz import Forward
from briefcase.edges.api.auth import Authenticator
from briefcase.edges.api.ext_authz import AUTHORIZATION, OWN_PATH, Forwarded, check, removed
from briefcase.edges.api.routing import CALLERS
from briefcase.edges.api.services import Services
from briefcase.edges.ext_authz.messages import Question, UnreadableError, encode_denied, encode_ok, read_check
from briefcase.model.errors import BriefcaseError, CallerError, ConfigError
from briefcase.model.types import Principal

SERVICE: Final = "envoy.service.auth.v3.Authorization"
MAX_AT_ONCE: Final = 256
HEAD_BYTES: Final = 64 << 10  # of a question beside the body
GRACE_S: Final = 5.0

_CODES: Final = {
    "bad_request": grpc.StatusCode.INVALID_ARGUMENT,
    "receipts_unavailable": grpc.StatusCode.UNAVAILABLE,
    "not_ready": grpc.StatusCode.UNAVAILABLE,
}
_TO_CLIENT: Final = frozenset({"unauthorized", "forbidden", "rate_limited"})  # denials with a status of HTTP

_log: Final = get_logger("briefcase.ext_authz")


class GrpcServer:
    """Serves the questions of proxies.

    Args:
        services: what the API answers from.
        authenticator: tells who asks.
        buckets: how much each principal may ask, over HTTP and here together.
        max_body_bytes: of the body of a held request.
    """

    def __init__(
        self, services: Services, authenticator: Authenticator, buckets: PrincipalBuckets, max_body_bytes: int
    ) -> None:
        self._services = services
        self._authenticator = authenticator
        self._has_room = buckets.take
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=MAX_AT_ONCE,
            options=(
                ("grpc.so_reuseport", 0),  # another process must not share the port
                ("grpc.max_receive_message_length", max_body_bytes + HEAD_BYTES),
                ("grpc.max_concurrent_streams", MAX_AT_ONCE),
            ),
        )
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check)  # of bytes, as they come
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            ConfigError: the address is taken, or not to be had.
        """
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self._server.add_insecure_port(authority)
        except RuntimeError:
            raise ConfigError(
                f"`BRIEFCASE_EXT_AUTHZ_ADDR`: cannot listen on `{authority}`",
                hint="another program listens there: choose another port",
            ) from None
        await self._server.start()

    async def stop(self) -> None:
        """Answer what was asked, and close."""
        await self._server.stop(GRACE_S)

    async def _check(self, data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        open_request()
        try:
            tokens = [value for name, value in context.invocation_metadata() or () if name == AUTHORIZATION]
            return await self._answered(data, tokens)
        except UnreadableError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except BriefcaseError as error:
            self._services.meter.count_fault(error.code)
            if error.code in _TO_CLIENT:
                return encode_denied(error.http_status, self._shown({"code": error.code, "message": error.message}))
            await context.abort(_CODES.get(error.code, grpc.StatusCode.INTERNAL), error.code)
        except Exception as error:  # noqa: BLE001 - nothing of it may leave; all of it is logged
            _log.error("request failed", detail=repr(error), exc_info=error)
            self._services.meter.count_fault("internal")
            await context.abort(grpc.StatusCode.INTERNAL, "internal")

    async def _answered(self, data: bytes, tokens: list[str | bytes]) -> bytes:
        held = read_check(data)
        asker = self._asker(tokens, held.headers)
        if not self._has_room(asker.owner, len(data), self._services.clock.monotonic_ns()):
            raise await self._services.calls.refusals.turn_away(asker, len(data))
        if held.has_other_forms:
            raise UnreadableError("expected `raw_body` and `headers`: `pack_as_bytes: true`")
        server, path = _place_of(held)
        asked = Forwarded(server, held.method, path, list(held.headers.items()), held.body)
        checked = await check(self._services, asker, asked)
        if isinstance(checked, Forward):
            return encode_ok(removed(asker))
        return encode_denied(HTTPStatus.FORBIDDEN, self._shown(checked))

    def _asker(self, tokens: list[str | bytes], headers: Mapping[str, str]) -> Principal:
        """Whose token it is: Envoy's own where it adds one to its question, else the held request's."""
        if len(tokens) > 1:
            raise UnreadableError("expected `authorization` in the metadata once")
        token = tokens[0] if tokens else headers.get(AUTHORIZATION)
        principal = self._authenticator.authenticate(token.encode() if isinstance(token, str) else token)
        if principal.role not in CALLERS:
            raise CallerError(f"the role `{principal.role}` may not ask for decisions", code="forbidden")
        return principal

    def _shown(self, payload: object) -> bytes:
        return self._services.redactor.redact(orjson.dumps(payload, default=msgspec.to_builtins))


def _place_of(held: Question) -> tuple[str, str]:
    """Which server a request is for, and its path there, empty where that is none."""
    if held.server:
        return held.server, held.path
    server = held.path.removeprefix("/").removesuffix(OWN_PATH)
    return server, OWN_PATH if held.path == f"/{server}{OWN_PATH}" else ""
