"""Logging in to MCP servers, for the API: begun here, agreed to in a person's browser, finished here, ended here.

 1. find who may let us in (`discovery`), and who we are there (`registration`)
 2. choose the scope: what the server asked for, else all it names; and never less than was granted before
 3. send the person away with a `state` and a challenge that are of use once, for this server, for ten minutes
 4. take the code back: the `state` is spent before anything else happens, the issuer is the one that was asked
 5. exchange it, for the very redirect address and resource of step 3, and keep what it gives before it is used

The verifier and the tokens never leave the daemon. What is held for step 4 is in memory: after a restart the person
begins again.
"""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.mcp.accounts import Account, Accounts
from briefcase.mcp.challenges import Challenge, is_scope, union_of
from briefcase.mcp.discovery import Authority, Discovery
from briefcase.mcp.registration import Registrar
from briefcase.mcp.servers import ServerConfig, ServerOAuth
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.types import US_PER_S
from briefcase.operator.logins import ServerLoginRevoked
from briefcase.providers.custody import Client
from briefcase.providers.oauth import OAuthClient, ServerMetadata, check_iss
from briefcase.providers.service import check_redirect_uri

PENDING_US: Final = 600 * US_PER_S
MAX_PENDING: Final = 64
MAX_TEXT_CHARS: Final = 2_048
OFFLINE_ACCESS: Final = "offline_access"  # OpenID Connect Core section 11


class LoginStanding(msgspec.Struct, frozen=True):
    """Whether a log-in that can be renewed is held, and whether a person should log in."""

    has_refresh: bool
    needs_login: bool


class _Pending(msgspec.Struct, frozen=True):
    """A log-in that has begun: everything its answer is held against."""

    server_id: str
    endpoint_url: str
    metadata: ServerMetadata
    client: Client
    redirect_uri: str
    resource: str
    scope: str
    code_verifier: str
    needs_binding: bool
    expires_us: int


