"""The bundle of an incident: one zip with what a person needs later, and nothing that must not leave.

| file | what |
|---|---|
| `check.json` | every part, green, yellow or red, when the bundle was made |
| `profile.json`, `compat.json`, `security.json` | what is enforced, and each rule measured |
| `configuration.json` | policy, budgets, controls, agents, providers, MCP servers, settings of the environment |
| `versions.json` | this program, Python, the system, the libraries |
| `metrics.txt` | every figure of that moment, as Prometheus reads them |
| `receipts.jsonl`, `verify_export.py` | the newest receipts, and what verifies them without this program |
| `verification.json` | the chain checked whole, and the head it ended on |
| `logs/…` | the end of each log, or any other file, that was named |
| `MANIFEST.json`, `MANIFEST.sig` | the digests of all, signed by the daemon |

What the daemon does not answer is left out and named in `missing.json`. The secrets' endpoint is never asked.
"""

from __future__ import annotations

import io
import os
import platform
import re
import stat
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import orjson

from briefcase import __version__
from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.core.receipts import verify_export
from briefcase.core.wire.receipts import ReceiptList, ReceiptRecord
from briefcase.edges.diagnostics.canary import MAGIC_BYTES, is_compressed, utf8
from briefcase.edges.diagnostics.triage import Daemon, Part
from briefcase.model.errors import BriefcaseError
from briefcase.model.types import JsonObject
from briefcase.model.variables import BY_NAME, OWN_PREFIX

LOG_TAIL_BYTES: Final = 4 << 20
MAX_UNPACKED_BYTES: Final = 1 << 30
PAGE: Final = 1_000
RECEIPTS: Final = "/v1/receipts"
DISTRIBUTION: Final = "agentic-briefcase"
_JSON: Final = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
_REQUIREMENT: Final = re.compile(r"[A-Za-z0-9._-]+")

_CONFIGURATION: Final = (
    "/v1/policy",
    "/v1/budgets",
    "/v1/controls",
    "/v1/agents",
    "/v1/tools",
    "/v1/providers",
    "/v1/mcp/servers",
    "/v1/control-plane",
)


class Source(Daemon, Protocol):
    """A daemon whose answers can also be kept as they came; both raise `BriefcaseError`."""

    def document(self, method: str, path: str) -> JsonObject:
        """Read JSON, whatever it is."""
        ...

    def text(self, path: str) -> str:
        """Read what is no JSON."""
        ...


