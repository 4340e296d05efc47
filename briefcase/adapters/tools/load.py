"""From the data directory to a registry: the built-in tools and the operator's manifests.

At start a manifest that is not as expected stops the daemon, with the file named. At a reload (`ToolBox.reload`) it is
refused the same way and what was loaded before stays in force, all of it.

A manifest says where credentials go, so its file must be the operator's alone: not a symbolic link, and not writable
by others.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from briefcase.adapters.disk.files import open_plain
from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.adapters.tools.builtin import NoteStore, RedactedNotes, builtin_tools
from briefcase.adapters.tools.files import FileSandbox
from briefcase.adapters.tools.http import HttpTool
from briefcase.adapters.tools.manifest import MAX_MANIFEST_BYTES, Declared, parse_manifests
from briefcase.adapters.tools.registry import Registry
from briefcase.core.redaction.redactor import repeatable
from briefcase.model.errors import CallerError, ConfigError
from briefcase.model.ports import BoundSecrets, Claim, Clock, Outbound, Redactor

MANIFEST_SUFFIXES: Final = (".toml", ".json")
BUILTIN_GROUP: Final = "the built-in tools"
MANIFEST_GROUP: Final = "the manifests"


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
    ) -> None:
        self.registry = Registry()
        self.claims: tuple[Claim, ...] = ()  # what the manifests in force say of secrets
        self._manifest_dir = manifest_dir
        self._outbound = outbound
        self._secrets = secrets
        self._redactor = redactor
        self._clock = clock
        self.registry.replace(
            BUILTIN_GROUP,
            builtin_tools(RedactedNotes(notes, redactor), clock, FileSandbox(file_prefixes, max_file_bytes, own)),
        )
        self.reload()

    def reload(self) -> int:
        """Read the manifests again and put them in force together; gives how many tools they declare.

        Raises:
            ConfigError, CallerError: as the class; what was in force stays.
        """
        tools = [
            HttpTool(
                declared,
                outbound=self._outbound,
                secrets=self._secrets,
                redactor=self._redactor,
                clock=self._clock,
            )
            for declared in load_manifests(self._manifest_dir, redactor=self._redactor)
        ]
        self.registry.replace(MANIFEST_GROUP, tools)
        self.claims = tuple(claim for tool in tools for claim in tool.claims)
        return len(tools)


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
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"`{directory}` cannot be read: {error.strerror}") from None
    chosen = [
        name
        for name in names
        if name.endswith(MANIFEST_SUFFIXES) and not name.startswith(".") and name not in leave_out
    ]
    return [declared for name in chosen for declared in _parsed(directory / name, redactor)]


def _parsed(path: Path, redactor: Redactor | None) -> Sequence[Declared]:
    text = read_own_file(path)
    try:
        return parse_manifests(text, path.name)
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
