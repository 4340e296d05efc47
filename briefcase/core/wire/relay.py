"""Approvals on their way through a control plane: what a device uploads, what a signer answers, what approvers see.

What was shown travels as `sealed_b64`, an age file to the recipients of the device's signers; `head` is the little that
a device may say in clear beside it. An answer is a signature over the binding (`approve_binding`, `deny_binding`): the
device verifies it, and whoever carries it can only lose it.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from briefcase.core.wire.fields import HashHex, Maybe
from briefcase.model.identifiers import REQUEST_ID

MAX_WAITING: Final = 64  # of one device
MAX_SEALED_BYTES: Final = 256 << 10
MAX_SEALED_CHARS: Final = -(-MAX_SEALED_BYTES * 4 // 3)
MAX_REPORT_BYTES: Final = 4 << 20
MAX_HEAD_CHARS: Final = 256
MAX_MESSAGE_CHARS: Final = 500
MAX_SAID: Final = 256  # ends, and words about answers, of one report
TAKEN: Final = "taken"
LATE: Final = "late"

ApprovalId: TypeAlias = Annotated[str, msgspec.Meta(pattern=f"^{REQUEST_ID}$")]
EndStatus: TypeAlias = Literal["approved", "rejected", "expired", "consumed", "withdrawn"]
RelayedStatus: TypeAlias = Literal["pending", "approved", "rejected", "expired", "consumed", "withdrawn"]
_HeadText: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_HEAD_CHARS)]
_Word: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[a-z0-9_]{1,64}$")]


class RelayedHead(msgspec.Struct, frozen=True):
    """What a device says of an approval in clear, where its operator lets it: no argument, no text of an agent's."""

    tool_id: _HeadText
    principal: _HeadText
    reason: _HeadText
    kind: _HeadText


class RelayedPut(msgspec.Struct, frozen=True):
    """An approval that waits; one that was put before is replaced, as long as it waits."""

    approval_id: ApprovalId
    expires_at: Annotated[str, msgspec.Meta(max_length=64)]
    sealed_b64: Annotated[str, msgspec.Meta(max_length=MAX_SEALED_CHARS)] = ""
    head: RelayedHead | None = None


class RelayedEnd(msgspec.Struct, frozen=True):
    """An approval that waits no more; `withdrawn` is one that the device does not relay now, and may put again."""

    approval_id: ApprovalId
    status: EndStatus


class AnswerSaid(msgspec.Struct, frozen=True):
    """What a device made of an answer: `taken`, or the word of why not."""

    answer_id: ApprovalId
    word: _Word
    message: Annotated[str, msgspec.Meta(max_length=MAX_MESSAGE_CHARS)] = ""


class RelayReport(msgspec.Struct, frozen=True):
    """What changed at a device. All of it may be sent again."""

    put: Annotated[list[RelayedPut], msgspec.Meta(max_length=MAX_WAITING)] = []
    ended: Annotated[list[RelayedEnd], msgspec.Meta(max_length=MAX_SAID)] = []
    said: Annotated[list[AnswerSaid], msgspec.Meta(max_length=MAX_SAID)] = []


class NotKept(msgspec.Struct, frozen=True):
    """An approval that was put and is not kept, and the word of why."""

    approval_id: str
    code: str


class RelayKept(msgspec.Struct, frozen=True):
    """The approvals of a device that its control plane has as waiting, after a report."""

    waiting: list[str]
    not_kept: list[NotKept] = []


class NewAnswer(msgspec.Struct, frozen=True):
    """A signer's answer to what it was shown: its signature over the binding, the time and a nonce of its own."""

    action: Literal["approve_binding", "deny_binding"]
    signer_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    binding_hex: HashHex
    ts_rfc3339: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    nonce: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    sig_b64: Annotated[str, msgspec.Meta(min_length=1, max_length=1_024)]


class RelayedAnswer(NewAnswer, frozen=True, kw_only=True):
    """An answer on its way to the device."""

    answer_id: str
    approval_id: str


class RelayedAnswers(msgspec.Struct, frozen=True):
    """The answers that a device has not said anything of."""

    answers: list[RelayedAnswer]


class AnswerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as approvers see it; `word` is what the device said of it, once it did."""

    answer_id: str
    sent_by: str
    sent_at_rfc3339: str
    action: str
    signer_id: str
    word: str | None = None
    message: str | None = None


class FleetApproval(msgspec.Struct, frozen=True, kw_only=True):
    """An approval of a device of the fleet. Only the device's signers can open `sealed_b64`."""

    device_id: str
    device_name: str
    approval_id: str
    status: RelayedStatus
    put_at_rfc3339: str
    expires_at_rfc3339: str
    head: Maybe[RelayedHead] = msgspec.UNSET
    sealed_b64: Maybe[str] = msgspec.UNSET
    answers: list[AnswerRecord] = []


class FleetApprovals(msgspec.Struct, frozen=True):
    """The approvals of a fleet's devices, those that expire first first; without what is sealed."""

    approvals: list[FleetApproval]


class AnswerSent(msgspec.Struct, frozen=True):
    """An answer that waits for its device."""

    answer_id: str
    status: Literal["sent"] = "sent"
