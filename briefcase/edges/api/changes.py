"""The one way to a change, from a connection or from the page: the gate, a signature where one is wanted, the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from briefcase.adapters.telemetry.logger import get_logger
from briefcase.edges.api.effects import UNSIGNED
from briefcase.edges.api.routing import Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.api.signed_changes import check_signed

_log: Final = get_logger("briefcase.api")


async def make_change(
    services: Services, route: Route, request: Request, answering: Callable[[Request], Awaitable[object]]
) -> object:
    """Make a change, and log which operation it was, of what, by whom; its values are in its receipt.

    A change that was signed is the signer's owner's, whoever's token came with it: a token says who carried it.

    Args:
        services: what the nouns answer from.
        route: the operation.
        request: who asks, and what.
        answering: makes it, in the name of who is asking then.

    Raises:
        StoreError: receipts cannot be made durable; nothing was changed.
        CallerError: as `check_signed`, or as the operation answers.
    """
    services.operator.administration.check_open()
    if services.signers_only and (route.method, route.path) not in UNSIGNED:
        request = msgspec.structs.replace(request, principal=await check_signed(services, route, request))
    answer = await answering(request)
    _log.info("changed", operation=f"{route.method} {route.path}", by=request.principal.name, **request.params)
    return answer
