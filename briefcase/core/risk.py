"""Risk signals: what looks wrong about a call's arguments. A signal can only tighten a verdict.

The rules read the canonical arguments once, in linear time. They are hints for a person, not a defence on their
own: the policy sees them as `context.risk`, and an allowed call that raised one waits for approval.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from briefcase.core.characters.ordinary import has_hidden, has_lookalike
from briefcase.core.patterns import LinearPattern
from briefcase.model.ports import SignallingTool, Tool
from briefcase.model.reasons import RISK, with_detail
from briefcase.model.types import Allow, ApprovalKind, RiskSignals, Verdict, asking

# A credential on its way out through an argument: the published prefixes of well-known issuers.
_SECRET: Final = LinearPattern(
    r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
    r"|(?-u:\b)(?:AKIA|ASIA)[0-9A-Z]{16}(?-u:\b)"
    r"|(?-u:\b)gh[opsu]_[0-9A-Za-z]{36}"
    r"|(?-u:\b)xox[abpr]-[0-9A-Za-z-]{10}"
    r"|(?-u:\b)eyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\."
)
# Words that try to steer a model which reads the tool's data later.
_INSTRUCTION: Final = LinearPattern(
    r"(?i:(?-u:\b)(?:ignore|disregard|forget)\s+(?:all\s+|any\s+|the\s+|your\s+)?(?:previous|prior|above|earlier)\s+"
    r"(?:instructions|prompts|messages|rules)(?-u:\b))"
)

RULES: Final = (("secret_like", _SECRET), ("instruction_text", _INSTRUCTION))
_ANY_RULE: Final = LinearPattern("|".join(f"(?:{pattern.pattern})" for _, pattern in RULES))  # one search says none
INVISIBLE_TEXT: Final = "invisible_text"
CONFUSABLE_TEXT: Final = "confusable_text"
DELETE: Final = "\x7f"  # the one ASCII character that canonical JSON writes as it is and nobody sees
NO_SIGNALS: Final = RiskSignals()
CLASSIFIER_FAILED: Final = "classifier_failed"
CLASSIFIER_UNHEARD: Final = "classifier_unheard"  # noted, and nothing else


def assess_risk(canonical_args: bytes, tool: Tool | SignallingTool | None = None) -> RiskSignals:
    """The signals a call's canonical arguments raise: of its characters, of `RULES`, then those its tool knows of."""
    text = canonical_args.decode()
    words = tuple([word for word, pattern in RULES if pattern.is_in(text)]) if _ANY_RULE.is_in(text) else ()
    if text.isascii():
        if DELETE in text:
            words = (INVISIBLE_TEXT, *words)
    else:
        words = (*_words_of_characters(text), *words)
    tool_signals = getattr(
        tool, "signals", None
    )  # `SignallingTool`; asking by isinstance would cost more than the rules
    if tool_signals is not None:
        words += tool_signals()
    return RiskSignals(words) if words else NO_SIGNALS


def _words_of_characters(text: str) -> Iterator[str]:
    if has_hidden(text):
        yield INVISIBLE_TEXT
    if has_lookalike(text):
        yield CONFUSABLE_TEXT


def reason_of(words: Sequence[str]) -> str:
    """The reason that signals give: `risk:<signals>`."""
    return with_detail(RISK, ",".join(words))


def tighten(verdict: Verdict, signals: RiskSignals) -> Verdict:
    """Let signals turn an allowed call into one that needs approval; nothing else changes.

    All of them count but `classifier_unheard`, which is there where that is only noted.
    """
    if not signals.words or not isinstance(verdict, Allow):
        return verdict
    words = tuple(word for word in signals.words if word != CLASSIFIER_UNHEARD)
    if not words:
        return verdict
    return asking(verdict, ApprovalKind.LOCAL, reason_of(words))
