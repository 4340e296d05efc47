"""Security requirements to credentials: each a secret's name, and the one place it is put (OpenAPI 3.1 section 4.8.27).

Of the alternatives the first is taken that can be carried: `apiKey` in a header, the query or a cookie, `http` basic
and bearer, OAuth and OpenID Connect with the token as the secret; two or more at once, too. A secret is named after
the API, and after the scheme where the document has more than one, and after the host where an operation is at another
host than the document: so each is bound to one host.
"""

from __future__ import annotations

import re
from typing import Final

from briefcase.core.openapi.document import Node
from briefcase.core.openapi.operations import slug_of
from briefcase.core.openapi.reading import Reading
from briefcase.model.identifiers import FIELD_NAME_CHAR
from briefcase.model.types import JsonObject

MAX_CREDENTIALS: Final = 4  # as a manifest has it
MAX_NAME_CHARS: Final = 64
_TOKEN: Final = re.compile(rf"{FIELD_NAME_CHAR}{{1,128}}")
_SIGNED: Final = "x-amazon-apigateway-authtype"


def schemes_of(reading: Reading) -> list[dict[str, Node]]:
    """The alternatives of an operation's security, each with its schemes by their names."""
    owner = reading.operation.node if "security" in reading.operation.node.object else reading.document.root
    declared = reading.document.root.at("components", "securitySchemes")
    return [
        {name: reading.document.resolved(declared.at(name)) for name, _ in requirement.items()}
        for requirement in owner.at("security").elements()
    ]


def secret_places(alternatives: list[dict[str, Node]]) -> list[tuple[str, str]]:
    """Where the keys of all alternatives are sent: `in` and name."""
    return [
        (scheme.text("in"), scheme.text("name"))
        for alternative in alternatives
        for scheme in alternative.values()
        if scheme.text("type") == "apiKey"
    ]


def credentials_of(
    reading: Reading, alternatives: list[dict[str, Node]], api: str, other_host: str, secret: str | None
) -> list[JsonObject]:
    """The credentials of an operation, as a manifest has them.

    Args:
        reading: takes what the operator should know.
        alternatives: see `schemes_of`.
        api: what the secrets are named after.
        other_host: where the operation is, if that is not where the document is; else empty.
        secret: the operator's own name for the secret; with several credentials, what their names begin with.

    Raises:
        CallerError: none of the alternatives can be carried.
    """
    problems: list[str] = []
    for alternative in alternatives:
        if not alternative:
            continue
        found = {name: _credential(name, scheme) for name, scheme in alternative.items()}
        carried = _once({name: each for name, each in found.items() if isinstance(each, dict)})
        wrong = [each for each in found.values() if isinstance(each, str)]
        if not wrong and not _are_apart(list(carried.values())):
            wrong = [f"{' and '.join(f'`{name}`' for name in carried)} are sent in one place, or are too many"]
        if wrong:
            problems += wrong
            continue
        if len(carried) < len(found):
            reading.remarks.append(
                f"{' and '.join(f'`{name}`' for name in found)} are sent as one value where they meet"
            )
        for name, credential in carried.items():
            credential["name"] = _secret_name(reading, api, name, other_host, secret, alone=len(carried) == 1)
            _remark(reading, alternative[name], credential)
        return list(carried.values())
    if any(not alternative for alternative in alternatives) or not alternatives:
        reading.remarks.extend(f"called without a credential: {problem}" for problem in problems)
        return []
    reading.lack(
        reading.operation.node.pointer, f"its credentials: {'; '.join(dict.fromkeys(problems))}", required=True
    )
    return []


def _credential(name: str, scheme: Node) -> JsonObject | str:
    """One credential without its secret's name, or why there is none."""
    kind, own = scheme.text("type"), scheme.text("scheme").lower()
    if kind == "apiKey":
        return _key(name, scheme)
    if (kind, own) == ("http", "basic"):
        return {"name": "", "basic_user": ""}
    if (kind, own) == ("http", "bearer") or kind in {"oauth2", "openIdConnect"}:
        return {"name": "", "header": "Authorization", "prefix": "Bearer "}
    if not kind:
        return f"`{name}` is no security scheme of the document"
    return f"`{name}` is `{kind}{f' {own}' if own else ''}`, which is no fixed value in one place"


def _key(name: str, scheme: Node) -> JsonObject | str:
    place, sent_as = scheme.text("in"), scheme.text("name")
    if place not in {"header", "query", "cookie"}:
        return f"`{name}` is sent in `{place}` (at `#{scheme.pointer}`)"
    if not sent_as or (place != "query" and not _TOKEN.fullmatch(sent_as)):
        return f"`{sent_as}` is no name of a {place} (at `#{scheme.pointer}`)"
    return {"name": "", place: sent_as}


def _once(credentials: dict[str, JsonObject]) -> dict[str, JsonObject]:
    """Two flows of OAuth give one token, which is sent once."""
    kept: dict[str, JsonObject] = {}
    for name, credential in credentials.items():
        if credential not in kept.values():
            kept[name] = credential
    return kept


def _are_apart(credentials: list[JsonObject]) -> bool:
    """Whether each has a place of its own, and they are not too many."""
    places = {_place_of(credential) for credential in credentials}
    return len(places) == len(credentials) <= MAX_CREDENTIALS


def _place_of(credential: JsonObject) -> tuple[str, str]:
    for place in ("query", "cookie"):
        if place in credential:
            return place, str(credential[place])
    return "header", str(credential.get("header", "Authorization")).lower()


def _secret_name(reading: Reading, api: str, scheme: str, other_host: str, secret: str | None, *, alone: bool) -> str:
    if secret is not None:
        return secret if alone else f"{secret}-{slug_of(scheme)}"[:MAX_NAME_CHARS]
    is_only = len(reading.document.root.at("components", "securitySchemes").items()) <= 1
    parts = [api or "api", *([] if is_only else [slug_of(scheme)]), *([slug_of(other_host)] if other_host else [])]
    return "-".join(filter(None, parts))[:MAX_NAME_CHARS]


def _remark(reading: Reading, scheme: Node, credential: JsonObject) -> None:
    if "basic_user" in credential:
        reading.remarks.append(f"write the user of `{credential['name']}` as `basic_user`; the secret is the password")
    if _SIGNED in scheme.object:
        signed = scheme.text(_SIGNED)
        reading.remarks.append(
            f"the document says that `{credential['name']}` is a signature of each request ({signed})"
        )
