"""HTTP API tools as an operator declares them, in TOML or JSON: one file, one list of `tools`.

    [[tools]]
    id = "ticket_show"
    description = "One ticket"
    method = "GET"
    url = "https://desk.example.com/api/tickets/{number}"
    category = "read"
    cost_usd = "0.002"
    arguments = { number = "path", verbose = "query:v" }
    allowed_hosts = ["desk.example.com"]
    allowed_path_prefixes = ["/api/tickets"]
    credential = { name = "desk", header = "Authorization", prefix = "Bearer " }

    [tools.input_schema]
    type = "object"
    required = ["number"]
    properties = { number = { type = "integer" }, verbose = { type = "boolean" } }

Reading is strict: an unknown key, a value of another type, and everything `_check` names is refused with the file, the
tool and the key. Nothing in a manifest is executed, and nothing in it is secret: a credential is named, not written.
"""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal, NoReturn

import msgspec
from msgspec import UNSET, UnsetType

from briefcase.adapters.net.urls import Url, check_headers, parse_authority, parse_url
from briefcase.adapters.tools.bodies import JSON, check_media_type
from briefcase.adapters.tools.placed import Placed, check_places, place_of
from briefcase.adapters.tools.request import (
    COOKIE,
    HEADER,
    PATH,
    QUERY,
    Place,
    RequestTemplate,
    check_prefix,
    parameter_key,
    placeholders_of,
    with_placeholders,
)
from briefcase.adapters.tools.schema import ArgsCheck
from briefcase.core.budgets import MAX_COST_MICROUSD
from briefcase.core.calls.firewall import check_pointer
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.errors import CallerError
from briefcase.model.identifiers import CATEGORY, FIELD_NAME_CHAR, NAME, TOOL_ID, whole
from briefcase.model.types import MAX_APPROVERS, MICROUSD_PER_USD, FirewallMode, JsonObject, OutputFirewall, ToolSpec

SOURCE: Final = "http"
MAX_MANIFEST_BYTES: Final = 1 << 20
MAX_TIMEOUT_MS: Final = 120_000
MAX_ANSWER_BYTES: Final = 16 << 20
WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})
NOT_FOR_ARGUMENTS: Final = frozenset({"authorization", "cookie", "content-type", "user-agent"})

_PAIRS: Final = re.compile(r"[&;]")  # some upstreams part at either

_Text = Annotated[str, msgspec.Meta(max_length=4_096)]
_HeaderName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Credential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret by name, and the one place it is put: a header behind `prefix`, a query parameter, a cookie, basic auth.

    With `basic_user` the secret is the password (RFC 7617).
    """

    name: Annotated[str, msgspec.Meta(pattern=whole(NAME))]
    header: _HeaderName | None = None
    prefix: Annotated[str, msgspec.Meta(max_length=64)] = ""
    query: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    basic_user: Annotated[str, msgspec.Meta(pattern="^[!-9;-~]{0,256}$")] | None = None
    cookie: Annotated[str, msgspec.Meta(pattern=whole(f"{FIELD_NAME_CHAR}{{1,128}}"))] | UnsetType = UNSET


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body's media type, and whether it is left out where no argument of it is given."""

    type: _Text = JSON
    optional: bool = False


Approvers = Annotated[int, msgspec.Meta(ge=2, le=MAX_APPROVERS)]


