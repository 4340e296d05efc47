"""A tool's definition digest: what an approval is bound to, and what a pin holds.

It covers everything that decides what a call does, so a tool that changes under its name becomes another tool.
"""

from __future__ import annotations

import msgspec

from briefcase.core.receipts.canonical import digest_hex
from briefcase.model.types import ToolSpec


def with_digest(spec: ToolSpec, execution: msgspec.Struct | None = None) -> ToolSpec:
    """The definition with its digest filled in.

    Args:
        spec: the definition; its own `digest_hex` is not part of the digest.
        execution: what executes it, where that is declared and not code of this package: an HTTP tool's manifest.

    Raises:
        CallerError: a schema has no canonical form.
    """
    definition = {"spec": msgspec.structs.replace(spec, digest_hex=""), "execution": execution}
    plain = msgspec.json.decode(msgspec.json.encode(definition))
    return msgspec.structs.replace(spec, digest_hex=digest_hex(plain))
