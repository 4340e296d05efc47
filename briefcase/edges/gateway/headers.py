"""The headers of one HTTP request, each at most once, and those that mirror its message (2026-07-28)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from briefcase.core.mcp.jsonrpc import HEADER_MISMATCH, INVALID_REQUEST, Request, RpcError, as_object
from briefcase.core.mcp.param_headers import PREFIX, ParamHeaders, wrong_param_header
from briefcase.core.mcp.protocol import NAMED_METHODS, decode_header_value

_SINGLE: Final = frozenset(
    {
        "accept",
        "authorization",
        "content-type",
        "last-event-id",
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "mcp-session-id",
    }
)


class Headers:
    """Headers by name, in lower case.

    Raises:
        RpcError: one that decides something came twice.
    """

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str] = {}
        for name, data in raw:
            key, value = name.decode("latin-1"), data.decode("latin-1").strip(" \t")
            if key == "accept" and key in self._values:
                self._values[key] += f", {value}"  # a list may come in lines (RFC 9110 section 5.3)
            elif key in _SINGLE or key.startswith(PREFIX):
                if key in self._values:
                    raise RpcError(INVALID_REQUEST, f"expected one `{key}` header", http_status=HTTPStatus.BAD_REQUEST)
                self._values[key] = value

    @property
    def values(self) -> Mapping[str, str]:
        """All that were kept."""
        return self._values

    def one(self, name: str) -> str | None:
        """The value of a header, or None."""
        return self._values.get(name)


def check_metadata_headers(headers: Headers, request: Request) -> None:
    """Check that what a proxy on the way could read says what the body says.

    Raises:
        RpcError: a required header is missing, unreadable or says something else (`-32020`).
    """
    _check("Mcp-Method", headers.one("mcp-method"), request.method, request)
    field = NAMED_METHODS.get(request.method)
    if field is not None:
        value = headers.one("mcp-name")
        decoded = None if value is None else decode_header_value(value)
        _check("Mcp-Name", decoded, request.params.get(field), request)


def check_param_headers(headers: Headers, request: Request, wanted: ParamHeaders) -> None:
    """Check the headers that mirror arguments of a `tools/call`. Raises as `check_metadata_headers`."""
    wrong = wrong_param_header(wanted, headers.values, as_object(request.params.get("arguments")))
    if wrong is not None:
        raise mismatch(wrong, request)


def mismatch(name: str, request: Request) -> RpcError:
    """The error for a header that is missing or contradicts the body."""
    return RpcError(
        HEADER_MISMATCH,
        f"header mismatch: expected `{name}` to repeat what the body says",
        request_id=request.id,
        http_status=HTTPStatus.BAD_REQUEST,
    )


def _check(name: str, got: str | None, expected: object, request: Request) -> None:
    if got is None or got != expected:
        raise mismatch(name, request)
