"""What a control plane answers a device: enrolments, policies, uploads.

Every member that the contract does not promise has a default, and what a newer control plane adds is passed over. The
bundle and its siblings are kept as they came, for `bundles` and `envelopes` to judge one by one: one that is not as
expected must not keep the others from being read.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

import msgspec

from briefcase.core.fleet.bundles import PolicyKey
from briefcase.core.fleet.words import UNEXPECTED
from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.types import MAX_SAFE_INTEGER

MAX_TOKEN_CHARS: Final = 4_096
MAX_NAME_CHARS: Final = 128

_T = TypeVar("_T")
_Natural = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]


class UnexpectedAnswerError(UpstreamError):
    """What answered is no control plane, or answered something else than it was asked for; its message has the word."""

    def __init__(self, problem: str, detail: str = "") -> None:
        super().__init__(f"{UNEXPECTED}: {problem}", code="upstream_refused", detail=detail)


class PolicyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle of a device, and the siblings that came with it; `next_sync_ms` advises when to ask again.

    `key_chain` has the words of earlier keys, the oldest first, as `keys` is the one of the present key.
    """

    policy_bundle: Any = None
    freshness: dict[str, Any] | None = None
    keys: dict[str, Any] | None = None
    key_chain: list[dict[str, Any]] = []
    mandatory: dict[str, Any] | None = None
    next_sync_ms: _Natural | None = None

    def key_words(self) -> list[dict[str, Any]]:
        """The words about signing keys, the oldest first."""
        return self.key_chain if self.keys is None else [*self.key_chain, self.keys]


class EnrolmentAnswer(PolicyAnswer, frozen=True, kw_only=True):
    """What a device is given when it enrols: its token, the key to pin, and its first policy."""

    device_id: str
    device_token: Annotated[str, msgspec.Meta(min_length=16, max_length=MAX_TOKEN_CHARS, pattern=r"^[!-~]+$")]
    policy_signing_pubkey_b64: PolicyKey
    last_receipt_id: _Natural | None = None


class ReceiptsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How many receipts of an upload are new, and the last one that the control plane has."""

    stored: _Natural
    last_receipt_id: _Natural | None = None


class RefusalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A word of the contract, and the last receipt that the control plane has, where that tells how to go on."""

    code: str = ""
    last_receipt_id: _Natural | None = None


def read_policy_answer(body: bytes) -> PolicyAnswer:
    """Read the answer of a policy. Raises as `read_enrolment_answer`."""
    return read_answer(body, PolicyAnswer)


def read_enrolment_answer(body: bytes) -> EnrolmentAnswer:
    """Read the answer of an enrolment.

    Raises:
        UnexpectedAnswerError: it is not as expected; nothing of it is in the error.
    """
    return read_answer(body, EnrolmentAnswer)


def read_receipts_answer(body: bytes) -> ReceiptsAnswer:
    """Read the answer of an upload. Raises as `read_enrolment_answer`."""
    return read_answer(body, ReceiptsAnswer)


def read_refusal(body: bytes) -> RefusalAnswer:
    """Read a refusal; empty where it is no word of the contract, which many servers in between answer."""
    try:
        refusal = msgspec.convert(parse_json(body), RefusalAnswer)
    except (CallerError, msgspec.ValidationError):
        return RefusalAnswer()
    is_word = len(refusal.code) <= MAX_NAME_CHARS and refusal.code.isidentifier() and refusal.code.isascii()
    return refusal if is_word else RefusalAnswer()


def read_answer(body: bytes, kind: type[_T]) -> _T:
    """Read any answer. Raises as `read_enrolment_answer`."""
    try:
        return msgspec.convert(parse_json(body), kind)
    except (CallerError, msgspec.ValidationError) as error:
        raise UnexpectedAnswerError("the control plane's answer is not as expected", str(error)) from None
