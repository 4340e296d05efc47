"""Keeping log-ins fresh: renewed ahead of their end, one renewal at a time for each, kept before it is used.

Crash order: until the new pair is in the vault the old one is; a kill after the server's rotation and before that makes
the old refresh token one that was used, which its server refuses, and a person logs in again. Never half a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from briefcase.adapters.oauth.client import OAuthClient
from briefcase.adapters.oauth.custody import Custody, Login
from briefcase.core.jose.dpop import ProofSigner
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import Clock
from briefcase.model.types import US_PER_S

RENEW_LOGIN_US: Final = 60 * US_PER_S  # before the access token ends,
AHEAD_PARTS: Final = 5  # or once one part of this many is left of a shorter one
MARGIN_US: Final = 5 * US_PER_S  # a token this close to its end is not sent any more
INVALID_GRANT: Final = "invalid_grant"


class Renewals:
    """The log-ins of one compartment. One event loop."""

    def __init__(self, custody: Custody, oauth: OAuthClient, clock: Clock) -> None:
        self._custody = custody
        self._oauth = oauth
        self._clock = clock
        self._locks: dict[str, asyncio.Lock] = {}
        self._problems: dict[str, str] = {}

    def problem(self, holder_id: str) -> str:
        """Why the last renewal failed; empty where it did not, or none was tried since the start."""
        return self._problems.get(holder_id, "")

    async def fresh(
        self, holder_id: str, signer: Callable[[], Awaitable[ProofSigner]], *, spoilt: str | None = None
    ) -> Login | None:
        """The log-in, renewed where it is about to end; None where there is none, or none that can be renewed.

        Args:
            holder_id: whose.
            signer: gives what proves possession; asked only for a renewal.
            spoilt: an access token that was refused: one that is still held is renewed however long it should last.

        Raises:
            UpstreamError: the renewal failed; with the detail `invalid_grant` the log-in has ended.
            StoreError: what the renewal gave could not be kept, and is not used.
        """
        async with self._lock(holder_id):
            login = await self._custody.login(holder_id)
            if login is None or login.has_ended:
                return None
            if login.access_token != spoilt and not self._is_due(login):
                return login
            try:
                renewed = await self._oauth.refresh(login, await signer())
            except UpstreamError as error:
                if error.detail == INVALID_GRANT:
                    await self._custody.put_login(holder_id, msgspec.structs.replace(login, has_ended=True))
                self._problems[holder_id] = f"the log-in could not be renewed: {error.message}"
                raise
            await self._custody.put_login(holder_id, renewed)
            self._problems.pop(holder_id, None)
            return renewed

    async def replace(self, holder_id: str, login: Login) -> None:
        """Keep a new log-in; durable when it returns, and no renewal of the old one overwrites it.

        Raises:
            StoreError: it could not be kept, and the old one stays.
        """
        async with self._lock(holder_id):
            await self._custody.put_login(holder_id, login)
            self._problems.pop(holder_id, None)

    async def remove(self, holder_id: str) -> Login | None:
        """Remove a log-in, and give it, to be revoked; no renewal under way brings it back."""
        async with self._lock(holder_id):
            login = await self._custody.login(holder_id)
            await self._custody.delete_login(holder_id)
            self._problems.pop(holder_id, None)
        return login

    async def forget(self, holder_id: str) -> None:
        """Remove everything that is held of one that is gone; no renewal under way brings it back."""
        async with self._lock(holder_id):
            await self._custody.forget(holder_id)
            self._problems.pop(holder_id, None)
        self._locks.pop(holder_id, None)

    def _lock(self, holder_id: str) -> asyncio.Lock:
        return self._locks.setdefault(holder_id, asyncio.Lock())

    def _is_due(self, login: Login) -> bool:
        now_us = self._clock.now_us()
        if login.refresh_token is None:
            return now_us >= login.expires_us - MARGIN_US
        return now_us >= renew_at_us(login)


def renew_at_us(login: Login) -> int:
    """From when on a log-in is to be renewed."""
    return login.expires_us - min(RENEW_LOGIN_US, (login.expires_us - login.issued_us) // AHEAD_PARTS)
