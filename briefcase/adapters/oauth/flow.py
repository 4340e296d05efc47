"""A log-in, at a provider or an MCP server: begun here, agreed to in a person's browser, finished here, ended here.

 1. send the person away with a `state` and a challenge that are of use once, for this holder, for ten minutes
 2. take the code back: the `state` is spent before anything else happens, the issuer is the one that was asked
 3. exchange it, for the very client, redirect address and resource of step 1
 4. the caller keeps what it gives before it is used (`Renewals.replace`)
 5. end it: here first (`Renewals.remove`), so that nothing is sent with it any more, then at its server

The verifier and the tokens never leave the daemon. What is held for step 2 is in memory: after a restart the person
begins again.
"""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.adapters.net.urls import parse_url
from briefcase.adapters.oauth.client import Begun, OAuthClient, check_iss
from briefcase.adapters.oauth.custody import Client, Login
from briefcase.adapters.oauth.metadata import ServerMetadata
from briefcase.core.jose.dpop import ProofSigner
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import Clock
from briefcase.model.types import US_PER_S

PENDING_US: Final = 600 * US_PER_S
MAX_PENDING: Final = 64
MAX_TEXT_CHARS: Final = 2_048


class LoginRequest(msgspec.Struct, frozen=True):
    """What a log-in is for, and everything its answer is held against.

    `holder_id` is the provider or server that will hold it, `address` where that is. `resource` is what the token is
    for (RFC 8707), `scope` what is asked for; empty for neither.
    """

    holder_id: str
    address: str
    metadata: ServerMetadata
    client: Client
    redirect_uri: str
    resource: str | None = None
    scope: str = ""
    needs_binding: bool = False


class AuthorizationCode(msgspec.Struct, frozen=True):
    """What the person came back with; `iss` as it was there, or None."""

    code: str
    state: str
    iss: str | None = None

    def __repr__(self) -> str:
        return f"AuthorizationCode(iss={self.iss!r}, ...)"


class Revocation(msgspec.Struct, frozen=True):
    """What came of ending a log-in."""

    had_refresh_token: bool
    remote_revocation_attempted: bool
    remote_revocation_succeeded: bool


class _Pending(msgspec.Struct, frozen=True):
    request: LoginRequest
    code_verifier: str
    expires_us: int

    def __repr__(self) -> str:
        return f"_Pending(holder_id={self.request.holder_id!r}, ...)"


class LoginFlow:
    """The log-ins of one compartment that have begun. One event loop.

    Args:
        oauth: speaks to authorization servers.
        clock: the time.
        command: what begins a log-in at the command line; the holder's id follows it.
    """

    def __init__(self, oauth: OAuthClient, clock: Clock, command: str) -> None:
        self._oauth = oauth
        self._clock = clock
        self._command = command
        self._pending: dict[str, _Pending] = {}  # by state, oldest first

    def begin(self, request: LoginRequest) -> Begun:
        """Step 1; of more than `MAX_PENDING` the oldest gives way."""
        started = self._oauth.start(
            request.metadata, request.client.client_id, request.redirect_uri, request.scope or None, request.resource
        )
        self._drop_expired()
        kept = list(self._pending.items())[-(MAX_PENDING - 1) :]
        expires_us = self._clock.now_us() + PENDING_US
        self._pending = dict(kept) | {started.state: _Pending(request, started.code_verifier, expires_us)}
        return Begun(started.authorization_url, started.state, started.issuer, started.requires_iss)

    async def finish(self, holder_id: str, address: str, answer: AuthorizationCode, signer: ProofSigner) -> Login:
        """Steps 2 and 3.

        Raises:
            CallerError: the `state` is of no log-in of this holder, or was used; the `iss` is missing or another.
            UpstreamError: the authorization server refused, could not be reached, or gave what is no token.
        """
        self._drop_expired()
        pending = self._pending.get(answer.state)
        if pending is None or (pending.request.holder_id, pending.request.address) != (holder_id, address):
            raise CallerError(
                "the answer belongs to no log-in that is waited for: its `state` is unknown, was used, or is too old",
                hint=f"start again with `{self._command} {holder_id}`",
            )
        del self._pending[answer.state]
        check_texts(answer.code)
        metadata = pending.request.metadata
        check_iss(metadata.issuer, answer.iss, requires_iss=metadata.authorization_response_iss_parameter_supported)
        return await self.exchange(pending.request, answer.code, pending.code_verifier, signer)

    async def exchange(self, request: LoginRequest, code: str, code_verifier: str, signer: ProofSigner) -> Login:
        """Step 3. Raises `UpstreamError` as `finish`."""
        login = await self._oauth.exchange(
            request.metadata,
            code=code,
            redirect_uri=request.redirect_uri,
            client=request.client,
            code_verifier=code_verifier,
            signer=signer,
            resource=request.resource,
            scope=request.scope,
        )
        if request.needs_binding and not login.is_bound:
            raise UpstreamError("the server wants a bound token, and was given a plain one", code="upstream_refused")
        return login

    async def revoke(self, login: Login | None) -> Revocation:
        """Step 5 at the server, for a log-in that was removed here already; None where there was none."""
        attempted, succeeded = (False, False) if login is None else await self._oauth.revoke(login)
        return Revocation(login is not None and login.refresh_token is not None, attempted, succeeded)

    def forget(self, holder_id: str) -> None:
        """Let go of what has begun for a holder: its log-in ended, or it was removed or moved."""
        self._pending = {
            state: pending for state, pending in self._pending.items() if pending.request.holder_id != holder_id
        }

    def _drop_expired(self) -> None:
        """Let go of what has ended, for good: a clock that steps back brings nothing to life."""
        now_us = self._clock.now_us()
        self._pending = {state: pending for state, pending in self._pending.items() if pending.expires_us > now_us}


def check_texts(*texts: str) -> None:
    """Check parameters that a person came back with.

    Raises:
        CallerError: one is empty or longer than `MAX_TEXT_CHARS`.
    """
    if any(not 0 < len(text) <= MAX_TEXT_CHARS for text in texts):
        raise CallerError(f"expected each parameter to have 1 to {MAX_TEXT_CHARS} characters")


def check_redirect_uri(redirect_uri: str) -> None:
    """Check where a log-in's answer is to go: a loopback address over plain HTTP (RFC 8252 section 7.3).

    Raises:
        CallerError: it is anything else.
    """
    try:
        url = parse_url(redirect_uri)
    except ValueError as error:
        raise CallerError(str(error)) from None
    address = url.address
    if url.scheme != "http" or address is None or not address.is_loopback:
        raise CallerError("expected a redirect address on loopback, as `http://127.0.0.1:PORT/callback`")
