"""A call that takes several rounds: what a server asks before it answers, and how the call goes on afterwards.

A stateless server (2026-07-28) forgets the call and gives a state to bring along; a handshake server waits with the
call open, and so do we, for a while. Either way the caller gets one thing: `input_required` with a sealed state of
ours. To go on is a call of its own, decided, charged and receipted as the first one was (`Calls`, steps 4 to 9); it can
only finish what was allowed, never begin anything.

INVARIANT (once): a state goes on once. Its nonce is taken in the transaction of the intent that goes on with it. Inside
the seal are the principal, the tool with its definition and cost, the arguments, the time and the first intent.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from briefcase.adapters.servers.exchanges import Exchange
from briefcase.adapters.servers.session import Running, Session
from briefcase.adapters.servers.shares import MAX_RUNNING
from briefcase.core.approvals.lifecycle import APPROVAL_TTL_US
from briefcase.core.mcp.jsonrpc import as_object
from briefcase.core.mcp.sealing import Sealer
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import CallContext, Clock, Entropy, Redactor
from briefcase.model.types import US_PER_S, JsonObject, ToolSpec

MAX_SUSPENDED: Final = 128
MAX_SUSPENDED_PER_PRINCIPAL: Final = 16
MAX_SUSPENDED_PER_SERVER: Final = MAX_RUNNING // 4  # the other parts are for calls that nobody has to answer
# a person answers the server's question and, where policy asks for it, another one approves the answers
MAX_QUESTION_BYTES: Final = 16 << 10  # of what is sealed for who approves the answers; with more, nobody can
STATE_TTL_US: Final = 10 * 60 * US_PER_S + APPROVAL_TTL_US
INPUT_REQUIRED: Final = "input_required"
_NS_PER_MS: Final = 1_000_000


class Ask(msgspec.Struct, frozen=True):
    """A request to a server: what the daemon's tool `target` stands for."""

    target: ToolSpec
    method: str
    params: JsonObject
    args: JsonObject

    @property
    def digest(self) -> bytes:
        """What a continuation must repeat: the tool, its definition, its cost and the arguments."""
        spec = self.target
        bound: JsonObject = {
            "tool": spec.id,
            "definition": spec.digest_hex,
            "cost_microusd": spec.cost_microusd,
            "args": self.args,
        }
        return hashlib.sha256(canonical_bytes(bound)).digest()


class Answered(msgspec.Struct, frozen=True):
    """A request's result; `inexact` names what of it was no strict JSON (`core.json.lenient`)."""

    result: JsonObject
    inexact: tuple[str, ...] = ()


