"""A declared HTTP API tool at work: arguments into a request, the credential into its place, the answer into a result.

 1. encode the *canonical* arguments, the ones that were decided on (`briefcase.adapters.tools.request`)
 2. get the credentials from the vault, now, for this host; what a client sent us never goes upstream
 3. send, within what is left of the call's time
 4. read the answer: 2xx with JSON or text is a result, everything else is an error with its status

The credential's connections are its own: no other tool's request, and no other credential, uses them.
"""

from __future__ import annotations

import base64
import re
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET

from briefcase.adapters.net.urls import check_headers
from briefcase.adapters.tools.definition import with_digest
from briefcase.adapters.tools.manifest import Credential, Declared
from briefcase.adapters.tools.request import Encoded, encode_request
from briefcase.adapters.vault.bindings import host_of
from briefcase.core.characters.marks import visible_text
from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import BriefcaseError, CallerError, UpstreamError
from briefcase.model.ports import (
    BoundSecrets,
    CallContext,
    Claim,
    Clock,
    Destination,
    HttpRequest,
    HttpResponse,
    Outbound,
    Redactor,
)
from briefcase.model.types import FirewallMode, JsonObject, JsonValue, ToolResult, ToolSpec

MAX_EXCERPT_CHARS: Final = 300
MAX_COST_DIGITS: Final = 15
NS_PER_MS: Final = 1_000_000
_COOKIE_VALUE: Final = re.compile(rb"[!#-+\--:<-\[\]-~]+")  # RFC 6265 section 4.1.1
_JSON_TYPES: Final = ("application/json", "text/json")


class HttpTool:
    """One declared tool: a `ports.Tool` over the guarded way out."""

    def __init__(
        self, declared: Declared, *, outbound: Outbound, secrets: BoundSecrets, redactor: Redactor, clock: Clock
    ) -> None:
        self._declared = declared
        self._spec = with_digest(declared.spec, declared.manifest)
        self._outbound = outbound
        self._secrets = secrets
        self._redactor = redactor
        self._clock = clock
        self._secret_host = host_of(f"{declared.template.origin}/")

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What it says of the operator's secrets."""
        by = f"the tool `{self._spec.id}`"
        return tuple(
            Claim(credential.name, self._secret_host, by) for credential in self._declared.manifest.all_credentials
        )

    @property
    def spec(self) -> ToolSpec:
        """The definition; its digest covers the whole manifest."""
        return self._spec

    @property
    def destination(self) -> Destination:
        """The request's method and URL as declared, with `{argument}` where one goes into the path."""
        method, template = self._declared.manifest.method, self._declared.template
        url = f"{template.origin}{template.path}{'?' if template.query else ''}{template.query}"
        return Destination(f"{method} {url}", host=self._declared.host, method=method)

    def check_args(self, args: JsonObject) -> str | None:
        """Validate against the compiled schema."""
        return self._declared.check.problem_of(args)

    async def execute(self, args: JsonObject, context: CallContext) -> ToolResult:
        """Send the request and read its answer. See `ports.Tool`."""
        manifest = self._declared.manifest
        # 1. arguments
        try:
            encoded = encode_request(self._declared.template, args)
        except ValueError as error:
            raise UpstreamError(str(error), code="invalid_args", sent=False) from None

        # 2. credentials
        for credential in manifest.all_credentials:
            encoded = with_credential(encoded, credential, await self._secret(credential.name))

        # 3. send
        response = await self._outbound.request(
            HttpRequest(
                method=manifest.method,
                url=encoded.url,
                headers=encoded.headers,
                body=encoded.body,
                timeout_ms=self._time_left_ms(context),
                max_body_bytes=manifest.max_response_bytes,
                pool_key=f"tool:{manifest.id}:{','.join(each.name for each in manifest.all_credentials)}",
            )
        )

        # 4. answer
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:  # RFC 9110 section 15.3
            raise self._failure_of(response)
        content = read_content(response, as_text=manifest.response == "text")
        return ToolResult(content, self._declared.host, self._cost_of(response))

    async def _secret(self, name: str) -> bytes:
        try:
            secret = await self._secrets.get_for(name, self._secret_host)
        except UpstreamError:
            raise
        except BriefcaseError as error:
            raise UpstreamError(error.message, code="secret_unavailable", detail=error.detail, sent=False) from None
        if secret is None:
            raise UpstreamError(
                f"the credential `{name}` is not set",
                code="secret_unavailable",
                hint=f"briefcase secrets set {name}",
                sent=False,
            )
        return secret

    def _time_left_ms(self, context: CallContext) -> int:
        left_ms = (context.deadline_ns - self._clock.monotonic_ns()) // NS_PER_MS
        if left_ms <= 0:
            raise UpstreamError("the call's time was over before it was sent", code="upstream_timeout", sent=False)
        return min(self._declared.manifest.timeout_ms, left_ms)

    def _cost_of(self, response: HttpResponse) -> int | None:
        """The upstream's own figure, where the manifest names its header and it is a plain number."""
        name = self._declared.manifest.cost_header
        text = response.headers.get(name.lower(), "") if name else ""
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_COST_DIGITS else None

    def _failure_of(self, response: HttpResponse) -> UpstreamError:
        """A 4xx says that nothing was done; any other status leaves that open.

        What the upstream says is shown to the agent only where its answers may be: a tool with allowed paths shows
        the status alone. Secrets are cut out before the text is, so that none is cut in half.
        """
        message = f"the upstream answered {response.status}"
        text = self._redacted(response.body.decode(errors="replace"))
        excerpt = visible_text(text[:MAX_EXCERPT_CHARS])
        if excerpt and self._spec.output_firewall.mode is FirewallMode.ALLOW_ALL:
            message = f"{message}: {excerpt}"
        is_refusal = (
            HTTPStatus.BAD_REQUEST <= response.status < HTTPStatus.INTERNAL_SERVER_ERROR
        )  # RFC 9110 section 15.5
        return UpstreamError(message, code="upstream_refused" if is_refusal else "upstream_failed", detail=excerpt)

    def _redacted(self, text: str) -> str:
        return self._redactor.redact_text(text)