class ManifestFirewall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of an answer may come back. With `allowed_paths`, only what they name."""

    mode: FirewallMode = FirewallMode.ALLOW_ALL
    allowed_paths: tuple[_Text, ...] = ()
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_ANSWER_BYTES)] = 1 << 20


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One declared tool.

    `response`: `auto` reads JSON where the upstream says so; `text` takes JSON as text too, for upstreams whose numbers
    are not exact everywhere. `cost_header` names an answer's header with the real cost in micro-USD. `api` and
    `operation` say where an imported one is from. `credentials` stands in place of `credential` where there is more
    than one. A field that is unset is no part of the definition's digest, so that manifests that were written before it
    keep theirs. `approvers` is how many different people must say yes to a call where one must; the policy may ask for
    more.
    """

    id: Annotated[str, msgspec.Meta(pattern=whole(TOOL_ID))]
    name: Annotated[str, msgspec.Meta(max_length=128)] = ""
    api: Annotated[str, msgspec.Meta(max_length=64)] | UnsetType = UNSET
    operation: _Text | UnsetType = UNSET
    description: _Text = ""
    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
    url: _Text
    category: Annotated[str, msgspec.Meta(pattern=whole(CATEGORY))]
    cost_usd: str | int | float = 0
    cost_header: _HeaderName | None = None
    arguments: dict[str, _Text | Placed] = {}
    headers: dict[str, _Text] = {}
    body: Body | UnsetType = UNSET
    credential: Credential | None = None
    credentials: Annotated[tuple[Credential, ...], msgspec.Meta(min_length=1, max_length=4)] | UnsetType = UNSET
    allowed_hosts: tuple[_Text, ...] = ()
    allowed_path_prefixes: tuple[_Text, ...] = ()
    timeout_ms: Annotated[int, msgspec.Meta(ge=1, le=MAX_TIMEOUT_MS)] = 10_000
    max_response_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_ANSWER_BYTES)] = 1 << 20
    response: Literal["auto", "text"] = "auto"
    input_schema: dict[str, Any] = {}
    output_schema: dict[str, Any] = {}
    output_firewall: ManifestFirewall = ManifestFirewall()
    approvers: Approvers | UnsetType = UNSET

    @property
    def all_credentials(self) -> tuple[Credential, ...]:
        """The credentials, however they were written."""
        if self.credentials is not UNSET:
            return self.credentials
        return () if self.credential is None else (self.credential,)


class CallerManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One tool that its caller runs (`caller.py`)."""

    id: Annotated[str, msgspec.Meta(pattern=whole(TOOL_ID))]
    name: Annotated[str, msgspec.Meta(max_length=128)] = ""
    description: _Text = ""
    category: Annotated[str, msgspec.Meta(pattern=whole(CATEGORY))]
    cost_usd: str | int | float = 0
    input_schema: dict[str, Any] = {}
    approvers: Approvers | UnsetType = UNSET


class ManifestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of declared tools: those that are HTTP operations, and those that their caller runs."""

    tools: tuple[Manifest, ...] = ()
    caller_tools: tuple[CallerManifest, ...] = ()


class Declared(msgspec.Struct, frozen=True):
    """A checked manifest in the parts the daemon works with: what is decided on, what is checked, what is sent."""

    manifest: Manifest
    spec: ToolSpec
    check: ArgsCheck
    template: RequestTemplate
    host: str


def parse_manifests(text: bytes, file: str) -> list[Declared]:
    """Read the HTTP operations of a manifest file. Args and Raises as `read_manifest_file`."""
    return [declared_of(manifest, file) for manifest in read_manifest_file(text, file).tools]


def read_manifest_file(text: bytes, file: str) -> ManifestFile:
    """Read a manifest file.

    Args:
        text: its bytes.
        file: its name, for messages; `.json` is read as JSON, everything else as TOML.

    Raises:
        CallerError: anything in it is not as expected; the message names the file, the tool and the key
            (`invalid_manifest`).
    """
    if len(text) > MAX_MANIFEST_BYTES:
        _refuse(file, f"expected at most {MAX_MANIFEST_BYTES} bytes, got {len(text)}")
    try:
        value = parse_json(text) if file.endswith(".json") else tomllib.loads(text.decode())
        canonical_bytes(value)
        found = msgspec.convert(value, ManifestFile)
    except CallerError as error:
        _refuse(file, error.message)
    except TypeError:
        _refuse(file, "expected only values that JSON has: write a date as a string")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, RecursionError) as error:
        problem = str(error)
        _refuse(file, problem[:1].lower() + problem[1:])
    if not found.tools and not found.caller_tools:
        _refuse(file, "expected `tools` or `caller_tools`, with at least one of either")
    return found


def declared_of(manifest: Manifest, file: str) -> Declared:
    """Check one manifest and split it into definition and request.

    Raises:
        CallerError: as `parse_manifests`.
    """
    return _Checker(manifest, file).declared()


