"""Named secrets that tools are given credentials from: set, listed by name, removed; a value never comes back."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from briefcase.adapters.vault.bindings import parse_destinations
from briefcase.core.redaction.redactor import MIN_SECRET_BYTES
from briefcase.core.wire.secrets import SecretHosts, SecretName, SecretNames
from briefcase.edges.api.routing import OPERATOR, Request, Route
from briefcase.edges.api.services import Services

MAX_SECRET_CHARS: Final = 64 << 10


class SecretValue(msgspec.Struct):
    """The value to keep: shorter ones could not be told from ordinary text when results are redacted.

    With `hosts` it may go to these alone; without, to what it was bound to, else to the one host that names it.
    """

    value: Annotated[str, msgspec.Meta(min_length=MIN_SECRET_BYTES, max_length=MAX_SECRET_CHARS)]
    hosts: list[str] | None = None


async def list_secrets(services: Services, _: Request) -> SecretNames:
    """`GET /v1/secrets`."""
    return SecretNames(list(await services.secrets.names()), await services.secrets.all_destinations())


async def set_secret(services: Services, request: Request) -> SecretName:
    """`PUT /v1/secrets/{name}`: it and its receipt are durable when this answers."""
    name, body = request.params["name"], request.body_as(SecretValue)
    hosts = None if body.hosts is None else parse_destinations(body.hosts)
    await services.operator.secrets.set(name, body.value.encode(), hosts, request.principal.name)
    return SecretName(name)


async def bind_secret(services: Services, request: Request) -> SecretHosts:
    """`PUT /v1/secrets/{name}/hosts`: in place of the hosts it had; durable when this answers."""
    name, hosts = request.params["name"], parse_destinations(request.body_as(SecretHosts).hosts)
    return SecretHosts(list(await services.operator.secrets.bind(name, hosts, request.principal.name)))


async def delete_secret(services: Services, request: Request) -> SecretName:
    """`DELETE /v1/secrets/{name}`."""
    name = request.params["name"]
    await services.operator.secrets.remove(name, request.principal.name)
    return SecretName(name)


ROUTES: Final = (
    Route("GET", "/v1/secrets", OPERATOR, list_secrets, "The names of all secrets", SecretNames),
    Route("PUT", "/v1/secrets/{name}", OPERATOR, set_secret, "Set a secret", SecretName, body=SecretValue),
    Route("PUT", "/v1/secrets/{name}/hosts", OPERATOR, bind_secret, "Bind a secret", SecretHosts, body=SecretHosts),
    Route("DELETE", "/v1/secrets/{name}", OPERATOR, delete_secret, "Remove a secret", SecretName),
)
