"""The token files: one bearer token each, for the operator (`auth_token`) and the auditor (`auditor_token`).

A file is made once, atomically, with 256 random bits, and read at each start; one that is a link, another user's,
open to others, or does not hold exactly one token is refused, never repaired: it may be someone else's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from briefcase.adapters.disk.data_dir import named_path
from briefcase.adapters.disk.files import read_private, write_private
from briefcase.model.errors import ConfigError
from briefcase.model.identifiers import BEARER_CHAR
from briefcase.model.ports import Entropy

MIN_TOKEN_CHARS: Final = 32
MAX_TOKEN_CHARS: Final = 512
_TOKEN: Final = re.compile(rf"{BEARER_CHAR}{{{MIN_TOKEN_CHARS},{MAX_TOKEN_CHARS}}}")


def load_or_create_token(path: Path, entropy: Entropy) -> str:
    """Read the token of a file, or make the file first. The caller holds the data directory's lock.

    Raises:
        ConfigError: the file is not private (`insecure_host`), or holds no single token.
        StoreError: it could not be read or written.
    """
    token = load_token(path)
    if token is None:
        token = entropy.token()
        write_private(path, f"{token}\n".encode())
    return token


def named_token(environ: Mapping[str, str]) -> str | None:
    """The token that a variable gives, itself or by its file; None where neither is set.

    Raises:
        ConfigError: both are set, or the file is missing, not private, or holds no single token.
        StoreError: it could not be read.
    """
    token, file = environ.get("BRIEFCASE_AUTH_TOKEN") or None, named_path(environ, "BRIEFCASE_AUTH_TOKEN_FILE")
    if file is None:
        return token
    if token is not None:
        raise ConfigError("expected one of `BRIEFCASE_AUTH_TOKEN` and `BRIEFCASE_AUTH_TOKEN_FILE`, got both")
    found = load_token(file)
    if found is None:
        raise ConfigError(f"`BRIEFCASE_AUTH_TOKEN_FILE`: there is no file `{file}`")
    return found


def load_token(path: Path) -> str | None:
    """Read the token of a file; None where there is no such file. Raises as `load_or_create_token`."""
    data = read_private(path, max_bytes=MAX_TOKEN_CHARS + 2)
    if data is None:
        return None
    token = data.decode("ascii", "replace").removesuffix("\n")
    if not _TOKEN.fullmatch(token):
        raise ConfigError(
            f"expected `{path}` to hold one token of {MIN_TOKEN_CHARS} to {MAX_TOKEN_CHARS} URL-safe characters",
            hint="remove the file and restart the daemon: it makes a new one",
        )
    return token
