"""The reference device's own file: an Ed25519 key, and the daemon it was paired with.

The file is private (0600) and its user's alone; nothing in it is a daemon's. One file is one device, paired with one
daemon, whose identity it pins: a binding is made for that daemon and no other.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from briefcase.adapters.disk.directories import make_private_dirs
from briefcase.adapters.disk.files import read_private, write_private
from briefcase.core.jose.base64url import JoseError, decode_base64url, encode_base64url
from briefcase.model.errors import CallerError, ConfigError

SEED_BYTES: Final = 32


class DeviceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device keeps. `signer_id` and `device_did` are empty until it is paired; `base_url` is where, then."""

    seed_b64: str
    signer_id: str = ""
    device_did: str = ""
    base_url: str = ""

    def __repr__(self) -> str:
        return f"DeviceFile(signer_id={self.signer_id!r}, ...)"

    @property
    def public_key(self) -> bytes:
        """The raw public key, 32 bytes."""
        return self._key().public_key().public_bytes_raw()

    def sign(self, text: bytes) -> str:
        """A signature over a text, base64url."""
        return encode_base64url(self._key().sign(text))

    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(decode_base64url(self.seed_b64))


def make_device(path: Path) -> DeviceFile:
    """Make a key in a new file.

    Raises:
        CallerError: there is a file already (`conflict`).
        StoreError: the disk refused.
    """
    if os.path.lexists(path):
        raise CallerError(f"`{path}` exists already", code="conflict", hint="name another file with `--key`")
    device = DeviceFile(encode_base64url(os.urandom(SEED_BYTES)))
    make_private_dirs(path.parent)
    save_device(path, device)
    return device


def load_device(path: Path) -> DeviceFile:
    """Read a device's file.

    Raises:
        CallerError: there is none (`not_found`).
        ConfigError: it is not private, or no such file.
        StoreError: the disk refused.
    """
    data = read_private(path)
    if data is None:
        raise CallerError(f"no device's key is in `{path}`", code="not_found", hint="run `briefcase signer init`")
    try:
        device = msgspec.json.decode(data, type=DeviceFile)
        is_key = len(decode_base64url(device.seed_b64)) == SEED_BYTES
    except (msgspec.DecodeError, JoseError):
        is_key = False
    if not is_key:
        raise ConfigError(f"expected `{path}` to be a device's key file", hint="restore it, or make a new device")
    return device


def save_device(path: Path, device: DeviceFile) -> None:
    """Replace a device's file whole.

    Raises:
        StoreError: the disk refused; the old file is untouched.
    """
    write_private(path, msgspec.json.encode(device))