class Continuation(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed into the state.

    `is_suspended` says that the call waits here under the nonce; else the server was given its answer by then, and
    wants `server_state` brought along where it gave one. `question` is the canonical JSON of what the server asked,
    without secrets, for who approves the answers; empty where it is too large.
    """

    nonce: str
    principal: str
    digest: bytes
    sealed_us: int
    first_intent_id: int
    server_state: str | None = None
    is_suspended: bool = False
    question: str = ""

    @property
    def expires_us(self) -> int:
        """From when on it is refused."""
        return self.sealed_us + STATE_TTL_US


class _Suspended(msgspec.Struct, frozen=True):
    session: Session
    running: Running
    principal: str
    expires_us: int


class Flows:
    """The calls that wait for input.

    Args:
        sealer: seals their states, with a key that lives as long as the ledger that takes their nonces.
        clock: for deadlines.
        now_us: the time by which states end, which never goes back (`ports.Ledger.now_us`).
        entropy: names suspended calls.
        redactor: cuts secrets out of what is sealed of a question.
    """

    def __init__(
        self, sealer: Sealer, clock: Clock, now_us: Callable[[], int], entropy: Entropy, redactor: Redactor
    ) -> None:
        self._sealer = sealer
        self._clock = clock
        self._now_us = now_us
        self._entropy = entropy
        self._redactor = redactor
        self._suspended: OrderedDict[str, _Suspended] = OrderedDict()

    async def begin(self, session: Session, ask: Ask, context: CallContext, running: Running) -> Answered:
        """Take a request that was started to its result, or to the first question.

        Raises:
            UpstreamError: as `Session.advance`.
        """
        answer = await session.advance(running, self._left_ms(context))
        if answer is None:
            return await self._suspend(session, ask, context, running)
        if answer.get("resultType") == INPUT_REQUIRED:
            state, requests = answer.get("requestState"), as_object(answer.get("inputRequests"))
            server_state = state if isinstance(state, str) else None
            try:
                sealed = self._sealer.seal(self._continuation(ask, context, requests, server_state=server_state))
            except ValueError as error:
                raise UpstreamError(f"the server's own state is too large: {error}") from None
            return Answered({"resultType": INPUT_REQUIRED, "inputRequests": requests, "requestState": sealed})
        return Answered(answer, () if running.answer is None else running.answer.inexact)

    def opened(self, state: object, ask: Ask, principal: str) -> Continuation:
        """Read a state back.

        Raises:
            UpstreamError: not ours, expired, another principal's, another call's, or of a tool that has changed since
                (`upstream_refused`, nothing sent).
        """
        found = self._sealer.open(state, Continuation)
        if (
            found is None
            or found.expires_us <= self._now_us()
            or found.principal != principal
            or not hmac.compare_digest(found.digest, ask.digest)
        ):
            raise UpstreamError(
                "the `state` belongs to no call of this agent, tool and arguments that waits for input: call it again",
                code="upstream_refused",
                sent=False,
            )
        return found

    async def resume(
        self, found: Continuation, responses: JsonObject, ask: Ask, context: CallContext, exchange: Exchange
    ) -> Answered:
        """Answer the questions of a suspended call, and take it on from there.

        Raises:
            UpstreamError: it waits no longer, or as `Session.advance`.
        """
        suspended = self._suspended.pop(found.nonce, None)
        if suspended is None or suspended.principal != context.principal:
            raise UpstreamError("the call waits no longer: make it again", code="upstream_refused", sent=False)
        suspended.running.join(exchange)
        await suspended.session.reply(suspended.running, responses)
        return await self.begin(suspended.session, ask, context, suspended.running)

    async def expire(self) -> None:
        """Give up the calls nobody came back for."""
        now_us = self._now_us()
        for name, suspended in list(self._suspended.items()):
            if suspended.expires_us <= now_us:
                del self._suspended[name]
                await suspended.session.abandon(suspended.running)

    async def _suspend(self, session: Session, ask: Ask, context: CallContext, running: Running) -> Answered:
        await self.expire()
        own = sum(kept.principal == context.principal for kept in self._suspended.values())
        if own >= MAX_SUSPENDED_PER_PRINCIPAL:
            await session.abandon(running)
            raise UpstreamError("too many calls wait for input")
        requests: JsonObject = {
            key: {"method": question.method, "params": question.params} for key, question in running.questions.items()
        }
        found = self._continuation(ask, context, requests, is_suspended=True)
        self._suspended[found.nonce] = _Suspended(session, running, context.principal, found.expires_us)
        for given_up in self._crowd_out(session):
            await given_up.session.abandon(given_up.running)
        sealed = self._sealer.seal(found)
        return Answered({"resultType": INPUT_REQUIRED, "inputRequests": requests, "requestState": sealed})

    def _crowd_out(self, session: Session) -> list[_Suspended]:
        """Take out what is too much at one server and in all: each time the oldest of whoever has most."""
        found: list[_Suspended] = []
        for bound, at in ((MAX_SUSPENDED_PER_SERVER, {id(session)}), (MAX_SUSPENDED, None)):
            kept = {nonce: one for nonce, one in self._suspended.items() if at is None or id(one.session) in at}
            while len(kept) > bound:
                [(most, _)] = Counter(one.principal for one in kept.values()).most_common(1)
                nonce = next(nonce for nonce, one in kept.items() if one.principal == most)
                del kept[nonce]
                found.append(self._suspended.pop(nonce))
        return found

    def _continuation(
        self,
        ask: Ask,
        context: CallContext,
        requests: JsonObject,
        *,
        server_state: str | None = None,
        is_suspended: bool = False,
    ) -> Continuation:
        question = self._redactor.redact(canonical_bytes(requests))
        return Continuation(
            nonce=self._entropy.token(),
            principal=context.principal,
            digest=ask.digest,
            sealed_us=self._now_us(),
            first_intent_id=context.first_intent_id,
            server_state=server_state,
            is_suspended=is_suspended,
            question=question.decode() if len(question) <= MAX_QUESTION_BYTES else "",
        )

    def _left_ms(self, context: CallContext) -> int:
        left_ms = (context.deadline_ns - self._clock.monotonic_ns()) // _NS_PER_MS
        return max(1, left_ms)
