"""Signers only: a change that could widen anything takes the signature of an operator's paired device beside the token.

The signature is over the very request, in four headers, for this daemon, within two minutes, once. It has a receipt of
its own, `signer_authorized`, before the change is made.
"""

from __future__ import annotations

import hashlib
from typing import Final

from briefcase.core.signers.texts import Signed, change_text
from briefcase.edges.api.routing import Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.errors import CallerError
from briefcase.model.types import Principal, Role

SIGNER: Final = b"x-briefcase-signer"
SIGNED_AT: Final = b"x-briefcase-signed-at"
NONCE: Final = b"x-briefcase-nonce"
SIGNATURE: Final = b"x-briefcase-signature"


async def check_signed(services: Services, route: Route, request: Request) -> Principal:
    """Check that a paired signer of an operator's signed this request; it has its receipt when this returns.

    Raises:
        CallerError: it carries no signature (`signer_required`), or as `SignerDesk.authorize`.
        StoreError: the receipt could not be made durable.

    Returns:
        The operator whose device signed.
    """
    values = [request.header(name).decode("latin-1") for name in (SIGNER, SIGNED_AT, NONCE, SIGNATURE)]
    if not all(values):
        raise CallerError(
            "this daemon takes such a change only with the signature of a paired signer",
            code="signer_required",
            hint="run the command as `briefcase --sign-with ~/.config/briefcase/signer.json …`",
        )
    head = request.head
    target = head.path + (b"?" + head.query if head.query else b"")
    signed = Signed(*values)
    digest_hex = hashlib.sha256(request.body).hexdigest()
    text = change_text(
        services.operator.signers.device_did, f"{head.method} {target.decode('latin-1')}", digest_hex, signed
    )
    signer = await services.operator.signers.authorize(signed, text, f"{route.method} {route.path}", digest_hex)
    return Principal(signer.owner, Role.OPERATOR, auth_method="signer")