class _Checker:
    """The checks of one manifest that its types cannot say. Each names the key it is about."""

    def __init__(self, manifest: Manifest, file: str) -> None:
        self._manifest = manifest
        self._file = file

    def declared(self) -> Declared:
        manifest = self._manifest
        url = self._url()
        places = self._places()
        self._check_headers(places)
        self._check_credentials(places)
        body = Body() if manifest.body is UNSET else manifest.body
        path, _, query = url.target.partition("?")
        spec = ToolSpec(
            id=manifest.id,
            name=manifest.name or manifest.id,
            description=manifest.description,
            input_schema=self._input_schema(),
            output_schema=manifest.output_schema,
            category=manifest.category,
            cost_microusd=self._cost_microusd(),
            output_firewall=self._firewall(),
            net_access=True,
            source=SOURCE,
            approvers=1 if manifest.approvers is UNSET else manifest.approvers,
        )
        template = RequestTemplate(
            method=manifest.method,
            origin=f"{url.scheme}://{url.authority}",
            path=path,
            query=query,
            headers=manifest.headers,
            places=places,
            path_prefixes=manifest.allowed_path_prefixes,
            media_type=body.type,
            is_body_optional=body.optional,
            query_names=self._query_names(query, places),
        )
        return Declared(manifest, spec, self._compiled(spec.input_schema), template, url.host)

    def _url(self) -> Url:
        manifest = self._manifest
        before_query, mark, query = manifest.url.partition("?")
        try:
            # a placeholder may stand in the path only: anywhere else its braces are no characters of a URL
            scheme, slashes, rest = before_query.partition("://")
            authority, _, path = rest.partition("/")
            sample = parse_url(scheme + slashes + authority + "/" + with_placeholders(path, "x") + mark + query)
            hosts = [parse_authority(entry) for entry in manifest.allowed_hosts]
            check_prefix(sample.target.partition("?")[0], manifest.allowed_path_prefixes)
        except ValueError as error:
            self._bad("url", str(error))
        if hosts and not any(host == sample.host and port in {None, sample.port} for host, port in hosts):
            self._bad("url", f"expected a host of `allowed_hosts`, got `{sample.authority}`")
        return msgspec.structs.replace(sample, target="/" + path + mark + query)

    def _places(self) -> dict[str, Place]:
        manifest = self._manifest
        body = Body() if manifest.body is UNSET else manifest.body
        try:
            places = {name: place_of(name, declared) for name, declared in manifest.arguments.items()}
            check_places(places, body.type, has_body=manifest.method not in WITHOUT_BODY)
        except ValueError as error:
            self._bad("arguments", str(error))
        try:
            check_media_type(body.type)
        except ValueError as error:
            self._bad("body", str(error))
        in_path = {name for name, place in places.items() if place.kind == PATH}
        named = placeholders_of(manifest.url)
        if set(named) != in_path:
            self._bad("arguments", f"expected {sorted(named)} in the path, as in the URL, got {sorted(in_path)}")
        self._check_query([place.name for place in places.values() if place.kind == QUERY])
        return places

    def _check_query(self, by_argument: list[str]) -> None:
        """A parameter that the URL sets is set by nothing else: upstreams differ in which of two they take."""
        fixed = _names_of(self._manifest.url.partition("?")[2])
        for name in by_argument:
            if parameter_key(name) in fixed:
                self._bad("arguments", f"expected a query parameter that the URL does not set, got `{name}`")
        for credential in self._manifest.all_credentials:
            if credential.query is not None and parameter_key(credential.query) in fixed:
                self._bad(
                    "credential", f"expected a query parameter that the URL does not set, got `{credential.query}`"
                )

    def _query_names(self, query: str, places: dict[str, Place]) -> frozenset[str]:
        by_argument = {parameter_key(place.name) for place in places.values() if place.kind == QUERY}
        own = {parameter_key(each.query) for each in self._manifest.all_credentials if each.query is not None}
        return frozenset(_names_of(query) | by_argument | own)

    def _input_schema(self) -> JsonObject:
        """The schema with everything closed that `arguments` has no place for."""
        schema: JsonObject = {"type": "object", **self._manifest.input_schema}
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if schema["type"] != "object" or not isinstance(properties, dict) or not isinstance(required, list):
            self._bad("input_schema", "expected an object schema")
        if schema.setdefault("additionalProperties", False) is not False or "patternProperties" in schema:
            self._bad("input_schema", "expected additionalProperties = false and no patternProperties")
        if set(properties) != set(self._manifest.arguments):
            self._bad(
                "arguments", f"expected the schema's {sorted(properties)}, got {sorted(self._manifest.arguments)}"
            )
        optional = set(placeholders_of(self._manifest.url)) - {name for name in required if isinstance(name, str)}
        if optional:
            self._bad("input_schema", f"expected {sorted(optional)} to be required: they are part of the path")
        return schema

    def _compiled(self, schema: JsonObject) -> ArgsCheck:
        try:
            return ArgsCheck(schema)
        except CallerError as error:
            self._bad("input_schema", error.message)

    def _check_headers(self, places: dict[str, Place]) -> None:
        manifest = self._manifest
        by_argument = [place.name for place in places.values() if place.kind == HEADER]
        try:
            check_headers(manifest.headers | dict.fromkeys(by_argument, "x"))
        except ValueError as error:
            self._bad("headers", str(error))
        secret = {_header_of(credential) for credential in manifest.all_credentials} - {""}
        taken = NOT_FOR_ARGUMENTS | {name.lower() for name in manifest.headers} | secret
        for name in by_argument:
            if name.lower() in taken:
                self._bad("arguments", f"expected a header that nothing else sets, got `{name}`")
        fixed = ({"authorization", "cookie"} | secret) & {name.lower() for name in manifest.headers}
        if fixed:
            self._bad("headers", f"expected no credential here, got `{min(fixed)}`: use `credential`")

    def _check_credentials(self, places: dict[str, Place]) -> None:
        """Each credential has one place, and nothing else is put there."""
        manifest = self._manifest
        if manifest.credentials is not UNSET and manifest.credential is not None:
            self._bad("credentials", "expected credential or credentials, got both")
        for credential in manifest.all_credentials:
            self._check_credential(credential)
        where = [_place_of(credential) for credential in manifest.all_credentials]
        if len(set(where)) != len(where):
            self._bad("credentials", "expected each in a place of its own")
        for credential in manifest.all_credentials:
            own = credential.query and parameter_key(credential.query)
            if any(place.kind == QUERY and parameter_key(place.name) == own for place in places.values()):
                self._bad(
                    "arguments", f"expected a query parameter that is not the credential's, got `{credential.query}`"
                )
            if any(place.kind == COOKIE and place.name == credential.cookie for place in places.values()):
                self._bad("arguments", f"expected a cookie that is not the credential's, got `{credential.cookie}`")

    def _check_credential(self, credential: Credential) -> None:
        cookie = None if credential.cookie is UNSET else credential.cookie
        chosen = [
            each for each in (credential.header, credential.query, credential.basic_user, cookie) if each is not None
        ]
        if len(chosen) != 1:
            self._bad("credential", "expected exactly one of header, query, cookie and basic_user")
        try:
            check_headers({credential.header or "Authorization": f"{credential.prefix}x"})
        except ValueError as error:
            self._bad("credential", str(error))
        if credential.prefix and credential.header is None:
            self._bad("credential.prefix", "expected it only with header")

    def _cost_microusd(self) -> int:
        try:
            return cost_microusd_of(self._manifest.cost_usd)
        except ValueError as error:
            self._bad("cost_usd", str(error))

    def _firewall(self) -> OutputFirewall:
        firewall = self._manifest.output_firewall
        if (firewall.mode is FirewallMode.ALLOW_PATHS) != bool(firewall.allowed_paths):
            self._bad("output_firewall", 'expected allowed_paths with mode = "allow_paths", and only then')
        try:
            for pointer in firewall.allowed_paths:
                check_pointer(pointer)
        except CallerError as error:
            self._bad("output_firewall.allowed_paths", error.message)
        return OutputFirewall(firewall.mode, firewall.allowed_paths, firewall.max_bytes)

    def _bad(self, key: str, problem: str) -> NoReturn:
        _refuse(self._file, f"tool `{self._manifest.id}`: `{key}`: {problem}")


