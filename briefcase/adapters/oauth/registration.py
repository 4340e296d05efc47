"""Who an authorization server is to know us as.

In this order, as the MCP specification says:

 1. the client the operator registered there by hand, with its secret from the vault
 2. a client-id metadata document, where the operator published one and the server reads them
 3. the client that was registered dynamically before, for the same issuer and redirect address
 4. one that is registered now (RFC 7591)

A client is of one issuer and is never shown to another.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

from briefcase.adapters.oauth.custody import NO_SECRET, Client
from briefcase.adapters.oauth.metadata import BASIC, POST, ServerMetadata, is_same_issuer
from briefcase.adapters.oauth.wire import MAX_ANSWER_BYTES, TIMEOUT_MS, read_server_answer
from briefcase.adapters.vault.bindings import host_of
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import BoundSecrets, HttpRequest, Outbound
from briefcase.model.types import JsonObject

CLIENT_NAME: Final = "briefcase"
GRANTS: Final = ("authorization_code", "refresh_token")
LOOPBACK_REDIRECT: Final = "http://127.0.0.1/callback"  # any port of it (RFC 8252 section 7.3)
METHODS: Final = (BASIC, POST, NO_SECRET)  # the first of these that a server takes
MAX_CLIENT_CHARS: Final = 2_048
_VISIBLE: Final = re.compile(r"[ -~]+")


class ServerOAuth(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an authorization server knows us, where the operator arranged that.

    `client_secret` names the vault's secret. `issuer` is the only authorization server `client_id` is for.
    `client_metadata_url` is where the operator published our client-id metadata document.
    """

    client_id: Annotated[str, msgspec.Meta(max_length=2_048)] = ""
    client_secret: str | None = None
    issuer: Annotated[str, msgspec.Meta(max_length=2_048)] = ""
    client_metadata_url: Annotated[str, msgspec.Meta(max_length=2_048)] = ""


class _Registered(msgspec.Struct, frozen=True):
    """What is used of a registration's answer (RFC 7591 section 3.2.1)."""

    client_id: str
    client_secret: str | None = None
    token_endpoint_auth_method: str | None = None


class Registrar:
    """Chooses and registers clients.

    Args:
        outbound: the guarded way out.
        secrets: the operator's secrets, for what was registered by hand.
    """

    def __init__(self, outbound: Outbound, secrets: BoundSecrets) -> None:
        self._outbound = outbound
        self._secrets = secrets

    async def client(
        self, chosen: ServerOAuth, metadata: ServerMetadata, redirect_uri: str, known: Client | None
    ) -> Client:
        """The client to log in as, by the order of the module's docstring.

        Args:
            chosen: what the operator said of the server.
            metadata: the authorization server's.
            redirect_uri: where the answer is to go.
            known: the client that was registered dynamically before.

        Raises:
            CallerError: its secret is not set, or there is no client and none can be registered.
            UpstreamError: the registration was refused or failed.
        """
        if chosen.client_id:
            return await self._by_hand(chosen, metadata)
        if chosen.client_metadata_url and metadata.client_id_metadata_document_supported:
            return Client(chosen.client_metadata_url)
        if known is not None and is_same_issuer(known.issuer, metadata.issuer) and known.redirect_uri == redirect_uri:
            return known
        if metadata.registration_endpoint is None:
            raise CallerError(
                "the authorization server registers no clients by itself",
                hint="register one there, and name it with `briefcase mcp servers upsert ID URL --oauth-client-id`",
            )
        return await self._register(metadata, metadata.registration_endpoint, redirect_uri)

    async def _by_hand(self, chosen: ServerOAuth, metadata: ServerMetadata) -> Client:
        if chosen.client_secret is None:
            return Client(chosen.client_id)
        try:
            destination = host_of(metadata.token_endpoint)
        except ValueError as error:
            raise UpstreamError(f"the authorization server's token endpoint cannot be used: {error}") from None
        secret = await self._secrets.get_for(chosen.client_secret, destination)
        if secret is None:
            hint = f"`briefcase secrets set {chosen.client_secret}`"
            raise CallerError(f"the secret `{chosen.client_secret}` is not set", hint=hint)
        method = _method_of(metadata, has_secret=True)
        return Client(chosen.client_id, secret.decode(errors="replace"), method)

    async def _register(self, metadata: ServerMetadata, endpoint: str, redirect_uri: str) -> Client:
        offered = metadata.token_endpoint_auth_methods_supported
        method = NO_SECRET if NO_SECRET in offered else _method_of(metadata, has_secret=True)
        wanted = client_document(redirect_uri) | {"token_endpoint_auth_method": method}
        response = await self._outbound.request(
            HttpRequest(
                "POST",
                endpoint,
                headers={"content-type": "application/json", "accept": "application/json"},
                body=msgspec.json.encode(wanted),
                timeout_ms=TIMEOUT_MS,
                max_body_bytes=MAX_ANSWER_BYTES,
                pool_key=metadata.issuer,
            )
        )
        answer = read_server_answer(response, _Registered, "the registration of a client")
        for text in (answer.client_id, answer.client_secret):
            if text is not None and not (len(text) <= MAX_CLIENT_CHARS and _VISIBLE.fullmatch(text)):
                raise UpstreamError("the registration of a client gave one that cannot be used")
        method = answer.token_endpoint_auth_method or _method_of(metadata, has_secret=answer.client_secret is not None)
        if method not in METHODS or (method != NO_SECRET and answer.client_secret is None):
            raise UpstreamError("the registration of a client asks for a way to authenticate that is not known")
        secret = None if method == NO_SECRET else answer.client_secret
        return Client(answer.client_id, secret, method, metadata.issuer, redirect_uri)


def client_document(redirect_uri: str = LOOPBACK_REDIRECT) -> JsonObject:
    """What we are, as RFC 7591 section 2 has it: a native client that keeps log-ins."""
    return {
        "client_name": CLIENT_NAME,
        "redirect_uris": [redirect_uri],
        "grant_types": list(GRANTS),
        "response_types": ["code"],
        "token_endpoint_auth_method": NO_SECRET,
        "application_type": "native",
    }


def _method_of(metadata: ServerMetadata, *, has_secret: bool) -> str:
    """How to authenticate to a server: the first way both know, the public one where we have no secret."""
    if not has_secret:
        return NO_SECRET
    offered = metadata.token_endpoint_auth_methods_supported
    return next((method for method in METHODS if method in offered), NO_SECRET)
