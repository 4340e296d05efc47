"""The guard: ASGI middleware that lets a request through only with a capability, proven, unrevoked and in its count.

It goes in front of any ASGI application, so a provider can protect a real API with it:

    app = CapabilityGuard(api, authority, base_url="https://api.example", scope="quote")

The application finds the token's claims in `scope["state"]["capability"]`. The answer carries the profile and the
call's price.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from briefcase.edges.provider_gateway.authority import Authority, Refused
from briefcase.edges.provider_gateway.http import (
    PROFILE,
    App,
    Receive,
    Reply,
    Scope,
    Send,
    asked_of,
    refusal,
    send_reply,
)

COST_HEADER = b"x-cost-microusd"


class CapabilityGuard:
    """Guards one application with one scope.

    Args:
        app: what is protected.
        authority: issues and checks the capabilities.
        base_url: the address clients use, without a trailing slash; proofs are compared with it.
        scope: what a token must be for.
        answer_of: makes the answer of a refusal.
    """

    def __init__(
        self,
        app: App,
        authority: Authority,
        *,
        base_url: str,
        scope: str,
        answer_of: Callable[[Refused], Reply] = refusal,
    ) -> None:
        self._app = app
        self._authority = authority
        self._base_url = base_url
        self._scope = scope
        self._answer_of = answer_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3); what is not HTTP has no proof and is not passed on."""
        if scope["type"] != "http":
            raise TypeError(f"expected an HTTP request, got `{scope['type']}`")
        checked = self._authority.check_call(asked_of(scope, self._base_url), self._scope)
        if isinstance(checked, Refused):
            await send_reply(self._answer_of(checked), send)
            return
        marks = (PROFILE, (COST_HEADER, b"%d" % checked.cost_microusd))

        async def marked(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in marks}
                kept = [field for field in message.get("headers", ()) if field[0].lower() not in names]
                message = message | {"headers": [*kept, *marks]}
            await send(message)

        state = {**scope.get("state", {}), "capability": checked}
        await self._app({**scope, "state": state}, receive, marked)
