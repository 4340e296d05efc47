"""Who calls in the tests."""

from __future__ import annotations

from briefcase.model.types import Principal, Role

AGENT = Principal("scout", Role.AGENT)
OTHER_AGENT = Principal("ranger", Role.AGENT)
OPERATOR = Principal("operator", Role.OPERATOR)
AUDITOR = Principal("auditor", Role.AUDITOR)
