"""The opaque `requestState` an agent carries from a call that could not finish to its retry (2026-07-28, MRTR).

It comes back from the agent, so it is an attacker's input: a MAC keeps its bytes, and inside are the principal, the
request it belongs to and its expiry, each checked on return. It grants nothing by itself: the daemon still decides the
retry, and an approval inside it is used at most once there.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

import msgspec

from briefcase.mcp.jsonrpc import INVALID_PARAMS, RpcError
from briefcase.mcp.sealing import Sealer

TTL_S: Final = 15 * 60


class RequestState(msgspec.Struct, frozen=True, array_like=True):
    """What a retry needs to know.

    `approval_id` is set while a person's answer is awaited, `server_state` while the tool's server awaits input.
    `round` counts how often this request was sent back.
    """

    request_digest: bytes
    principal_digest: bytes
    expires_s: int
    round: int
    approval_id: str | None = None
    server_state: str | None = None


class StateSealer:
    """Seals and opens states with one key, which lives as long as the gateway's process.

    Args:
        key: 32 unpredictable bytes.
        now_s: the wall clock, in seconds.
    """

    def __init__(self, key: bytes, now_s: Callable[[], float]) -> None:
        self._sealer = Sealer(key)
        self._now_s = now_s

    def seal(
        self,
        request_digest: bytes,
        principal_digest: bytes,
        *,
        round_: int,
        approval_id: str | None = None,
        server_state: str | None = None,
    ) -> str:
        """Write a state for one request of one principal."""
        expires_s = int(self._now_s()) + TTL_S
        return self._sealer.seal(
            RequestState(request_digest, principal_digest, expires_s, round_, approval_id, server_state)
        )

    def open(self, text: object, request_digest: bytes, principal_digest: bytes) -> RequestState:
        """Read a state back.

        Raises:
            RpcError: not ours, altered, expired, another principal's or another request's (`-32602`).
        """
        state = self._sealer.open(text, RequestState)
        if state is None or not hmac.compare_digest(state.principal_digest, principal_digest):
            raise _refused("is not one this server made")  # whose it is, is nobody else's business
        if state.expires_s <= self._now_s():
            raise _refused("has expired: send the request again without it")
        if not hmac.compare_digest(state.request_digest, request_digest):
            raise _refused("belongs to another request")
        return state


def _refused(why: str) -> RpcError:
    return RpcError(INVALID_PARAMS, f"`requestState` {why}", http_status=400)
