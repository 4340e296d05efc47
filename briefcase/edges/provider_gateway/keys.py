"""The gateway's own key, kept in `gateway.key` (0600): it signs tokens, and everything else is derived from it.

Removing the file ends every token, credential and payment that was issued with it.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.disk.files import read_private, write_private
from briefcase.core.jose.base64url import JoseError, encode_base64url
from briefcase.core.jose.jws import EDDSA, PrivateKey, generate_key, load_private_key
from briefcase.model.errors import ConfigError

KEY_FILE: Final = "gateway.key"


class GatewayKeys:
    """The signing key and the keyed hashes derived from it."""

    def __init__(self, key: PrivateKey) -> None:
        self.signing = key
        self._mac_key = hashlib.sha256(b"briefcase provider gateway mac\0" + key.export()).digest()

    def mac(self, purpose: str, *parts: str) -> str:
        """A keyed hash of a few texts, for one purpose: base64url of HMAC-SHA256 over a JSON list of them."""
        message = msgspec.json.encode([purpose, *parts])
        return encode_base64url(hmac.new(self._mac_key, message, hashlib.sha256).digest())

    def is_mac(self, mac: str, purpose: str, *parts: str) -> bool:
        """Whether a text is the keyed hash, in constant time."""
        return hmac.compare_digest(mac.encode(errors="replace"), self.mac(purpose, *parts).encode())


def load_or_create_keys(state_dir: Path) -> GatewayKeys:
    """Read the key, or make it at the first start.

    Raises:
        ConfigError: the file is not private, or holds no key.
    """
    path = state_dir / KEY_FILE
    exported = read_private(path)
    if exported is None:
        exported = generate_key(EDDSA).export()
        write_private(path, exported)
    try:
        return GatewayKeys(load_private_key(exported))
    except JoseError as error:
        raise ConfigError(
            f"`{path}`: {error}", hint="restore it, or remove it to end every token issued so far"
        ) from None
