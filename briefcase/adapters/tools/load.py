"""From the data directory to a registry: the built-in tools and the operator's manifests.

At start a manifest that is not as expected stops the daemon, with the file named. When they are loaded again
(`core.operator.tools`) it is refused the same way, and what was loaded before stays in force, all of it.

A manifest says where credentials go, so its file must be the operator's alone: not a symbolic link, and not writable
by others.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from briefcase.adapters.disk.files import open_plain
from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.adapters.tools.builtin import NoteStore, RedactedNotes, builtin_tools
from briefcase.adapters.tools.caller import CallerTool, parse_caller_tools
from briefcase.adapters.tools.files import FileSandbox
from briefcase.adapters.tools.hooked import hooked_tools
from briefcase.adapters.tools.http import HttpTool
from briefcase.adapters.tools.manifest import MAX_MANIFEST_BYTES, Declared, parse_manifests
from briefcase.adapters.tools.registry import Registry
from briefcase.core.operator.tools import ReadTools
from briefcase.core.redaction.redactor import repeatable
from briefcase.model.errors import CallerError, ConfigError
from briefcase.model.ports import BoundSecrets, Claim, Clock, Outbound, Redactor
from briefcase.model.types import ToolSpec

MANIFEST_SUFFIXES: Final = (".toml", ".json")
BUILTIN_GROUP: Final = "the built-in tools"
CLIENT_GROUP: Final = "the clients' own tools"
MANIFEST_GROUP: Final = "the manifests"

_T = TypeVar("_T")


class ToolBox:
    """The registry, and how its manifests are read again.

    Args:
        manifest_dir: the directory of manifests; absent, there are none.
        notes: where `note_add` keeps notes.
        file_prefixes: absolute paths of the directories below which `file_read` reads; none switches it to refusing.
        max_file_bytes: the largest file it reads.
        own: the daemon's own files, which it never reads.
        outbound: the guarded way out.
        secrets: the operator's credentials.
        redactor: knows them.
        clock: for notes and deadlines.
        keep_public: takes the digest of each tool, which is no secret whatever it looks like.

    Raises:
        ConfigError: a prefix or a manifest file is not as it must be on this host.
        CallerError: a manifest's content is not as expected (`invalid_manifest`).
    """

    def __init__(  # noqa: PLR0913 - what tools need, each named once
        self,
        *,
        manifest_dir: Path,
        notes: NoteStore,
        file_prefixes: Sequence[str],
        max_file_bytes: int,
        own: OwnFiles,
        outbound: Outbound,
        secrets: BoundSecrets,
        redactor: Redactor,
        clock: Clock,
        keep_public: Callable[[str], None],
    ) -> None:
        self.registry = Registry()
        self.claims: tuple[Claim, ...] = ()  # what the manifests in force say of secrets
        self._manifest_dir = manifest_dir
        self._outbound = outbound
        self._secrets = secrets
        self._redactor = redactor
        self._clock = clock
        self._keep_public = keep_public
        self._version = 0
        self._digests: Mapping[str, str] = {}
        self.registry.replace(
            BUILTIN_GROUP,
            builtin_tools(RedactedNotes(notes, redactor), clock, FileSandbox(file_prefixes, max_file_bytes, own)),
        )
        self.registry.replace(CLIENT_GROUP, hooked_tools())
        self._put(self._read())

    def digests(self) -> Mapping[str, str]:
        """See `core.operator.tools.ToolFiles`."""
        return self._digests

    async def read(self) -> ReadTools:
        """See `core.operator.tools.ToolFiles`; on a thread, since a schema takes milliseconds to compile."""
        tools = await asyncio.to_thread(self._read)
        known = self._version

        def put() -> None:
            if self._version != known:
                raise CallerError("the manifests were loaded again meanwhile", code="conflict", hint="try again")
            self._put(tools)

        self.registry.check(MANIFEST_GROUP, tools)
        return ReadTools(_digests_of(tools), put)

    def _read(self) -> list[HttpTool | CallerTool]:
        http_tools = [
            HttpTool(
                declared,
                outbound=self._outbound,
                secrets=self._secrets,
                redactor=self._redactor,
                clock=self._clock,
            )
            for declared in load_manifests(self._manifest_dir, redactor=self._redactor)
        ]
        return [*http_tools, *load_caller_tools(self._manifest_dir, redactor=self._redactor)]

    def _put(self, tools: Sequence[HttpTool | CallerTool]) -> None:
        self.registry.replace(MANIFEST_GROUP, tools)
        self._version += 1
        self._digests = _digests_of(tools)
        self.claims = tuple(claim for tool in tools if isinstance(tool, HttpTool) for claim in tool.claims)
        for digest_hex in self._digests.values():
            self._keep_public(digest_hex)


def _digests_of(tools: Iterable[HttpTool | CallerTool]) -> dict[str, str]:
    return {tool.spec.id: tool.spec.digest_hex for tool in tools}


def load_manifests(
    directory: Path, *, leave_out: Collection[str] = (), redactor: Redactor | None = None
) -> list[Declared]:
    """Read every manifest of a directory, by file name. Other files and hidden ones are left alone.

    Args:
        directory: where they are; none where there is no such directory.
        leave_out: names of files that are not read.
        redactor: knows the secrets that no message may repeat a part of; None where there is no vault.

    Raises:
        ConfigError: a file cannot be read, is a symbolic link, or can be written by others.
        CallerError: its content is not as expected (`invalid_manifest`).
    """
    chosen = [name for name in _names(directory) if name not in leave_out]
    return [declared for name in chosen for declared in _parsed(directory / name, redactor, parse_manifests)]


def load_caller_tools(directory: Path, *, redactor: Redactor | None = None) -> list[CallerTool]:
    """Read the tools that their caller runs, of every manifest of a directory. Args and Raises as `load_manifests`."""
    return [tool for name in _names(directory) for tool in _parsed(directory / name, redactor, parse_caller_tools)]


def _names(directory: Path) -> list[str]:
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"`{directory}` cannot be read: {error.strerror}") from None
    return [name for name in names if name.endswith(MANIFEST_SUFFIXES) and not name.startswith(".")]


def specs_of(path: Path) -> list[ToolSpec]:
    """The definitions that a manifest file holds. Raises as `load_manifests`."""
    text = read_own_file(path)
    run_here = [declared.spec for declared in parse_manifests(text, path.name)]
    return run_here + [tool.spec for tool in parse_caller_tools(text, path.name)]


def declared_ids(directory: Path) -> Iterator[tuple[Path, set[str]]]:
    """The ids that each manifest of a directory declares. Raises as `load_manifests`."""
    for name in _names(directory):
        yield directory / name, {spec.id for spec in specs_of(directory / name)}


def _parsed(path: Path, redactor: Redactor | None, parse: Callable[[bytes, str], Sequence[_T]]) -> Sequence[_T]:
    text = read_own_file(path)
    try:
        return parse(text, path.name)
    except CallerError as error:
        fault = error if redactor is None else repeatable(redactor, error, text)
        if fault is error:
            raise
    raise CallerError(f"`{path.name}`: {fault.message}", code=fault.code, hint=fault.hint)


def read_own_file(path: Path) -> bytes:
    """Read a manifest that only its owner can have written.

    Raises:
        ConfigError: as `load_manifests`.
    """
    try:
        with open_plain(path) as file:
            info = os.fstat(file.fileno())
            if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ConfigError(
                    f"`{path}` can be written by others: expected mode 0600, got {stat.S_IMODE(info.st_mode):04o}",
                    code="insecure_host",
                    hint=f"chmod go-w {path}",
                )
            return file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"`{path}` cannot be read: {error.strerror}") from None
