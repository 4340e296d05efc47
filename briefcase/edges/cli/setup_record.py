"""What `briefcase setup` did to a client's files, so that `--undo` leaves them as they were.

Each file that is written has its old content beside it (`NAME.before-briefcase`) until the undo. The record is written
first: whatever ends the setup after that, the undo finds each file as it was, as it was to be, or edited since.

# INVARIANT (exactly): the undo writes nothing where one file is neither what was found nor what was written.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.disk.checks import PRIVATE_FILE_MODE, reason_of
from briefcase.adapters.disk.directories import make_private_dirs
from briefcase.adapters.disk.files import read_private, write_private, write_whole
from briefcase.edges.cli.client_setups import Edit
from briefcase.model.errors import CallerError

MAX_FILE_BYTES: Final = 16 << 20
KEPT: Final = ".before-briefcase"


class Written(msgspec.Struct, frozen=True):
    """One file: what was found (empty where there was none) and what was written, by their SHA-256."""

    path: str
    found_hex: str
    written_hex: str
    edits: tuple[Edit, ...] = ()

    @property
    def kept(self) -> Path:
        """Where the old content is."""
        return Path(f"{self.path}{KEPT}")


class Record(msgspec.Struct, frozen=True):
    """One setup."""

    client: str
    agent: str
    token_file: str
    files: tuple[Written, ...]
    moved: tuple[str, ...] = ()


class Place:
    """Where the setup of one client is recorded, and its token kept: below the user's own settings, private."""

    def __init__(self, directory: Path, client: str) -> None:
        self.token_file = directory / f"{client}.token"
        self._directory = directory
        self._path = directory / f"{client}.json"

    def load(self) -> Record | None:
        """The record; None where this client was not set up."""
        data = read_private(self._path, max_bytes=MAX_FILE_BYTES)
        return None if data is None else msgspec.json.decode(data, type=Record)

    def save(self, record: Record) -> None:
        """Keep the record, before anything is written."""
        make_private_dirs(self._directory)
        write_private(self._path, msgspec.json.encode(record))

    def keep_token(self, token: str) -> None:
        """Keep the token, for its owner alone."""
        make_private_dirs(self._directory)
        write_private(self.token_file, f"{token}\n".encode())

    def forget(self) -> None:
        """Remove the record and the token."""
        self.token_file.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)


def read_text(path: Path) -> str | None:
    """A client's file; None where there is none.

    Raises:
        CallerError: it cannot be read, or is no text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise CallerError(f"expected `{path}` to hold at most {MAX_FILE_BYTES} bytes")
        return data.decode()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CallerError(f"cannot read `{path}`: {reason_of(error)}") from None
    except UnicodeDecodeError:
        raise CallerError(f"expected `{path}` in UTF-8") from None


def check_apart(paths: Sequence[Path]) -> None:
    """Check that each file is one of its own, and that its old content has a free place beside it.

    Raises:
        CallerError: one could be undone only over another, or over what a person keeps there.
    """
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        names = " and ".join(f"`{path}`" for path in paths)
        raise CallerError(f"expected {names} to be different files", hint="one links to the other: make it its own")
    for path in paths:
        kept = Path(f"{path}{KEPT}")
        if os.path.lexists(kept):
            raise CallerError(f"there is `{kept}` already", hint="move it away: the old content is kept there")


def written_as(path: Path, found: str | None, content: str, edits: tuple[Edit, ...]) -> Written:
    """What will be recorded of a file."""
    return Written(str(path), "" if found is None else _digest(found), _digest(content), edits)


def write_file(written: Written, found: str | None, content: str) -> None:
    """Put the new content in place, the old one beside it.

    Raises:
        CallerError: the disk refused, or what is there is not what was found.
    """
    path = Path(written.path)
    if read_text(path) != found:
        raise CallerError(f"`{path}` was changed while it was edited", hint="try again")
    try:
        mode = PRIVATE_FILE_MODE if found is None else stat.S_IMODE(path.stat().st_mode)
        path.parent.mkdir(parents=True, exist_ok=True)
        if found is not None:
            with write_whole(written.kept, mode=PRIVATE_FILE_MODE) as file:
                file.write(found.encode())
        _replace(path, content, mode)
    except OSError as error:
        raise CallerError(f"cannot write `{path}`: {reason_of(error)}") from None


def undo(record: Record, *, keeps_edits: bool) -> list[str]:
    """Leave each file as it was found, and give what was done, file by file.

    Args:
        record: the setup.
        keeps_edits: take out only what was written, where a file was edited since.

    Raises:
        CallerError: a file was edited since, or what was written is not there any more; nothing is done.
    """
    wanted: list[tuple[Written, str | None]] = []
    for written in record.files:
        content = read_text(Path(written.path))
        now_hex = "" if content is None else _digest(content)
        if now_hex == written.written_hex:
            wanted.append((written, _old(written)))
        elif now_hex != written.found_hex:
            wanted.append((written, _without_ours(written, content, keeps_edits=keeps_edits)))
    done = [_restore(written, content) for written, content in wanted]
    for written in record.files:
        written.kept.unlink(missing_ok=True)
    return done


def _without_ours(written: Written, content: str | None, *, keeps_edits: bool) -> str:
    names = ", ".join(edit.name for edit in written.edits)
    hint = f"`--keep-edits` takes out only what was written: {names}; or copy `{written.kept}` back"
    if content is None or not keeps_edits:
        raise CallerError(f"`{written.path}` was edited since", hint=hint, code="conflict")
    try:
        for edit in reversed(written.edits):
            if edit.path != ("version",):
                content = edit.take_out(content)
    except CallerError as error:
        raise CallerError(
            f"`{written.path}`: {error.message}", hint=f"take {names} out by hand, then try again", code="conflict"
        ) from None
    return content


def _old(written: Written) -> str | None:
    """What was found: the content beside the file."""
    if not written.found_hex:
        return None
    old = read_text(written.kept)
    if old is None or _digest(old) != written.found_hex:
        raise CallerError(f"`{written.kept}` is not what was found in `{written.path}`", hint="restore it by hand")
    return old


def _restore(written: Written, content: str | None) -> str:
    path = Path(written.path)
    try:
        if content is None:
            path.unlink()
            return f"removed `{path}`"
        _replace(path, content, stat.S_IMODE(path.stat().st_mode))
    except OSError as error:
        raise CallerError(f"cannot restore `{path}`: {reason_of(error)}") from None
    return f"restored `{path}`"


def _replace(path: Path, content: str, mode: int) -> None:
    """Write through a link, since a person keeps the file where it leads."""
    with write_whole(Path(os.path.realpath(path)), mode=mode) as file:
        file.write(content.encode())


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def carried(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that lead to this daemon, as the client must have them."""
    names = ("BRIEFCASE_DATA_DIR", "BRIEFCASE_UNIX_SOCKET", "BRIEFCASE_DAEMON_UNIX_SOCKET", "BRIEFCASE_AGENT_SOCKET")
    return {name: environ[name] for name in names if environ.get(name)}
