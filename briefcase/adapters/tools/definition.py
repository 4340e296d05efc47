"""A tool's definition digest: what an approval is bound to, and what a pin holds.

It covers everything that decides what a call does, so a tool that changes under its name becomes another tool. How long
a call may take is no part of it: a deadline that an operator moves must not ask people again for what they approved.
"""

from __future__ import annotations

import msgspec

from briefcase.core.receipts.canonical import digest_hex
from briefcase.model.errors import UpstreamError
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
    del plain["spec"]["timeout_ms"]
    if spec.approvers == 1:  # as definitions of before there was such a field
        del plain["spec"]["approvers"]
    return msgspec.structs.replace(spec, digest_hex=digest_hex(plain))


def check_unchanged(tool_id: str, current: ToolSpec | None, decided_hex: str) -> None:
    """Check that a call still reaches what it was decided for: while its intent is written, an operator may change it.

    Args:
        tool_id: the tool, for the message.
        current: its definition now, which covers who is reached; None where it is gone.
        decided_hex: the digest of the definition that was decided on.

    Raises:
        UpstreamError: it is another one by now (`upstream_refused`, nothing sent).
    """
    if current is None or current.digest_hex != decided_hex:
        raise UpstreamError(
            f"`{tool_id}` has changed since the call was decided on: call it again",
            code="upstream_refused",
            hint="its definition, or the address it leads to, was replaced while the intent was written",
            sent=False,
        )
