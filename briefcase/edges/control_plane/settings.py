"""How a control plane runs: a pure function of its options and the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from briefcase.adapters.disk.data_dir import data_dir_of, named_path
from briefcase.adapters.telemetry.settings import OtelSettings, load_otel_settings
from briefcase.model.errors import ConfigError
from briefcase.model.types import MAX_PORT

DATABASE_URL: Final = "BRIEFCASE_CONTROL_PLANE_DATABASE_URL"
LISTEN: Final = "BRIEFCASE_CONTROL_PLANE_LISTEN"
PUBLIC_BASE_URL: Final = "BRIEFCASE_CONTROL_PLANE_PUBLIC_BASE_URL"
ADMIN_VARIABLE: Final = "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN"
AUDITOR_VARIABLE: Final = "BRIEFCASE_CONTROL_PLANE_AUDITOR_TOKEN"
SIGNING_KEY_FILE: Final = "BRIEFCASE_CONTROL_PLANE_SIGNING_KEY_FILE"

DEFAULT_LISTEN: Final = "127.0.0.1:8790"
DIRECTORY: Final = "control-plane"
SERVICE_NAME: Final = "briefcase-control-plane"
MIN_TOKEN_CHARS: Final = 16

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class ControlPlaneSettings(msgspec.Struct, frozen=True):
    """One process of a control plane.

    `database_url` is empty where PostgreSQL is embedded. `base_url` is what devices call it, without a trailing slash;
    empty, it is the listener's own address. `proxies` may speak to it in clear text from elsewhere than this host.
    """

    directory: Path
    host: str
    port: int
    database_url: str
    base_url: str
    admin_token: str
    auditor_token: str
    signing_key_file: Path
    certificate: Path | None = None
    certificate_key: Path | None = None
    proxies: tuple[Network, ...] = ()
    retention_days: int | None = None
    otel: OtelSettings | None = None

    @property
    def is_embedded(self) -> bool:
        """Whether PostgreSQL is this process's child."""
        return not self.database_url


class ServeOptions(msgspec.Struct, frozen=True):
    """What was said on the command line."""

    is_embedded: bool = False
    listen: str = ""
    certificate: Path | None = None
    certificate_key: Path | None = None
    proxies: tuple[str, ...] = ()
    retention_days: int | None = None


def parse_settings(environ: Mapping[str, str], options: ServeOptions) -> ControlPlaneSettings:
    """Read how to serve.

    Args:
        environ: the environment.
        options: the command line's, which stand above it.

    Raises:
        ConfigError: a value is not as it must be; the message names the variable or the option, never a secret.
    """
    host, port = _address(options.listen or environ.get(LISTEN) or DEFAULT_LISTEN)
    has_tls = _has_tls(options)
    proxies = tuple(map(_network, options.proxies))
    if not has_tls and not proxies and not _is_loopback(host):
        raise ConfigError(
            f"expected TLS to listen on `{host}`, which is not a loopback address",
            hint="give it `--tls-cert` and `--tls-key`, or name the proxy in front of it with `--behind-proxy CIDR`",
        )
    directory = data_dir_of(environ) / DIRECTORY
    return ControlPlaneSettings(
        directory=directory,
        host=host,
        port=port,
        database_url=_database_url(environ, is_embedded=options.is_embedded),
        base_url=_base_url(environ),
        admin_token=_token(environ, ADMIN_VARIABLE),
        auditor_token=_token(environ, AUDITOR_VARIABLE, is_optional=True),
        signing_key_file=(named_path(environ, SIGNING_KEY_FILE) or directory / "signing_key").absolute(),
        certificate=options.certificate,
        certificate_key=options.certificate_key,
        proxies=proxies,
        retention_days=options.retention_days,
        otel=load_otel_settings(environ, SERVICE_NAME),
    )


def _database_url(environ: Mapping[str, str], *, is_embedded: bool) -> str:
    url = environ.get(DATABASE_URL, "")
    if is_embedded and url:
        raise ConfigError(f"expected `--embedded` or `{DATABASE_URL}`, got both")
    if not is_embedded and not url:
        raise ConfigError(
            f"expected a PostgreSQL in `{DATABASE_URL}`", hint="for a first look, `--embedded` runs one of its own"
        )
    return url


def _base_url(environ: Mapping[str, str]) -> str:
    url = environ.get(PUBLIC_BASE_URL, "").rstrip("/")
    if url and not url.startswith(("https://", "http://")):
        raise ConfigError(f"expected `{PUBLIC_BASE_URL}` to be a URL of https or http, got `{url}`")
    return url


def _token(environ: Mapping[str, str], name: str, *, is_optional: bool = False) -> str:
    token = environ.get(name, "")
    if not token and is_optional:
        return ""
    if len(token) < MIN_TOKEN_CHARS or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"expected `{name}` to hold at least {MIN_TOKEN_CHARS} visible ASCII characters",
            hint="make one with `openssl rand -base64 32`",
        )
    return token


def _has_tls(options: ServeOptions) -> bool:
    if (options.certificate is None) != (options.certificate_key is None):
        raise ConfigError("expected `--tls-cert` and `--tls-key` together")
    return options.certificate is not None


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        number = int(port)
    except ValueError:
        number = -1
    if not 0 <= number <= MAX_PORT:
        raise ConfigError(f"expected `{LISTEN}` to be ADDRESS:PORT, for example `{DEFAULT_LISTEN}`, got `{text}`")
    return host, number


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ConfigError(f"expected `--behind-proxy` to be a network such as `10.0.0.0/8`, got `{text}`") from None
