"""Named secrets that tools are given credentials from: set, listed by name, removed; a value never comes back."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from briefcase.api.routing import OPERATOR, Request, Route
from briefcase.api.services import Services
from briefcase.errors import CallerError
from briefcase.receipts.events import secret_event
from briefcase.redaction import MIN_SECRET_BYTES

MAX_SECRET_CHARS: Final = 64 << 10


class SecretNames(msgspec.Struct):
    """All names, sorted."""

    secrets: list[str]


class SecretValue(msgspec.Struct):
    """The value to keep: shorter ones could not be told from ordinary text when results are redacted."""

    value: Annotated[str, msgspec.Meta(min_length=MIN_SECRET_BYTES, max_length=MAX_SECRET_CHARS)]


class SecretName(msgspec.Struct):
    """The secret that was set or removed."""

    name: str


async def list_secrets(services: Services, _: Request) -> SecretNames:
    """`GET /v1/secrets`."""
    return SecretNames(list(await services.secrets.names()))


async def set_secret(services: Services, request: Request) -> SecretName:
    """`PUT /v1/secrets/{name}`: it and its receipt are durable when this answers."""
    name = request.params["name"]
    value = request.body_as(SecretValue).value.encode()
    await services.administration.make(
        secret_event("set", name, request.principal.name), lambda: services.secrets.put(name, value)
    )
    return SecretName(name)


async def delete_secret(services: Services, request: Request) -> SecretName:
    """`DELETE /v1/secrets/{name}`."""
    name = request.params["name"]

    async def delete() -> None:
        if not await services.secrets.delete(name):
            raise _no_secret(name)

    if name not in await services.secrets.names():
        raise _no_secret(name)
    await services.administration.make(secret_event("removed", name, request.principal.name), delete)
    return SecretName(name)


def _no_secret(name: str) -> CallerError:
    return CallerError(f"no secret `{name}`", code="not_found", hint="see `briefcase secrets list`")


ROUTES: Final = (
    Route("GET", "/v1/secrets", OPERATOR, list_secrets, "The names of all secrets", SecretNames),
    Route("PUT", "/v1/secrets/{name}", OPERATOR, set_secret, "Set a secret", SecretName, body=SecretValue),
    Route("DELETE", "/v1/secrets/{name}", OPERATOR, delete_secret, "Remove a secret", SecretName),
)
