r"""The grammar of every name that is taken from outside, once: agents, secrets, servers, providers, tools, categories.

Each is a pattern of `re` that is meant for the whole text: `is_name(text)`, or `whole(NAME)` where a
library searches. `$` alone is not enough there: it matches before a line feed at the end, too.
"""

from __future__ import annotations

import re
from typing import Final

# What the operator names (agents, groups, secrets): a path segment, and neither `.` nor `..`, which no path can name.
NAME: Final = r"(?!\.{1,2}\Z)[a-z0-9._-]{1,64}"
NAME_RULE: Final = "1 to 64 characters `a-z 0-9 . _ -`, not `.` or `..`"
# Names of agents whose decisions another may ask for: `*` stands for any run of characters, none too.
DECIDES_FOR: Final = r"[a-z0-9._*-]{1,64}"
DECIDES_FOR_RULE: Final = "1 to 64 characters `a-z 0-9 . _ -`, and `*` for any others"
PROVIDER_ID: Final = r"[a-z0-9][a-z0-9_-]{0,47}"
SERVER_ID: Final = r"[a-z][a-z0-9-]{0,31}"
TOOL_ID: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"  # of the daemon's own tools
SERVER_TOOL_NAME: Final = r"[A-Za-z0-9_.\-/]{1,128}"  # MCP 2025-11-25, tool names
CATEGORY: Final = r"[a-z][a-z0-9_-]{0,31}"
CHECK_NAME: Final = r"[a-z0-9_.-]{1,64}"  # of the provider contract's harness
VARIABLE: Final = r"[A-Za-z_][A-Za-z0-9_]{0,127}"  # of a process's environment
REQUEST_ID: Final = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"  # RFC 9562 section 4

# Any of these as one segment of a path: what a route takes, and what a command takes, where an option begins with `-`.
PATH_SEGMENT: Final = r"(?!\.{1,2}\Z)[A-Za-z0-9._:@-]{1,128}"
ARGUMENT: Final = r"(?!\.{1,2}\Z)[A-Za-z0-9._][A-Za-z0-9._:@-]{0,127}"

# One character of a field's name (RFC 9110 section 5.6.2) and of a bearer token (RFC 6750 section 2.1).
FIELD_NAME_CHAR: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
BEARER_CHAR: Final = r"[A-Za-z0-9._~+/=-]"


_NAME: Final = re.compile(NAME)
_SERVER_ID: Final = re.compile(SERVER_ID)


def is_name(text: str) -> bool:
    """Whether an agent, a group or a secret may be called so."""
    return _NAME.fullmatch(text) is not None


def is_server_id(text: str) -> bool:
    """Whether an MCP server may have this id."""
    return _SERVER_ID.fullmatch(text) is not None


def whole(pattern: str) -> str:
    """The pattern for a library that searches with it, such as msgspec's `Meta`; JSON Schema reads it alike."""
    return rf"^(?:{pattern})$(?!\n)"