class Logins:
    """The log-ins at MCP servers.

    Args:
        accounts: where they are held.
        discovery: finds who may let us in.
        registrar: finds who we are there.
        oauth: speaks to authorization servers.
    """

    def __init__(self, accounts: Accounts, discovery: Discovery, registrar: Registrar, oauth: OAuthClient) -> None:
        self._accounts = accounts
        self._discovery = discovery
        self._registrar = registrar
        self._oauth = oauth
        self._clock = accounts.clock
        self._pending: dict[str, _Pending] = {}  # by state, oldest first

    async def start(
        self, config: ServerConfig, client_id: str, redirect_uri: str, scope: str | None
    ) -> tuple[str, str]:
        """Steps 1 to 3.

        Args:
            config: the server.
            client_id: who the authorization server knows us as; empty to find out.
            redirect_uri: the loopback address where the answer is waited for.
            scope: what to ask for instead of step 2.

        Raises:
            CallerError: a parameter is not as expected, the server wants no log-in, or there is no client for it.
            UpstreamError: what the server names could not be had, or is not to be trusted.

        Returns:
            Where to send the person, and the `state` of the answer.
        """
        check_redirect_uri(redirect_uri)
        if len(client_id) > MAX_TEXT_CHARS or (scope is not None and not is_scope(scope)):
            raise CallerError(f"expected a client id and a scope (RFC 6749) of at most {MAX_TEXT_CHARS} characters")
        account, oauth = self._account(config), config.oauth
        if client_id:
            oauth = _known_as(oauth, client_id)
        challenge = account.challenge or Challenge()
        authority = await self._discovery.find(config.endpoint_url, challenge.resource_metadata, oauth.issuer)
        metadata = authority.server
        self._check_binding(authority, (await account.signer()).algorithm)
        known = await self._accounts.custody.client(config.id)
        client = await self._registrar.client(oauth, metadata, redirect_uri, known)
        if client.issuer and client != known:
            await self._accounts.custody.put_client(config.id, client)
        wanted = scope if scope is not None else await self._scope(account, authority, challenge)
        resource = authority.resource.resource
        started = self._oauth.start(metadata, client.client_id, redirect_uri, wanted or None, resource)
        self._remember(
            started.state,
            _Pending(
                server_id=config.id,
                endpoint_url=config.endpoint_url,
                metadata=metadata,
                client=client,
                redirect_uri=redirect_uri,
                resource=resource,
                scope=wanted,
                code_verifier=started.code_verifier,
                needs_binding=authority.resource.dpop_bound_access_tokens_required,
                expires_us=self._clock.now_us() + PENDING_US,
            ),
        )
        return started.authorization_url, started.state

    async def exchange(self, config: ServerConfig, code: str, state: str, iss: str | None) -> None:
        """Steps 4 and 5.

        Raises:
            CallerError: the `state` is of no log-in of this server, or was used; the `iss` is missing or another.
            UpstreamError: the authorization server refused, could not be reached, or gave what is no token.
            StoreError: the log-in could not be kept.
        """
        self._drop_expired()
        account, pending = self._account(config), self._pending.get(state)
        if pending is None or (pending.server_id, pending.endpoint_url) != (config.id, config.endpoint_url):
            raise CallerError(
                "the answer belongs to no log-in that is waited for: its `state` is unknown, was used, or is too old",
                hint=f"start again with `briefcase mcp servers oauth-login {config.id}`",
            )
        del self._pending[state]
        if not 0 < len(code) <= MAX_TEXT_CHARS:
            raise CallerError(f"expected a code of 1 to {MAX_TEXT_CHARS} characters")
        requires_iss = pending.metadata.authorization_response_iss_parameter_supported
        check_iss(pending.metadata.issuer, iss, requires_iss=requires_iss)
        login = await self._oauth.exchange(
            pending.metadata,
            code=code,
            redirect_uri=pending.redirect_uri,
            client=pending.client,
            code_verifier=pending.code_verifier,
            signer=await account.signer(),
            resource=pending.resource,
            scope=pending.scope,
        )
        if pending.needs_binding and not login.is_bound:
            raise UpstreamError("the server wants a bound token, and was given a plain one", code="upstream_refused")
        await account.put(login)

    async def revoke(self, config: ServerConfig) -> ServerLoginRevoked:
        """End a log-in: here first, so that nothing is sent with it any more, then at its server where that can be."""
        self._drop_pending(config.id)
        login = await self._account_of(config).take_out()
        attempted, succeeded = (False, False) if login is None else await self._oauth.revoke(login)
        had_refresh = login is not None and login.refresh_token is not None
        return ServerLoginRevoked(config.id, had_refresh, attempted, succeeded)

    async def forget(self, server_id: str) -> None:
        """Let go of everything that is held of a server: it was removed, or moved to another address."""
        self._drop_pending(server_id)
        await self._accounts.forget(server_id)

    async def standing(self, config: ServerConfig) -> LoginStanding:
        """How the log-in at a server is. Raises as `Custody.login`."""
        if not _takes_logins(config):
            return LoginStanding(has_refresh=False, needs_login=False)
        account = self._account_of(config)
        login = await account.held()
        has_ended = login is not None and login.has_ended
        return LoginStanding(
            has_refresh=login is not None and login.refresh_token is not None and not has_ended,
            needs_login=account.challenge is not None or has_ended,
        )

    # --- helpers ----------------------------------------------------------------------------------------------------

    async def _scope(self, account: Account, authority: Authority, challenge: Challenge) -> str:
        """Step 2; with the scope that a log-in which can be renewed takes, where the server has it (OpenID Connect)."""
        held = await account.held()
        wanted = challenge.scope or authority.resource.scope
        is_here = held is not None and held.issuer == authority.server.issuer and is_scope(held.scope)
        granted = held.scope if held is not None and is_here else ""
        offline = OFFLINE_ACCESS if OFFLINE_ACCESS in authority.server.scopes_supported else ""
        return union_of(granted, wanted, offline)

    def _check_binding(self, authority: Authority, algorithm: str) -> None:
        offered = authority.server.dpop_signing_alg_values_supported
        if authority.resource.dpop_bound_access_tokens_required and algorithm not in offered:
            raise UpstreamError(
                "the server wants a bound token, and its authorization server binds none to a key of ours",
                code="upstream_refused",
            )

    def _account(self, config: ServerConfig) -> Account:
        if not _takes_logins(config):
            raise CallerError(
                f"the server `{config.id}` has no log-in: it is started by a command, or has a `bearer_secret`",
                code="conflict",
            )
        return self._account_of(config)

    def _account_of(self, config: ServerConfig) -> Account:
        return self._accounts.account(config.id, config.endpoint_url)

    def _remember(self, state: str, pending: _Pending) -> None:
        self._drop_expired()
        self._pending = dict(list(self._pending.items())[-(MAX_PENDING - 1) :]) | {state: pending}

    def _drop_expired(self) -> None:
        """Let go of what has ended, for good: a clock that steps back brings nothing to life."""
        now_us = self._clock.now_us()
        self._pending = {known: one for known, one in self._pending.items() if one.expires_us > now_us}

    def _drop_pending(self, server_id: str) -> None:
        self._pending = {state: one for state, one in self._pending.items() if one.server_id != server_id}


def _known_as(oauth: ServerOAuth, client_id: str) -> ServerOAuth:
    """The same, for a client the caller names; a secret is only for the client it was set for."""
    secret = oauth.client_secret if client_id == oauth.client_id else None
    return msgspec.structs.replace(oauth, client_id=client_id, client_secret=secret)


def _takes_logins(config: ServerConfig) -> bool:
    return config.transport == "http" and config.bearer_secret is None