class Gathering:
    """Files by name, and what could not be had.

    Args:
        daemon: its client; None where it did not answer a moment ago, and what can be had without it is gathered.
        own: the daemon's own files, which are never added by name.
    """

    def __init__(self, daemon: Source | None, own: OwnFiles) -> None:
        self._daemon = daemon
        self._own = own
        self.files: dict[str, bytes] = {}
        self.missing: dict[str, str] = {}

    def gather(self, parts: Sequence[Part], environ: Mapping[str, str], receipts: int) -> None:
        """Everything but logs and the manifest.

        Args:
            parts: the triage of a moment ago.
            environ: the settings of this environment.
            receipts: how many of the newest.
        """
        self._put("check.json", [msgspec.to_builtins(part) for part in parts])
        self._put("versions.json", versions())
        for name, path in (
            ("identity", "/v1/identity"),
            ("profile", "/v1/profile"),
            ("compat", "/v1/diagnostics/compat"),
            ("security", "/v1/diagnostics/security"),
        ):
            self._ask(f"{name}.json", "GET", path)
        self._ask("verification.json", "POST", "/v1/receipts/verify")
        configuration: dict[str, Any] = {"environment": settings_of(environ)}
        for path in _CONFIGURATION:
            try:
                configuration[path] = self._source(path).document("GET", path)
            except BriefcaseError as error:
                self.missing[f"configuration.json {path}"] = error.message
        self._put("configuration.json", configuration)
        try:
            self.files["metrics.txt"] = self._source("/metrics").text("/metrics").encode()
        except BriefcaseError as error:
            self.missing["metrics.txt"] = error.message
        try:
            self.files["receipts.jsonl"] = self._newest(receipts)
            self.files["verify_export.py"] = Path(verify_export.__file__).read_bytes()
        except BriefcaseError as error:
            self.missing["receipts.jsonl"] = error.message

    def add_log(self, path: Path) -> None:
        """The end of one log, from its first whole line; of one that is compressed the whole, or nothing."""
        name = f"logs/{len([n for n in self.files if n.startswith('logs/')])}-{utf8(path.name)}"
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, a device has no end
                self.missing[utf8(str(path))] = "is no plain file"
                return
            with path.open("rb") as file:
                if self._own.holds(file.fileno()):
                    self.missing[utf8(str(path))] = "is one of the daemon's own files"
                    return
                is_packed = is_compressed(file.read(MAGIC_BYTES))
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - LOG_TAIL_BYTES))
                data = file.read(LOG_TAIL_BYTES)
        except OSError as error:
            self.missing[utf8(str(path))] = os.strerror(error.errno or 0).lower()
            return
        if size > LOG_TAIL_BYTES and is_packed:
            self.missing[utf8(str(path))] = f"is compressed, and of more than {LOG_TAIL_BYTES >> 20} MiB"
            return
        self.files[name] = data if size <= LOG_TAIL_BYTES else data.partition(b"\n")[2]

    def finish(self) -> None:
        """Say what could not be had."""
        self._put("missing.json", self.missing)

    def _newest(self, count: int) -> bytes:
        """The newest receipts, oldest of them first, one a line."""
        head = self._page(limit=1)
        lines: list[bytes] = []
        after_id = max(0, (head[0].id if head else 0) - count)
        offset = 0
        while len(lines) < count:
            page = self._page(limit=PAGE, offset=offset, after_id=after_id)
            lines += [msgspec.json.encode(receipt) for receipt in page if not head or receipt.id <= head[0].id]
            offset += len(page)
            if not page:
                break
        return b"\n".join(reversed(lines)) + b"\n" if lines else b""

    def _page(self, **query: int) -> list[ReceiptRecord]:
        return self._source(RECEIPTS).get(RECEIPTS, ReceiptList, **query).answer.receipts

    def _ask(self, name: str, method: str, path: str) -> None:
        try:
            self._put(name, self._source(path).document(method, path))
        except BriefcaseError as error:
            self.missing[name] = error.message

    def _source(self, path: str) -> Source:
        """The daemon, to ask it one thing.

        Raises:
            BriefcaseError: none answers; asking again would only take time (`daemon_unreachable`).
        """
        if self._daemon is None:
            raise BriefcaseError(f"`{path}` was not asked: no daemon answers", code="daemon_unreachable")
        return self._daemon

    def _put(self, name: str, value: object) -> None:
        self.files[name] = orjson.dumps(value, option=_JSON)


def settings_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that steer this program. Of a secret, and of one that is not known, only that it is set."""
    return {
        name: utf8((BY_NAME[name].shown(value) if name in BY_NAME else None) or "(set)")
        for name, value in sorted(environ.items())
        if name.startswith(OWN_PREFIX)
    }


def versions() -> dict[str, Any]:
    """Which program this is, and on what it runs."""
    libraries = {}
    try:
        needed = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        needed = []
    for requirement in needed:
        match = _REQUIREMENT.match(requirement)
        if match is None or "extra ==" in requirement:
            continue
        try:
            libraries[match[0]] = version(match[0])
        except PackageNotFoundError:
            libraries[match[0]] = "not installed"
    return {
        "briefcase": __version__,
        "python": sys.version,
        "system": platform.platform(),
        "machine": platform.machine(),
        "libraries": libraries,
    }


def pack(files: Mapping[str, bytes]) -> bytes:
    """One zip; the same files give the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def unpack(packed: bytes) -> dict[str, bytes]:
    """The files of a bundle.

    Raises:
        ValueError: it is no zip, one of more than `MAX_UNPACKED_BYTES`, or one with two files of one name.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            # a member that says less than it holds fails its checksum where it is read
            if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED_BYTES:
                raise ValueError(f"expected a bundle, got a zip of more than {MAX_UNPACKED_BYTES >> 20} MiB")
            names = archive.namelist()
            if len(set(names)) < len(names):  # which of the two a reader shows is the reader's to choose
                raise ValueError("expected a bundle, got a zip that holds two files of one name")
            return {name: archive.read(name) for name in names}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise ValueError(f"expected a bundle, got no zip: {error}") from None
