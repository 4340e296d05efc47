"""Who is logged in: one-time codes, and the sessions that they begin. In memory, so a restart ends them all.

 1. a person asks the daemon for a link with their own token            a code, kept as its SHA-256 for `CODE_S`
 2. their browser shows whose it is, and sends it back in a form        the code is used up, a session begins
 3. each request brings the session's cookie under the session's place  found, or nobody
 4. log-out, `IDLE_S` without a request, `WHOLE_S`, or the person is revoked: it is over

A cookie of `localhost` is sent to every port of `localhost`, the development servers of agents among them. So the
cookie's `Path` is the session's own place, 130 random bits that no other page can name: a browser sends the cookie
to nobody who has not got the address of an open page.

# INVARIANT (fixation): no value that came from a browser ever names a session that begins: both are made here.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from briefcase.core.people import People
from briefcase.model.ports import Entropy
from briefcase.model.types import Principal

CODE_S: Final = 60
IDLE_S: Final = 60 * 60
WHOLE_S: Final = 12 * 60 * 60
MAX_CODES: Final = 4  # of one person; the oldest gives way
MAX_SESSIONS: Final = 8  # likewise
PLACE_CHARS: Final = 22
_NS_PER_S: Final = 1_000_000_000


class Session(msgspec.Struct, frozen=True):
    """One browser that is logged in. `form_token` stands in each of its forms; `place` is its part of the paths."""

    principal: Principal
    place: str
    form_token: str
    began_ns: int


class Begun(msgspec.Struct, frozen=True):
    """A session that begins, and the value of its cookie, which is kept nowhere else."""

    session: Session
    cookie: str


class _Code(msgspec.Struct, frozen=True):
    principal: Principal
    made_ns: int


class Sessions:
    """The codes and sessions there are. All methods are called from one event loop.

    Args:
        people: who may still come in.
        entropy: makes codes, cookies and places.
        now_ns: a monotonic clock, nanoseconds.
    """

    def __init__(self, people: People, entropy: Entropy, now_ns: Callable[[], int]) -> None:
        self._people = people
        self._token = entropy.token
        self._now_ns = now_ns
        self._codes: dict[bytes, _Code] = {}
        self._sessions: dict[bytes, Session] = {}
        self._seen_ns: dict[bytes, int] = {}

    def new_code(self, principal: Principal) -> str:
        """A code that logs a person in once."""
        self._forget()
        own = [digest for digest, code in self._codes.items() if code.principal.owner == principal.owner]
        for digest in own[: max(0, len(own) + 1 - MAX_CODES)]:
            del self._codes[digest]
        code = self._token()
        self._codes[_digest(code)] = _Code(principal, self._now_ns())
        return code

    def holder_of(self, code: str) -> Principal | None:
        """Whom a code would log in; it stays unused."""
        self._forget()
        found = self._codes.get(_digest(code))
        return None if found is None else found.principal

    def begin(self, code: str) -> Begun | None:
        """Use a code up; None where it is unknown, used or too old."""
        principal = self.holder_of(code)
        if principal is None:
            return None
        del self._codes[_digest(code)]
        own = [digest for digest, one in self._sessions.items() if one.principal.owner == principal.owner]
        for digest in own[: max(0, len(own) + 1 - MAX_SESSIONS)]:
            self._drop(digest)
        cookie, now_ns = self._token(), self._now_ns()
        session = Session(principal, self._token()[:PLACE_CHARS], self._token(), now_ns)
        self._sessions[_digest(cookie)], self._seen_ns[_digest(cookie)] = session, now_ns
        return Begun(session, cookie)

    def find(self, place: str, cookies: Iterable[str]) -> Session | None:
        """The session that one of some cookies names, at its own place; a browser may send others' cookies too."""
        self._forget()
        for cookie in cookies:
            digest = _digest(cookie)
            session = self._sessions.get(digest)
            if session is not None and hmac.compare_digest(session.place.encode(), place.encode()):
                self._seen_ns[digest] = self._now_ns()
                return session
        return None

    def is_live(self, session: Session) -> bool:
        """Whether a session goes on; a page that stays open asks, and does not prolong it."""
        self._forget()
        return session in self._sessions.values()

    def end(self, session: Session) -> None:
        """Log a browser out."""
        for digest in [digest for digest, one in self._sessions.items() if one is session]:
            self._drop(digest)

    def _forget(self) -> None:
        """Drop what is over: by time, or because its person is no more."""
        now_ns, is_active = self._now_ns(), self._people.is_active
        for digest, code in list(self._codes.items()):
            if now_ns - code.made_ns >= CODE_S * _NS_PER_S or not is_active(code.principal):
                del self._codes[digest]
        for digest, session in list(self._sessions.items()):
            is_idle = now_ns - self._seen_ns[digest] >= IDLE_S * _NS_PER_S
            if is_idle or now_ns - session.began_ns >= WHOLE_S * _NS_PER_S or not is_active(session.principal):
                self._drop(digest)

    def _drop(self, digest: bytes) -> None:
        del self._sessions[digest], self._seen_ns[digest]


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
