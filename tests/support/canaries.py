"""Canaries: secrets that occur nowhere else, the forms they could leak in, and the search for all of them.

Written from the encodings' definitions and without the product's own redaction, which is what is being tried.
"""

from __future__ import annotations

import base64
import json
import secrets
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

GZIP = b"\x1f\x8b\x08"


def new_canary() -> str:
    """A secret with characters that each encoding writes differently, and bytes no other run has."""
    return f'cnry+{secrets.token_hex(8)}/"{secrets.token_hex(8)}\\=&~'


def written_forms_of(secret: str) -> dict[str, bytes]:
    """The ways to write one secret whole; in base64 with 0, 1 or 2 bytes before it."""
    whole = {
        f"{name} at {offset}": encode(b"~" * offset + secret.encode())
        for offset in range(3)
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode))
    }
    return {**forms_of(secret), **whole}


def forms_of(secret: str) -> dict[str, bytes]:
    """What to look for, by name: of base64, the part that is there whatever stands before and after."""
    raw = secret.encode()
    forms = {
        "raw": raw,
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "url": quote(secret, safe="").encode(),
        "form": quote_plus(secret).encode(),
        "json": json.dumps(secret)[1:-1].encode(),
        "json in json": json.dumps(json.dumps(secret))[3:-3].encode(),
    }
    for offset in range(3):
        # what of the encoding depends on the secret alone: whole groups of three bytes that lie inside it
        skipped = -offset % 3
        inner = raw[skipped:]
        inner = inner[: len(inner) // 3 * 3]
        forms[f"base64 at {offset}"] = base64.b64encode(inner)
        forms[f"base64url at {offset}"] = base64.urlsafe_b64encode(inner)
    return forms


def found_in(data: bytes, secret: str) -> set[str]:
    """The names of the forms in which a secret is in some bytes, gzip members in them unpacked."""
    return {name for piece in _unpacked(data) for name, form in forms_of(secret).items() if form in piece}


def _unpacked(data: bytes) -> Iterator[bytes]:
    yield data
    at = data.find(GZIP)
    while at >= 0:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        with suppress(zlib.error):  # three bytes can look like a member's head and be none
            yield inflater.decompress(data[at:], 1 << 24)
        at = data.find(GZIP, at + 1)


def files_below(directory: Path) -> dict[str, bytes]:
    """Every regular file of a directory, whole: databases with their logs, and raw pages, used or not."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