def cost_microusd_of(given: str | float) -> int:
    """What a manifest says that a call costs.

    Raises:
        ValueError: it is not exact in micro-dollars, or out of range.
    """
    try:
        cost = Decimal(str(given)) * MICROUSD_PER_USD
        is_exact = cost == cost.to_integral_value() and 0 <= cost <= MAX_COST_MICROUSD
    except InvalidOperation:
        raise ValueError(f'expected dollars like "0.002", got `{given}`') from None
    if not is_exact:
        raise ValueError(f"expected whole micro-dollars from 0 to a million dollars, got `{given}`")
    return int(cost)


def _names_of(query: str) -> set[str]:
    return {parameter_key(pair.partition("=")[0]) for pair in _PAIRS.split(query) if pair}


def _header_of(credential: Credential) -> str:
    """The header that a credential is put into, in lower case; empty where there is none."""
    if credential.basic_user is not None:
        return "authorization"
    return "" if credential.cookie is not UNSET else (credential.header or "").lower()


def _place_of(credential: Credential) -> tuple[str, str]:
    if credential.query is not None:
        return QUERY, parameter_key(credential.query)
    return (COOKIE, credential.cookie) if credential.cookie is not UNSET else (HEADER, _header_of(credential))


def _refuse(file: str, problem: str) -> NoReturn:
    raise CallerError(f"`{file}`: {problem}", code="invalid_manifest") from None
