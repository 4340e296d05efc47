"""Calls that an operator's risk classifier is asked about first. What it says can only tighten.

It is asked before step 3, about calls that would otherwise be decided without a signal: of a tool that is known, with
arguments that fit, that raised no signal of their own, and under a request id that was not answered before.

| it answers | the call |
|---|---|
| `require_approval: false` | is decided as if nobody had been asked |
| `require_approval: true` | needs a person where policy allowed it; its reasons are signals, shown and receipted |
| nothing that can be read, in time | needs a person (`classifier_failed`), or it is noted (`classifier_unheard`) |

# INVARIANT (secrets): what leaves is redacted, and a call with something like a secret in it is not asked about at all.
# INVARIANT (tighten): its words reach no policy: one that reads `context.risk` could be widened by a word.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

import msgspec

from briefcase.core import risk
from briefcase.core.calls.answers import Answer
from briefcase.core.calls.flow import Calls
from briefcase.core.characters.marks import visible_text
from briefcase.model.errors import UpstreamError
from briefcase.model.types import Principal, ToolCall

MAX_ASKED: Final = 64  # at once; a call past them is one that was not answered
MAX_REASONS: Final = 8
MAX_REASON_CHARS: Final = 64
UNNAMED: Final = "classifier"  # of a yes without a reason of its own


class Assessment(NamedTuple):
    """What a classifier says of one call."""

    requires_approval: bool
    reasons: tuple[str, ...] = ()


class Classifier(Protocol):
    """One classifier. Any number of calls are under way; each ends within its own deadline."""

    async def assess(self, tool_id: str, args_json: bytes) -> Assessment:
        """Ask about one call.

        Args:
            tool_id: of the daemon's tool.
            args_json: its arguments as JSON, redacted.

        Raises:
            UpstreamError: no answer in time, or none that can be read.
        """
        ...


class ClassifiedCalls(Calls):
    """The flow, with each call's assessment before it.

    Args:
        classifier: is asked.
        only_notes: whether its failure is noted in the receipt, and asks nobody.
        ports: as `Calls`.
    """

    def __init__(self, classifier: Classifier, *, only_notes: bool, **ports: Any) -> None:
        super().__init__(**ports)
        self._classifier = classifier
        self._failure = risk.CLASSIFIER_UNHEARD if only_notes else risk.CLASSIFIER_FAILED
        self._asked = 0

    async def call(self, principal: Principal, call: ToolCall) -> Answer:
        """See `Calls.call`."""
        return await super().call(principal, await self._assessed(principal, call))

    async def decide(self, principal: Principal, call: ToolCall) -> Answer:
        """See `Calls.decide`."""
        return await super().decide(principal, await self._assessed(principal, call))

    async def delegate(self, principal: Principal, call: ToolCall) -> Answer:
        """See `Calls.delegate`."""
        return await super().delegate(principal, await self._assessed(principal, call))

    async def hook(self, principal: Principal, call: ToolCall, *, asks_client: bool) -> Answer:
        """See `Calls.hook`."""
        return await super().hook(principal, await self._assessed(principal, call), asks_client=asks_client)

    async def _assessed(self, principal: Principal, call: ToolCall) -> ToolCall:
        """The call with what the classifier says of it."""
        tool = self._tools.resolve(call.tool_id)
        if (
            tool is None
            or tool.check_args(call.args) is not None
            or risk.assess_risk(call.canonical_args, tool).words
            or self._ledger.claimed_request(principal.name, call.request_id) is not None
        ):
            return call
        words = await self._words_of(tool.spec.id, call.canonical_args)
        return msgspec.structs.replace(call, classified=words) if words else call

    async def _words_of(self, tool_id: str, canonical_args: bytes) -> tuple[str, ...]:
        if self._asked >= MAX_ASKED:
            return (self._failure,)
        self._asked += 1
        try:
            said = await self._classifier.assess(tool_id, self._redactor.redact(canonical_args))
        except UpstreamError:
            return (self._failure,)
        finally:
            self._asked -= 1
        if not said.requires_approval:
            return ()
        return tuple(self._word_of(reason) for reason in said.reasons[:MAX_REASONS] if reason) or (UNNAMED,)

    def _word_of(self, reason: str) -> str:
        """A reason as it may be shown and recorded; a comma parts reasons."""
        word = visible_text(self._redacted(reason[:MAX_REASON_CHARS])).replace(",", ";")
        return UNNAMED if word == risk.CLASSIFIER_UNHEARD else word  # which would tighten nothing
