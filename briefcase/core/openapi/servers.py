"""Where an operation is: its own `servers`, or else its path's, or else the document's (OpenAPI 3.1 section 4.8.10).

Variables are replaced by their defaults. A URL that is relative to where the document came from, which nobody knows,
takes the base URL that the operator gives, and stands below it where that has no path.
"""

from __future__ import annotations

import re
from typing import Final

from briefcase.core.openapi.document import Document, Node, refuse
from briefcase.core.openapi.operations import Operation

HINT: Final = "give the base URL: `--base-url URL`"
_VARIABLE: Final = re.compile(r"\{([^{}]+)\}")
_ABSOLUTE: Final = re.compile(r"https?://", re.IGNORECASE)


def base_url(document: Document, operation: Operation, given: str | None, remarks: list[str]) -> str:
    """The URL that an operation's path is appended to, without a slash at its end.

    Args:
        document: it.
        operation: one of its operations.
        given: the operator's base URL, which stands in place of every server.
        remarks: takes what the operator should know.

    Raises:
        CallerError: there is no server with a whole URL.
    """
    node = first_server(document, operation)
    if given is not None:
        return given.rstrip("/") + _relative_path(node, given, remarks)
    if node is None:
        refuse(operation.node.pointer, "it has no server", hint=HINT)
    url = _substituted(node)
    if url.startswith("//"):
        remarks.append(f"the server `{url}` has no scheme: https is taken")
        url = "https:" + url
    if not _ABSOLUTE.match(url):
        refuse(node.pointer, f"the server `{url}` cannot be used: it is relative to the document's address", hint=HINT)
    scheme, _, rest = url.partition("://")
    return f"{scheme.lower()}://{rest}".rstrip("/")


def _relative_path(node: Node | None, given: str, remarks: list[str]) -> str:
    """What a relative server adds to a base URL that has no path of its own; empty for nothing."""
    url = "" if node is None else node.text("url").strip()
    if node is not None and not node.pointer.startswith("/servers/"):
        remarks.append(f"its own server `{url}` is replaced by the base URL")
    elif url.startswith("/") and not url.startswith("//") and url.strip("/"):
        if not given.partition("://")[2].partition("/")[2].strip("/"):
            remarks.append(f"the server `{url}` is taken below the base URL")
            return url.rstrip("/")
        remarks.append(f"the server `{url}` is replaced by the base URL, path and all")
    return ""


def first_server(document: Document, operation: Operation) -> Node | None:
    """The server object that counts for an operation; None where there is none."""
    for owner in (operation.node, operation.item, document.root):
        servers = owner.at("servers").elements()
        if servers:
            return servers[0]
    return None


def main_host(document: Document) -> str:
    """The host of the document's own first server; empty where it has none."""
    servers = document.root.at("servers").elements()
    return host_of(_substituted(servers[0])) if servers else ""


def host_of(url: str) -> str:
    """The host and port of a URL, as it is written."""
    return url.partition("://")[2].partition("/")[0].lower()


def _substituted(server: Node) -> str:
    """The URL with the default of each variable."""
    variables = server.at("variables")

    def default_of(match: re.Match[str]) -> str:
        value = variables.at(match[1]).object.get("default")
        if not isinstance(value, str | int | float):
            refuse(server.pointer, f"the server variable `{match[1]}` has no default", hint=HINT)
        return str(value).lower() if isinstance(value, bool) else str(value)

    return _VARIABLE.sub(default_of, server.text("url").strip())