def with_credential(encoded: Encoded, credential: Credential, secret: bytes) -> Encoded:
    """Put a secret into its place.

    Raises:
        UpstreamError: its bytes cannot stand there (`secret_unavailable`); the message does not repeat them.
    """
    if credential.query is not None:
        mark = "&" if "?" in encoded.url else "?"
        url = f"{encoded.url}{mark}{quote(credential.query, safe='')}={quote(bytes(secret), safe='')}"
        return msgspec.structs.replace(encoded, url=url)
    added: dict[str, str] | None
    try:
        if credential.cookie is not UNSET:
            before = encoded.headers.get("Cookie")
            pair = f"{credential.cookie}={_cookie_value(secret)}"
            added = {"Cookie": pair if before is None else f"{before}; {pair}"}
        elif credential.basic_user is not None:
            login = credential.basic_user.encode() + b":" + secret
            added = {"Authorization": f"Basic {base64.b64encode(login).decode()}"}
        else:
            added = {credential.header or "Authorization": credential.prefix + secret.decode("ascii")}
        check_headers(added)
    except ValueError:
        added = None
    if added is None:  # here, so that the fault does not carry a decoding error, which carries the secret
        raise UpstreamError(
            f"the credential `{credential.name}` has characters that a header cannot carry",
            code="secret_unavailable",
            sent=False,
        )
    return msgspec.structs.replace(encoded, headers={**encoded.headers, **added})


def _cookie_value(secret: bytes) -> str:
    if not _COOKIE_VALUE.fullmatch(secret):
        raise ValueError("expected characters that do not end a cookie")
    return secret.decode()


def read_content(response: HttpResponse, *, as_text: bool) -> JsonValue:
    """The content of an answer: JSON, text, or null where there is none.

    Raises:
        UpstreamError: it is neither, or JSON that cannot be read exactly.
    """
    if not response.body:
        return None
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = kind in _JSON_TYPES or kind.endswith("+json")
    try:
        if is_json and not as_text:
            return parse_json(response.body)
        if is_json or kind.startswith("text/"):
            return response.body.decode()
    except CallerError as error:
        raise UpstreamError("the upstream's JSON cannot be read exactly", detail=error.message) from None
    except UnicodeDecodeError:
        raise UpstreamError("the upstream's text is no UTF-8") from None
    raise UpstreamError("expected JSON or text from the upstream, by its content type")
