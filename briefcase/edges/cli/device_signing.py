"""`briefcase --sign-with FILE`: what a command changes is signed with a paired device's key (signers only)."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path

from briefcase.adapters.signers.device import load_device
from briefcase.adapters.system import SystemClock
from briefcase.core.signers.texts import Signed, change_text
from briefcase.model.errors import CallerError
from briefcase.model.types import format_rfc3339


def signing(path: Path) -> Callable[[str, bytes], dict[str, str]]:
    """What gives the headers of a signed change, from its method and path, and its body.

    Raises:
        CallerError: the device is not paired (`unknown_signer`), or there is no such file (`not_found`).
        ConfigError: the file is not private, or no device's.
    """
    device = load_device(path.expanduser())
    if not device.signer_id:
        raise CallerError("this device is not paired", code="unknown_signer", hint="run `briefcase signer pair`")

    def sign(target: str, body: bytes) -> dict[str, str]:
        signed = Signed(device.signer_id, format_rfc3339(SystemClock().now_us()), str(uuid.uuid4()))
        text = change_text(device.device_did, target, hashlib.sha256(body).hexdigest(), signed)
        return {
            "X-Briefcase-Signer": signed.signer_id,
            "X-Briefcase-Signed-At": signed.ts,
            "X-Briefcase-Nonce": signed.nonce,
            "X-Briefcase-Signature": device.sign(text),
        }

    return sign
