"""The log-ins at MCP servers as calls use them: from memory, renewed ahead of their end, proven where they are bound.

A request never waits for a token that is still good: one that is near its end is renewed beside it, one renewal at a
time. Only a token that has ended, or that its server refused, is waited for; and of what a server says when it refuses,
the challenge is kept for the next log-in.

# INVARIANT (audience): a token is sent to no address but one that its `resource` covers, checked where it is loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from briefcase.adapters.oauth.challenges import INSUFFICIENT_SCOPE, USE_NONCE, Challenge, challenge_in
from briefcase.adapters.oauth.custody import Custody, Login
from briefcase.adapters.oauth.discovery import covers
from briefcase.adapters.oauth.renewal import MARGIN_US, Renewals, renew_at_us
from briefcase.adapters.servers.credentials import refusal_words
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.core.jose.dpop import ProofSigner
from briefcase.model.errors import BriefcaseError, UpstreamError
from briefcase.model.ports import Clock, Entropy
from briefcase.model.types import US_PER_S

RETRY_US: Final = 5 * US_PER_S  # after a renewal ahead of need failed

_log: Final = get_logger("briefcase.mcp")


class Accounts:
    """The accounts, by server id. One event loop; `close` ends what runs in the background.

    Args:
        custody: the vault's `mcp` compartment.
        renewals: renews its log-ins.
        clock: the time.
        entropy: makes the ids of proofs.
    """

    def __init__(self, custody: Custody, renewals: Renewals, clock: Clock, entropy: Entropy) -> None:
        self.custody = custody
        self.renewals = renewals
        self.clock = clock
        self.entropy = entropy
        self._accounts: dict[str, Account] = {}

    def account(self, server_id: str, endpoint_url: str) -> Account:
        """The account at a server; a server that was moved has a new one."""
        known = self._accounts.get(server_id)
        if known is None or known.endpoint_url != endpoint_url:
            known = self._accounts[server_id] = Account(self, server_id, endpoint_url)
        return known

    async def forget(self, server_id: str) -> None:
        """Let go of everything that is held of a server."""
        known = self._accounts.pop(server_id, None)
        if known is not None:
            await known.stop()
        await self.renewals.forget(server_id)
        if known is not None:
            known.reset()

    async def close(self) -> None:
        """Let what runs in the background finish what it has begun: a renewal that is cut off is a log-in lost."""
        for account in self._accounts.values():
            await account.stop()


class Account:
    """One server's: a `Credential`."""

    def __init__(self, accounts: Accounts, server_id: str, endpoint_url: str) -> None:
        self._accounts = accounts
        self.server_id = server_id
        self.endpoint_url = endpoint_url
        self.challenge: Challenge | None = None
        self._login: Login | None = None
        self._is_loaded = False
        self._signer: ProofSigner | None = None
        self._nonce: str | None = None
        self._renewing: asyncio.Task[Login | None] | None = None
        self._quiet_until_us = 0

    # --- for requests -----------------------------------------------------------------------------------------------

    async def headers(self, method: str, url: str) -> Mapping[str, str]:
        """The token, with a proof made for this request where it is bound; nothing where nobody is logged in.

        Raises:
            UpstreamError: the token has ended and could not be renewed; nothing was sent.
        """
        login = await self._current()
        if login is None:
            return {}
        if not login.is_bound:
            return {"Authorization": f"Bearer {login.access_token}"}
        signer = await self.signer()
        jti, now_us = self._accounts.entropy.uuid(), self._accounts.clock.now_us()
        token = login.access_token
        proof = signer.sign(method, url, jti, now_us, access_token=token, nonce=self._nonce)
        return {"Authorization": f"DPoP {token}", "DPoP": proof}

    async def is_renewed(self, sent: Mapping[str, str], status: int, headers: Mapping[str, str]) -> bool:
        """Take note of a nonce and of a refusal; True where the one was asked for, or the token could be renewed."""
        nonce = headers.get("dpop-nonce")
        self._nonce = nonce or self._nonce
        if status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            if self.challenge is not None and self.challenge.error != INSUFFICIENT_SCOPE and sent:
                self.challenge = None  # an older request's: we are let in by now
            return False
        challenge = challenge_in(headers)
        if (
            status == HTTPStatus.UNAUTHORIZED
            and challenge is not None
            and challenge.error == USE_NONCE
            and nonce is not None
        ):
            return "DPoP" in sent
        if status == HTTPStatus.UNAUTHORIZED:
            token = sent.get("Authorization", "").partition(" ")[2]
            if token and await self._is_replaced(token):
                return True
            self.challenge = challenge or Challenge()
        elif challenge is not None and challenge.error == INSUFFICIENT_SCOPE:
            self.challenge = challenge
        return False

    def problem(self, status: int, headers: Mapping[str, str]) -> str:
        """A log-in is missing, or does not reach far enough."""
        return refusal_words(status, headers, f"`briefcase mcp servers oauth-login {self.server_id}`")

    # --- for logging in and out -------------------------------------------------------------------------------------

    async def signer(self) -> ProofSigner:
        """What proves possession to this server and to no other. Raises as `Custody.key`."""
        if self._signer is None:
            self._signer = ProofSigner(await self._accounts.custody.key(self.server_id))
        return self._signer

    async def put(self, login: Login) -> None:
        """Keep a new log-in, then use it. Raises `StoreError`: it was not kept, and the old one stays."""
        await self._accounts.renewals.replace(self.server_id, login)
        self._login, self._is_loaded, self.challenge = login, True, None

    async def take_out(self) -> Login | None:
        """End the log-in here, and give it, to be revoked; a renewal under way is waited for and ended with it."""
        login = await self._accounts.renewals.remove(self.server_id)
        self._login, self._is_loaded = None, True
        return login

    async def held(self) -> Login | None:
        """The log-in that is held, whether or not it can still be renewed; one for another address is not ours."""
        if not self._is_loaded:
            login = await self._accounts.custody.login(self.server_id)
            if not self._is_loaded:  # nobody changed it meanwhile
                self._take(login)
        return self._login

    def reset(self) -> None:
        """Let go of what is held in memory: the vault holds nothing any more."""
        self._login, self._is_loaded = None, True
        self._signer = self._nonce = self.challenge = None

    async def stop(self) -> None:
        """Wait for a renewal under way."""
        if self._renewing is not None:
            with contextlib.suppress(BriefcaseError):
                await self._renewing

    # --- renewing ---------------------------------------------------------------------------------------------------

    async def _current(self) -> Login | None:
        login = await self.held()
        if login is None or login.has_ended:
            return None
        now_us = self._accounts.clock.now_us()
        if login.refresh_token is None or now_us < renew_at_us(login):
            return login
        if now_us >= login.expires_us - MARGIN_US:
            return await self._waited(self._renew())
        if now_us >= self._quiet_until_us:
            self._renew()
        return login

    async def _is_replaced(self, token: str) -> bool:
        """Whether there is another token by now than the one that was refused: somebody's, or a renewal's."""
        login = await self.held()
        if login is None or login.has_ended:
            return False
        if login.access_token == token:
            if login.refresh_token is None:
                return False
            try:
                login = await self._waited(self._renew(spoilt=token))
            except UpstreamError:
                return False
        return login is not None and login.access_token != token

    def _renew(self, *, spoilt: str | None = None) -> asyncio.Task[Login | None]:
        """The one renewal, begun where none is under way. It is nobody's: who waits for it may leave."""
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renewed(spoilt))
            self._renewing.add_done_callback(self._settle)
        return self._renewing

    async def _renewed(self, spoilt: str | None) -> Login | None:
        login = await self._accounts.renewals.fresh(self.server_id, self.signer, spoilt=spoilt)
        if login is None:
            self._is_loaded = False  # it ended, here or elsewhere: known as such from now on
            return await self.held()
        self._take(login)
        return self._login

    def _settle(self, done: asyncio.Task[Login | None]) -> None:
        self._renewing = None
        if not done.cancelled() and (error := done.exception()) is not None:
            self._is_loaded = False  # whatever is kept is read again
            self._quiet_until_us = self._accounts.clock.now_us() + RETRY_US
            _log.warning("mcp_login_not_renewed", server=self.server_id, problem=str(error))

    async def _waited(self, renewing: asyncio.Task[Login | None]) -> Login | None:
        try:
            return await asyncio.shield(renewing)
        except BriefcaseError as error:
            raise UpstreamError(
                f"the log-in at the server `{self.server_id}` could not be renewed: {error.message}",
                code="upstream_refused",
                hint=f"`briefcase mcp servers oauth-login {self.server_id}`",
                sent=False,
            ) from None

    def _take(self, login: Login | None) -> None:
        is_ours = login is not None and login.resource is not None and covers(login.resource, self.endpoint_url)
        self._login, self._is_loaded = login if is_ours else None, True
