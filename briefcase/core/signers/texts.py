r"""The texts that a signer signs (CONTRACT.md, "Signers"), byte for byte, and what may stand in a line of one.

    list_approvals\n{signer_id}\n-\n{ts}\n{nonce}\n
    approve\n{signer_id}\n{approval_id}\n{ts}\n{nonce}\n                                 (and `deny`)
    approve_binding\n{signer_id}\n{approval_id}\n{binding_hex}\n{ts}\n{nonce}\n          (and `deny_binding`)
    change\n{signer_id}\n{device_did}\n{METHOD} {path}\n{body_sha256_hex}\n{ts}\n{nonce}\n  (signers only)

`approve` names an approval; `approve_binding` says what it is for, too, as the signer computed it from what it showed
(`operator.binding`). A passkey signs the SHA-256 of such a text as its challenge.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from briefcase.model.errors import CallerError
from briefcase.model.types import ApprovalStatus, parse_rfc3339

Form = Literal["plain", "binding"]

_TS: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_NONCE: Final = re.compile(r"[!-~]{1,128}")
_VERBS: Final = {ApprovalStatus.APPROVED: "approve", ApprovalStatus.REJECTED: "deny"}


class Signed(msgspec.Struct, frozen=True):
    """What comes with each request of a signer: who, when (RFC 3339, as it is sent), once, and the signature.

    The signature is base64url; a passkey's is elsewhere (`adapters.signers.passkeys`).
    """

    signer_id: str
    ts: str
    nonce: str
    sig_b64: str = ""


def list_text(signed: Signed) -> bytes:
    """What is signed to see what waits."""
    return f"list_approvals\n{signed.signer_id}\n-\n{signed.ts}\n{signed.nonce}\n".encode()


def ruling_text(to: ApprovalStatus, approval_id: str, signed: Signed, binding_hex: str | None) -> bytes:
    """What is signed to say yes or no; without a binding, the plain form.

    Args:
        to: `APPROVED` or `REJECTED`.
        approval_id: a UUID.
        signed: who signs, when and once.
        binding_hex: `operator.binding.binding_hex_of` of what was shown, or None.
    """
    verb, middle = _VERBS[to], ""
    if binding_hex is not None:
        verb, middle = f"{verb}_binding", f"{binding_hex}\n"
    return f"{verb}\n{signed.signer_id}\n{approval_id}\n{middle}{signed.ts}\n{signed.nonce}\n".encode()


def change_text(device_did: str, target: str, body_digest_hex: str, signed: Signed) -> bytes:
    """What is signed of a change where only signers may widen anything.

    Args:
        device_did: the daemon that is asked.
        target: method, a space, and the path with its query, as they are sent.
        body_digest_hex: SHA-256 of the body as it is sent, of nothing where there is none.
        signed: who signs, when and once.
    """
    lines = ("change", signed.signer_id, device_did, target, body_digest_hex, signed.ts, signed.nonce)
    return "".join(f"{line}\n" for line in lines).encode()


def parse_ts(ts: str) -> int:
    """The time of a signed text, in microseconds.

    Raises:
        CallerError: not RFC 3339 (`invalid_ts`).
    """
    try:
        if _TS.fullmatch(ts):
            return parse_rfc3339(ts)
    except ValueError:
        pass
    raise CallerError("expected `ts_rfc3339` as RFC 3339 with an offset", code="invalid_ts")


def check_nonce(nonce: str) -> None:
    """Check that a nonce can stand on a line of its own.

    Raises:
        CallerError: not 1 to 128 visible ASCII characters.
    """
    if not _NONCE.fullmatch(nonce):
        raise CallerError("expected a `nonce` of 1 to 128 visible ASCII characters", hint="take a new UUID")
