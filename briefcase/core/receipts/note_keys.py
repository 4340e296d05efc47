"""Keys of signed notes as people write them: C2SP verifier keys ("vkeys"), and the id each has in a signature line.

    <name>+<8 hex digits of the key id>+<base64 of: one byte of type, then the public key>

    key id = SHA-256( name || 0x0A || type || public key )[:4]

| type | key | signs |
|---|---|---|
| 0x01 | Ed25519, 32 bytes | a note's text: the log itself |
| 0x04 | Ed25519, 32 bytes | a witness's cosignature (`cosignature/v1`) |
| 0x06 | ML-DSA-44, 1,312 bytes | a witness's cosignature (`subtree/v1`) |

Sources: C2SP signed-note ("Verifier keys") and tlog-cosignature. Nothing here computes a signature: whether one is good
is asked of `verify(key, message, signature)`, which an adapter has.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from briefcase.model.errors import CallerError

LOG_ED25519: Final = 0x01
COSIGNER_ED25519: Final = 0x04
COSIGNER_MLDSA44: Final = 0x06
PUBLIC_KEY_BYTES: Final = {LOG_ED25519: 32, COSIGNER_ED25519: 32, COSIGNER_MLDSA44: 1_312}
SIGNATURE_BYTES: Final = {LOG_ED25519: 64, COSIGNER_ED25519: 64, COSIGNER_MLDSA44: 2_420}
COSIGNERS: Final = frozenset({COSIGNER_ED25519, COSIGNER_MLDSA44})
ALGORITHMS: Final = {LOG_ED25519: "ed25519", COSIGNER_ED25519: "ed25519", COSIGNER_MLDSA44: "ml-dsa-44"}

KEY_ID_BYTES: Final = 4
MAX_NAME_BYTES: Final = 255  # what a cosigned message of ML-DSA-44 has room for
MAX_VKEY_CHARS: Final = 4_096
_VKEY: Final = re.compile(r"([^+]*)\+([0-9a-f]{8})\+([^ ]*)")


class NoteKey(msgspec.Struct, frozen=True):
    """A public key under a name, for one type of signature."""

    name: str
    type: int
    public_key: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that tell which key a signature line is of."""
        return key_id(self.name, self.type, self.public_key)

    @property
    def label(self) -> str:
        """The name and the id, as a vkey begins with them: what tells two keys of one name apart."""
        return f"{self.name}+{self.id.hex()}"

    @property
    def vkey(self) -> str:
        """The key as people write it."""
        return f"{self.label}+{base64.b64encode(bytes([self.type]) + self.public_key).decode()}"


Verify: TypeAlias = Callable[[NoteKey, bytes, bytes], bool]
"""Tells whether a signature (third) is of a message (second) by a key, whatever the key's bytes are."""


def key_id(name: str, signature_type: int, public_key: bytes) -> bytes:
    """The four bytes that tell which key a signature is of."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([signature_type]) + public_key).digest()[:KEY_ID_BYTES]


def parse_vkey(text: str) -> NoteKey:
    """Read a verifier key.

    Raises:
        CallerError: of another form, of a type that nothing here verifies, of another length than its type has, or with
            an id that is not its own.
    """
    match = _VKEY.fullmatch(text) if len(text) <= MAX_VKEY_CHARS else None
    if match is None:
        raise CallerError(
            f"expected a verifier key `NAME+8 HEX DIGITS+BASE64`, got `{text[:64]}`",
            hint="whoever runs the witness publishes it (C2SP signed-note, a `vkey`)",
        )
    name, id_hex, encoded = match.groups()
    problem = name_problem(name)
    if problem:
        raise CallerError(f"the key's name: {problem}")
    data = decode_base64(encoded)
    if not data:
        raise CallerError(f"the key of `{name}`: expected base64 of a type and a public key after the second `+`")
    key = NoteKey(name, data[0], data[1:])
    size = PUBLIC_KEY_BYTES.get(key.type)
    if size is None:
        known = ", ".join(f"{one:#04x} ({ALGORITHMS[one]})" for one in PUBLIC_KEY_BYTES)
        raise CallerError(f"the key of `{name}`: expected a type of {known}, got {key.type:#04x}")
    if len(key.public_key) != size:
        raise CallerError(
            f"the key of `{name}`: expected {size} bytes for {ALGORITHMS[key.type]}, got {len(key.public_key)}"
        )
    if key.id.hex() != id_hex:
        raise CallerError(f"the key of `{name}`: expected the id {key.id.hex()} of its name and key, got {id_hex}")
    return key


def parse_cosigner_vkey(text: str) -> NoteKey:
    """Read a witness's verifier key. Raises as `parse_vkey`, and where the key is one of a log."""
    key = parse_vkey(text)
    if key.type not in COSIGNERS:
        raise CallerError(
            f"the key of `{key.name}` is a log's ({key.type:#04x}), expected a witness's: {COSIGNER_ED25519:#04x}"
            f" (ed25519) or {COSIGNER_MLDSA44:#04x} (ml-dsa-44)"
        )
    return key


def name_problem(name: str) -> str:
    """What is wrong with a key's name (C2SP signed-note, "Format"); empty where nothing is."""
    if not 0 < len(name.encode(errors="replace")) <= MAX_NAME_BYTES:
        return f"expected 1 to {MAX_NAME_BYTES} bytes, got {len(name)} characters"
    if not name.isprintable() or "+" in name or any(char.isspace() for char in name):
        return f"expected visible characters, without a space or `+`, got `{name[:64]!a}`"
    return ""


def decode_base64(text: str) -> bytes:
    """The bytes of standard base64 in its one form; empty where it is none."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if base64.b64encode(data).decode() == text else b""
