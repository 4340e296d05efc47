"""Logging in to MCP servers, for the API: who may let us in, who we are there, what to ask for.

1. find who may let us in (`oauth.discovery`), and who we are there (`oauth.registration`)
2. choose the scope: what the server asked for, else all it names; and never less than was granted before
3. begin the log-in, finish it, end it (`oauth.flow`)
"""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.adapters.oauth.challenges import Challenge, is_scope, union_of
from briefcase.adapters.oauth.discovery import Authority, Discovery
from briefcase.adapters.oauth.flow import MAX_TEXT_CHARS, AuthorizationCode, LoginFlow, LoginRequest, check_redirect_uri
from briefcase.adapters.oauth.metadata import is_same_issuer
from briefcase.adapters.oauth.registration import Registrar, ServerOAuth
from briefcase.adapters.servers.accounts import Account, Accounts
from briefcase.adapters.servers.config import ServerConfig
from briefcase.core.wire.servers import ServerLoginRevoked
from briefcase.model.errors import CallerError, UpstreamError

LOGIN_COMMAND: Final = "briefcase mcp servers oauth-login"
OFFLINE_ACCESS: Final = "offline_access"  # OpenID Connect Core section 11


class LoginStanding(msgspec.Struct, frozen=True):
    """Whether a log-in that can be renewed is held, whether a person should log in, and what ails the one held."""

    has_refresh: bool
    needs_login: bool
    problem: str = ""


class Logins:
    """The log-ins at MCP servers.

    Args:
        accounts: where they are held.
        discovery: finds who may let us in.
        registrar: finds who we are there.
        flow: the log-ins that have begun.
    """

    def __init__(self, accounts: Accounts, discovery: Discovery, registrar: Registrar, flow: LoginFlow) -> None:
        self._accounts = accounts
        self._discovery = discovery
        self._registrar = registrar
        self._flow = flow

    async def start(
        self, config: ServerConfig, client_id: str, redirect_uri: str, scope: str | None
    ) -> tuple[str, str]:
        """Begin a log-in.

        Args:
            config: the server.
            client_id: who the authorization server knows us as; empty to find out.
            redirect_uri: the loopback address where the answer is waited for.
            scope: what to ask for instead of what step 2 chooses.

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
        begun = self._flow.begin(
            LoginRequest(
                holder_id=config.id,
                address=config.endpoint_url,
                metadata=metadata,
                client=client,
                redirect_uri=redirect_uri,
                resource=authority.resource.resource,
                scope=wanted,
                needs_binding=authority.resource.dpop_bound_access_tokens_required,
            )
        )
        return begun.authorization_url, begun.state

    async def exchange(self, config: ServerConfig, code: str, state: str, iss: str | None) -> None:
        """Finish a log-in.

        Raises:
            CallerError: the `state` is of no log-in of this server, or was used; the `iss` is missing or another.
            UpstreamError: the authorization server refused, could not be reached, or gave what is no token.
            StoreError: the log-in could not be kept.
        """
        account = self._account(config)
        answer = AuthorizationCode(code, state, iss)
        await account.put(await self._flow.finish(config.id, config.endpoint_url, answer, await account.signer()))

    async def revoke(self, config: ServerConfig) -> ServerLoginRevoked:
        """End a log-in: here first, so that nothing is sent with it any more, then at its server where that can be."""
        self._flow.forget(config.id)
        ended = await self._flow.revoke(await self._account_of(config).take_out())
        return ServerLoginRevoked(config.id, *msgspec.structs.astuple(ended))

    async def forget(self, server_id: str) -> None:
        """Let go of everything that is held of a server: it was removed, or moved to another address."""
        self._flow.forget(server_id)
        await self._accounts.forget(server_id)

    async def standing(self, config: ServerConfig) -> LoginStanding:
        """How the log-in at a server is. Raises as `Custody.login`."""
        if not config.takes_logins:
            return LoginStanding(has_refresh=False, needs_login=False)
        account = self._account_of(config)
        login = await account.held()
        has_ended = login is not None and login.has_ended
        return LoginStanding(
            has_refresh=login is not None and login.refresh_token is not None and not has_ended,
            needs_login=account.challenge is not None or has_ended,
            problem=self._accounts.renewals.problem(config.id),
        )

    # --- helpers ----------------------------------------------------------------------------------------------------

    async def _scope(self, account: Account, authority: Authority, challenge: Challenge) -> str:
        """Step 2; with the scope that a log-in which can be renewed takes, where the server has it (OpenID Connect)."""
        held = await account.held()
        wanted = challenge.scope or authority.resource.scope
        is_here = held is not None and is_same_issuer(held.issuer, authority.server.issuer) and is_scope(held.scope)
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
        if not config.takes_logins:
            raise CallerError(
                f"the server `{config.id}` has no log-in: it is started by a command, or is sent a secret instead",
                code="conflict",
            )
        return self._account_of(config)

    def _account_of(self, config: ServerConfig) -> Account:
        return self._accounts.account(config.id, config.endpoint_url)


def _known_as(oauth: ServerOAuth, client_id: str) -> ServerOAuth:
    """The same, for a client the caller names; a secret is only for the client it was set for."""
    secret = oauth.client_secret if client_id == oauth.client_id else None
    return msgspec.structs.replace(oauth, client_id=client_id, client_secret=secret)
