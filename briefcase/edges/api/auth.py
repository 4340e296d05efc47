"""Who is asking: a bearer token to a principal (RFC 6750 section 2.1).

A token is looked up by its SHA-256: how long that takes says nothing about a token, because whoever can steer the
digest of a guess bit by bit has broken SHA-256. A failed authentication is counted, and leaves no receipt: it would
let anyone fill the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from briefcase.core.people import People
from briefcase.model.errors import CallerError
from briefcase.model.ports import AgentStore
from briefcase.model.types import Principal, Role

MAX_TOKEN_BYTES: Final = 512
_SCHEME: Final = b"bearer "
_SCHEME_BYTES: Final = len(_SCHEME)
_AS_WRITTEN: Final = b"Bearer "


class Authenticator:
    """Turns an `Authorization` header into a principal.

    Args:
        operator_token: the operator's token.
        auditor_token: the auditor's, where there is one.
        people: the named people.
        agents: the named agents.
    """

    def __init__(self, operator_token: str, auditor_token: str | None, people: People, agents: AgentStore) -> None:
        self._people = people
        self._agents = agents
        self._fixed = {_digest(operator_token.encode()): Principal(Role.OPERATOR.value, Role.OPERATOR)}
        if auditor_token is not None:
            self._fixed.setdefault(_digest(auditor_token.encode()), Principal(Role.AUDITOR.value, Role.AUDITOR))
        self.failures = 0
        self._exposed: dict[str, int] = {}

    def authenticate(self, authorization: bytes | None) -> Principal:
        """The principal of one request.

        Raises:
            CallerError: no token, no bearer token, or one that is not, or no longer, anybody's (`unauthorized`).
        """
        if authorization is None:
            self.failures += 1
            raise CallerError(
                "expected an `Authorization: Bearer` token", code="unauthorized", hint="set `BRIEFCASE_AUTH_TOKEN`"
            )
        scheme, token = authorization[:_SCHEME_BYTES], authorization[_SCHEME_BYTES:].strip(b" ")
        principal, fixed = None, self._fixed
        if (scheme == _AS_WRITTEN or scheme.lower() == _SCHEME) and len(token) <= MAX_TOKEN_BYTES:
            digest = hashlib.sha256(token).digest()
            principal = (
                fixed.get(digest) or self._agents.by_token_digest(digest) or self._people.by_token_digest(digest)
            )
        if principal is None:
            self.failures += 1
            raise CallerError(
                "the token is not known",
                code="unauthorized",
                hint="it was revoked, replaced, or is another daemon's: check `BRIEFCASE_AUTH_TOKEN`",
            )
        return principal

    def note_peer(self, name: str, uid: int) -> None:
        """Remember that an agent's token came from a user who can read the operator's."""
        self._exposed[name] = uid

    def exposed_agents(self) -> Mapping[str, int]:
        """The agents whose token came from such a user since the start, and that user's uid."""
        return dict(self._exposed)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
