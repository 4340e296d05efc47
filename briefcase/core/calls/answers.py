"""Answers: what a caller gets for a call, where its time went, and the memory that gives a retry the same one.

An answer is encoded once, here, and is bytes from then on: a JSON value of a megabyte weighs up to thirty as objects,
and an answer is held for as long as its client takes to read it, or until it is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import msgspec

from briefcase.core.receipts.events import CallFacts
from briefcase.model.types import JsonObject

ALLOWED: Final = "allowed"  # the status of a call that its caller may run
MAX_REMEMBERED_ANSWERS: Final = 1_024
MAX_REMEMBERED_BYTES: Final = 16 << 20
_WITHOUT_REASON: Final = frozenset({"ok", ALLOWED, "recorded"})
MAX_SLACK_BYTES: Final = 1_024
ENTRY_BYTES: Final = 2_048  # what a remembered answer weighs beside its body: its key, its phases, its place

_encode: Final = msgspec.json.Encoder().encode
_DECODER: Final[msgspec.json.Decoder[JsonObject]] = msgspec.json.Decoder(dict)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the caller gets, encoded, and the microseconds each phase took, in order.

    `status` and `reason` are what is counted of it: the body's own words, so that nobody reads the body again; but for
    a result whose tool says that it failed, which is counted as an error.
    `receipt_id` is the receipt of the decision, for an edge whose own words name it; 0 where none is told.
    `is_filtered` tells that no secret is in it: each of its texts is the daemon's own, was redacted, or came through
    the output firewall.
    """

    body: bytes
    status: str
    reason: str
    timing_us: Mapping[str, int]
    is_filtered: bool = False
    receipt_id: int = 0

    @property
    def payload(self) -> JsonObject:
        """The answer's fields, decoded from its body at each reading: not for the hot path."""
        return _DECODER.decode(self.body)


def encode_answer(
    payload: Mapping[str, object], timing_us: Mapping[str, int], *, is_filtered: bool = False, receipt_id: int = 0
) -> Answer:
    """Encode what a call came to.

    Args:
        payload: the fields of the answer, `status` among them; a `msgspec.Raw` in it is JSON already.
        timing_us: microseconds by phase, in order.
        is_filtered: see `Answer`.
        receipt_id: see `Answer`.
    """
    status, body = str(payload["status"]), _encode(payload)
    if len(body) > MAX_SLACK_BYTES:
        body = bytes(memoryview(body))  # the encoder's own bytes hold up to as much again that is not used
    reason = "" if status in _WITHOUT_REASON else _reason_of(payload)
    return Answer(body, status, reason, timing_us, is_filtered, receipt_id)


class RememberedAnswers:
    """The answers of executed requests, so that a retry gets the same one; bounded, the oldest forgotten first.

    A retry has the same flow, principal, request id, tool and arguments.

    What is forgotten is still never executed twice: the ledger keeps the claim of every request id.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], Answer] = OrderedDict()
        self._bytes = 0

    def remember(self, flow: str, facts: CallFacts, answer: Answer) -> None:
        """Keep one answer. A request is executed once, so its key is new."""
        key = (flow, facts.principal.owner, facts.request_id, facts.tool_id, facts.args_digest_hex)
        self._kept[key] = answer
        self._bytes += len(answer.body) + ENTRY_BYTES
        while len(self._kept) > MAX_REMEMBERED_ANSWERS or self._bytes > MAX_REMEMBERED_BYTES:
            _, forgotten = self._kept.popitem(last=False)
            self._bytes -= len(forgotten.body) + ENTRY_BYTES

    def recall(self, flow: str, facts: CallFacts) -> Answer | None:
        """The answer this very request got before, if it is still remembered."""
        return self._kept.get((flow, facts.principal.owner, facts.request_id, facts.tool_id, facts.args_digest_hex))


def _reason_of(payload: Mapping[str, object]) -> str:
    """The words behind an answer that is not `ok`: its reason, its message, or what its approval is asked for."""
    approval = payload.get("approval")
    if isinstance(approval, dict):
        return str(approval.get("reason", ""))
    return str(payload.get("reason") or payload.get("message") or "")
