"""From a server's description to a way to it, with the secrets it names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from briefcase.adapters.children.confinement import Confinement
from briefcase.adapters.servers.accounts import Accounts
from briefcase.adapters.servers.config import HeaderSecret, ServerConfig, parse_server
from briefcase.adapters.servers.credentials import Credential, SecretHeaders
from briefcase.adapters.servers.http_transport import HttpTransport, StreamingOutbound
from briefcase.adapters.servers.stdio_transport import StdioTransport
from briefcase.adapters.servers.transport import Transport
from briefcase.adapters.vault.bindings import PROCESS, host_of
from briefcase.core.operator.servers import Described
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import BoundSecrets, Claim
from briefcase.model.types import JsonObject


class TransportFactory:
    """Makes transports.

    Args:
        outbound: the guarded way out.
        secrets: the vault.
        accounts: the log-ins at servers.
        confinement: what a server that the daemon starts is kept from.
        environ: the daemon's environment, of which such a server gets a part.
    """

    def __init__(
        self,
        outbound: StreamingOutbound,
        secrets: BoundSecrets,
        accounts: Accounts,
        confinement: Confinement,
        environ: Mapping[str, str],
    ) -> None:
        self._outbound = outbound
        self._secrets = secrets
        self._accounts = accounts
        self._confinement = confinement
        self._environ = environ

    async def transport(self, config: ServerConfig) -> Transport:
        """A way to a server, not opened yet.

        Raises:
            UpstreamError: a secret it names is not set, or not bound to it; nothing was sent.
        """
        if config.transport == "http":
            credential = self._credential(config)
            return HttpTransport(
                self._outbound,
                config.endpoint_url,
                credential,
                f"mcp:{config.id}",
                headers=config.headers,
                max_message_bytes=config.max_message_bytes,
            )
        own = process_destination(config)
        secret_env = {name: await self._secret(secret, own) for name, secret in config.secret_env.items()}
        return StdioTransport(
            (config.command, *config.args),
            {**config.env, **secret_env},
            config.cwd,
            self._environ,
            self._confinement,
            max_message_bytes=config.max_message_bytes,
        )

    def _credential(self, config: ServerConfig) -> Credential:
        """The operator's secrets where there are any, else the log-in."""
        if config.takes_logins:
            return self._accounts.account(config.id, config.endpoint_url)
        destination = host_of(config.endpoint_url)
        wanted = config.secret_headers.items()
        return SecretHeaders({name: partial(self._header, header, destination) for name, header in wanted})

    async def _header(self, header: HeaderSecret, destination: str) -> str:
        value = f"{header.prefix}{await self._secret(header.secret, destination)}"
        if not value.isascii() or not value.isprintable():
            raise UpstreamError(
                f"the secret `{header.secret}` cannot stand in a header", code="upstream_refused", sent=False
            )
        return value

    async def _secret(self, name: str, destination: str) -> str:
        value = await self._secrets.get_for(name, destination)
        if value is None:
            raise UpstreamError(
                f"the secret `{name}` is not set",
                code="upstream_refused",
                hint=f"`briefcase secrets set {name}`",
                sent=False,
            )
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise UpstreamError(f"the secret `{name}` is no text", code="upstream_refused", sent=False) from None


def described(server_id: str, body: JsonObject) -> Described:
    """What a description comes to. Raises `CallerError` where it is not as expected."""
    config = parse_server(server_id, body)
    return Described(config.address, claims_of(config))


def claims_of(config: ServerConfig) -> tuple[Claim, ...]:
    """What a server's description says of the operator's secrets.

    The secret of a client that was registered by hand counts where the authorization server is named; where it is
    discovered, it counts as it is sent.
    """
    by = f"the server `{config.id}`"
    claims = [Claim(secret, process_destination(config), by) for secret in config.secret_env.values()]
    claims += [Claim(sent.secret, host_of(config.endpoint_url), by) for sent in config.secret_headers.values()]
    return tuple(claims)


def process_destination(config: ServerConfig) -> str:
    """The destination of what a started server has in its environment."""
    return f"{PROCESS}{config.id}"
