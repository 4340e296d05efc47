"""What a signer signs beside an approval's id: everything the yes is for, as the signer showed it.

The daemon, the command line's signer, the page and the relay compute it by this function alone, each from the document
that it shows (`GET /v1/approvals/{id}`, or the signer's list). A signer computes it and signs nothing it was given.
"""

from __future__ import annotations

from typing import Final

from briefcase.core.operator.approvals import shown_digest_of
from briefcase.core.receipts.canonical import digest_hex
from briefcase.model.errors import CallerError
from briefcase.model.types import MICROUSD_PER_USD, JsonObject, JsonValue

MAX_USD: Final = 2**53 // MICROUSD_PER_USD  # what has an exact number of micro-USD


def binding_document(document: JsonObject, device_did: str) -> JsonObject:
    """The document whose digest is signed (CONTRACT.md, "Signers").

    Args:
        document: an approval's whole shown document, with or without its `shown_digest_hex`, which is computed again.
        device_did: the `did:key` of the daemon that asks.

    Raises:
        CallerError: the document shows no whole call (`bad_request`): nobody can sign for what they do not see.
    """
    tool = document.get("tool")
    cost = tool.get("cost") if isinstance(tool, dict) else None
    usd = cost.get("estimated_usd") if isinstance(cost, dict) else None
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd <= MAX_USD:
        raise CallerError("expected the cost of the tool in what is shown")

    def text(name: str) -> JsonValue:
        value = document.get(name)
        if not isinstance(value, str):
            raise CallerError(f"expected `{name}` in what is shown")
        return value

    return {
        "approval_id": text("id"),
        "device_did": device_did,
        "principal": text("principal"),
        "tool_id": text("tool_id"),
        "tool_digest_hex": text("tool_digest_hex"),
        "args_digest_hex": text("args_digest_hex"),
        "cost_microusd": round(usd * MICROUSD_PER_USD),
        "destination": text("destination"),
        "expires_at": text("expires_at"),
        "shown_digest_hex": shown_digest_of(document),
    }


def binding_hex_of(document: JsonObject, device_did: str) -> str:
    """SHA-256, in hex, of the RFC 8785 JSON of `binding_document`: the `binding_hex` of `approve_binding`.

    Raises:
        CallerError: as `binding_document`.
    """
    return digest_hex(binding_document(document, device_did))
