"""The opaque `requestState` an agent carries from a call that could not finish to its retry (2026-07-28, MRTR).

It comes back from the agent, so it is an attacker's input: a MAC keeps its bytes, and inside are the principal, the
request it belongs to and its expiry, each checked on return. Each is opened once: what was used is remembered for as
long as it could be opened, by the process whose key sealed it. It grants nothing by itself: the daemon still decides
the retry, and uses up the approval and the server's state that are inside once, in the transaction of its intent.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.core.jose.replay import Claim, ReplayCache
from briefcase.core.mcp.jsonrpc import INVALID_PARAMS, RpcError
from briefcase.core.mcp.sealing import Sealer

TTL_S: Final = 15 * 60
MAX_OPENED: Final = 10_000  # in their time, for each principal: none holds up another
NONCE_BYTES: Final = 16


class GoingOn(msgspec.Struct, frozen=True, array_like=True):
    """How to go on with a call whose server asked its client something: the daemon's state, and the answers.

    `responses` is their JSON; None while the client has not answered.
    """

    state: str
    responses: bytes | None = None


class RequestState(msgspec.Struct, frozen=True, array_like=True):
    """What a retry needs to know.

    `approval_id` is set while a person's answer is awaited, for the call or, where `going_on` is set too, for going on
    with it; `going_on` alone is set while the tool's server awaits input. `round` counts how often this request was
    sent back.
    """

    request_digest: bytes
    principal_digest: bytes
    sealed_s: int
    round: int
    nonce: bytes
    approval_id: str | None = None
    going_on: GoingOn | None = None


class StateSealer:
    """Seals and opens states with one key, which lives as long as the gateway's process.

    Args:
        key: 32 unpredictable bytes.
        now_s: the wall clock, in seconds.
    """

    def __init__(self, key: bytes, now_s: Callable[[], float]) -> None:
        self._sealer = Sealer(key)
        self._now_s = now_s
        self._opened: dict[bytes, ReplayCache] = {}  # by principal: whoever was sealed a state, which the daemon let in

    def seal(
        self,
        request_digest: bytes,
        principal_digest: bytes,
        *,
        round_: int,
        approval_id: str | None = None,
        going_on: GoingOn | None = None,
    ) -> str:
        """Write a state for one request of one principal.

        Raises:
            RpcError: what it must hold is too large (`-32602`).
        """
        sealed_s, nonce = int(self._now_s()), secrets.token_bytes(NONCE_BYTES)
        state = RequestState(request_digest, principal_digest, sealed_s, round_, nonce, approval_id, going_on)
        try:
            return self._sealer.seal(state)
        except ValueError as error:
            message = f"the answers to the server cannot wait for a person: {error}"
            raise RpcError(INVALID_PARAMS, message, http_status=HTTPStatus.BAD_REQUEST) from None

    def open(self, text: object, request_digest: bytes, principal_digest: bytes) -> RequestState:
        """Read a state back, once.

        Raises:
            RpcError: not ours, altered, expired, another principal's, another request's or used before (`-32602`).
        """
        state = self._sealer.open(text, RequestState)
        if state is None or not hmac.compare_digest(state.principal_digest, principal_digest):
            raise _refused("is not one this server made")  # whose it is, is nobody else's business
        now_s = int(self._now_s())
        if state.sealed_s + TTL_S <= now_s:
            raise _refused("has expired: send the request again without it")
        if not hmac.compare_digest(state.request_digest, request_digest):
            raise _refused("belongs to another request")
        opened = self._opened.setdefault(principal_digest, ReplayCache(TTL_S, max_entries=MAX_OPENED))
        match opened.claim(state.nonce, state.sealed_s, now_s):
            case Claim.FRESH:
                return state
            case Claim.FULL:
                raise _refused("cannot be taken now: too many are in use, send the request again without it later")
            case _:
                raise _refused("was used before: send the request again without it")


def _refused(why: str) -> RpcError:
    return RpcError(INVALID_PARAMS, f"`requestState` {why}", http_status=HTTPStatus.BAD_REQUEST)
