"""A call that takes several rounds: what a server asks before it answers, and how the call goes on afterwards.

A stateless server (2026-07-28) forgets the call and gives a state to bring along; a handshake server waits with the
call open, and so do we, for a while. Either way the caller gets one thing: `input_required` with a sealed state of
ours, bound to the principal, the tool and the arguments of the call that policy let through. To go on is an operation
of its own, decided and receipted like any call; it can only finish what was allowed, never begin anything, and is
denied where the call it goes on with would be denied by now (`Calls`, step 6).
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from typing import Final

import msgspec

from briefcase.errors import UpstreamError
from briefcase.mcp.exchanges import Exchange
from briefcase.mcp.jsonrpc import as_object
from briefcase.mcp.peer import Peer, Running
from briefcase.mcp.sealing import Sealer
from briefcase.ports import CallContext, Clock, Entropy
from briefcase.receipts.canonical import canonical_bytes
from briefcase.types import US_PER_S, JsonObject

MAX_SUSPENDED: Final = 128
MAX_SUSPENDED_PER_PRINCIPAL: Final = 16
STATE_TTL_US: Final = 10 * 60 * US_PER_S
INPUT_REQUIRED: Final = "input_required"
_NS_PER_MS: Final = 1_000_000


class Ask(msgspec.Struct, frozen=True):
    """A request to a server: what the daemon's tool `target` stands for."""

    target: str
    method: str
    params: JsonObject
    args: JsonObject

    @property
    def digest(self) -> bytes:
        """What a continuation must repeat."""
        return hashlib.sha256(self.target.encode() + b"\x00" + canonical_bytes(self.args)).digest()


class Continuation(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed into the state. One of `server_state` and `suspended_id` says how to go on."""

    principal: str
    digest: bytes
    expires_us: int
    server_state: str | None = None
    suspended_id: str | None = None


class _Suspended(msgspec.Struct, frozen=True):
    peer: Peer
    running: Running
    principal: str
    expires_us: int


class Flows:
    """The calls that wait for input.

    Args:
        sealer: seals their states; made with the daemon's process.
        clock: for deadlines and expiry.
        entropy: names suspended calls.
    """

    def __init__(self, sealer: Sealer, clock: Clock, entropy: Entropy) -> None:
        self._sealer = sealer
        self._clock = clock
        self._entropy = entropy
        self._suspended: OrderedDict[str, _Suspended] = OrderedDict()

    async def begin(self, peer: Peer, ask: Ask, context: CallContext, running: Running) -> JsonObject:
        """Take a request that was started to its result, or to the first question.

        Raises:
            UpstreamError: as `Peer.advance`.
        """
        answer = await peer.advance(running, self._left_ms(context))
        if answer is None:
            return await self._suspend(peer, ask, context, running)
        if answer.get("resultType") == INPUT_REQUIRED:
            state = answer.get("requestState")
            server_state = state if isinstance(state, str) else None
            sealed = self._seal(ask, context, server_state=server_state)
            return {
                "resultType": INPUT_REQUIRED,
                "inputRequests": as_object(answer.get("inputRequests")),
                "requestState": sealed,
            }
        return answer

    def opened(self, state: object, ask: Ask, context: CallContext) -> Continuation:
        """Read a state back.

        Raises:
            UpstreamError: not ours, expired, another principal's or another call's (`upstream_refused`, nothing sent).
        """
        found = self._sealer.open(state, Continuation)
        if (
            found is None
            or found.expires_us <= self._clock.now_us()
            or found.principal != context.principal
            or not hmac.compare_digest(found.digest, ask.digest)
        ):
            raise UpstreamError(
                "the state belongs to no call that waits for input", code="upstream_refused", sent=False
            )
        return found

    async def resume(
        self, found: Continuation, responses: JsonObject, ask: Ask, context: CallContext, exchange: Exchange
    ) -> JsonObject:
        """Answer the questions of a suspended call, and take it on from there.

        Raises:
            UpstreamError: it waits no longer, or as `Peer.advance`.
        """
        suspended = self._suspended.pop(found.suspended_id or "", None)
        if suspended is None or suspended.principal != context.principal:
            raise UpstreamError("the call waits no longer: make it again", code="upstream_refused", sent=False)
        suspended.running.join(exchange)
        await suspended.peer.reply(suspended.running, responses)
        return await self.begin(suspended.peer, ask, context, suspended.running)

    async def expire(self) -> None:
        """Give up the calls nobody came back for."""
        now_us = self._clock.now_us()
        for name, suspended in list(self._suspended.items()):
            if suspended.expires_us <= now_us:
                del self._suspended[name]
                await suspended.peer.abandon(suspended.running)

    async def _suspend(self, peer: Peer, ask: Ask, context: CallContext, running: Running) -> JsonObject:
        await self.expire()
        own = sum(kept.principal == context.principal for kept in self._suspended.values())
        if own >= MAX_SUSPENDED_PER_PRINCIPAL or len(self._suspended) >= MAX_SUSPENDED:
            await peer.abandon(running)
            raise UpstreamError("too many calls wait for input")
        name = self._entropy.token()
        expires_us = self._clock.now_us() + STATE_TTL_US
        self._suspended[name] = _Suspended(peer, running, context.principal, expires_us)
        requests: JsonObject = {
            key: {"method": question.method, "params": question.params} for key, question in running.questions.items()
        }
        sealed = self._seal(ask, context, suspended_id=name)
        return {"resultType": INPUT_REQUIRED, "inputRequests": requests, "requestState": sealed}

    def _seal(
        self, ask: Ask, context: CallContext, *, server_state: str | None = None, suspended_id: str | None = None
    ) -> str:
        expires_us = self._clock.now_us() + STATE_TTL_US
        return self._sealer.seal(Continuation(context.principal, ask.digest, expires_us, server_state, suspended_id))

    def _left_ms(self, context: CallContext) -> int:
        left_ms = (context.deadline_ns - self._clock.monotonic_ns()) // _NS_PER_MS
        return max(1, left_ms)
