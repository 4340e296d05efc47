"""`briefcase diagnostics bundle` and `canary`: what an incident leaves for later, and what must not be in it.

Secrets are looked for by the daemon, which answers places; where no daemon runs, by this process, which opens the
vault as the daemon would, holding the daemon's own lock on the directory.
"""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import click
import msgspec

from briefcase.adapters.disk.data_dir import AUDITOR_TOKEN_FILE, OPERATOR_TOKEN_FILE, DataDirLock
from briefcase.core.wire.diagnostics import Searched, Signed
from briefcase.core.wire.identity import Health, IdentityAnswer
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import Client
from briefcase.edges.cli.diagnostics import PROBE_TIMEOUT_S
from briefcase.edges.cli.exports import new_file
from briefcase.edges.cli.late import (
    canaries,
    evidence_bundle,
    evidence_manifest,
    ledger_files,
    own_files,
    stored_tokens,
    triage,
    vault_opening,
)
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import complain, note
from briefcase.model.errors import CODES, BriefcaseError, CallerError, ConfigError

CHECK_TIMEOUT_S: Final = 600.0
DEFAULT_RECEIPTS: Final = 1_000
BAD: Final = CODES["receipt_chain_broken"].exit_code
UNREAD: Final = CODES["not_ready"].exit_code
UNREACHABLE: Final = "daemon_unreachable"
HANGS: Final = "request_timeout"
VAULT_BACKENDS: Final = ("auto", "keyring", "file")
STORED_FILES: Final = ("ledger/data.mdb", "ledger/archive", "archive", "briefcase.sqlite", "briefcase.sqlite-wal")


@click.command(
    "bundle",
    epilog=example(
        "briefcase diagnostics bundle --out incident.zip --log daemon.log",
        "briefcase diagnostics bundle --verify incident.zip",
    ),
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Where the bundle goes; never overwritten."
)
@click.option("--log", "logs", multiple=True, type=click.Path(path_type=Path), help="A log, or another file, to add.")
@click.option(
    "--receipts", type=click.IntRange(0), default=DEFAULT_RECEIPTS, show_default=True, help="So many of the newest."
)
@click.option(
    "--verify", "verify", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Check one instead."
)
@click.option("--did", help="With --verify: the identity that must have signed.")
@json_option
@pass_app
def bundle(
    app: App,
    *,
    out: Path | None,
    verify: Path | None,
    did: str | None,
    as_json: bool,
    logs: tuple[Path, ...],
    receipts: int,
) -> int:
    """Gather the evidence of an incident into one file.

    Diagnostics, configuration without secrets, versions, receipts with what verifies them, and logs that are named,
    with a signed manifest. Everything is searched for the vault's secrets first: nothing is written where one is found.
    """
    if verify is not None and out is None:
        return show_verdict(app, _unpacked(verify), did, as_json=as_json)
    if out is None or verify is not None:
        raise click.UsageError("expected --out or --verify")
    app.check_outside(out)
    files, missing = _gather(app, logs, receipts)
    search = _search_files(app, files)
    if search.places:
        _show_search(app, search, as_json=as_json)
        raise CallerError(
            "a secret of the vault would be in the bundle: nothing was written",
            code="forbidden",
            hint="leave that log out, and see `briefcase help credential-exposure`",
        )
    if search.unread:
        raise CallerError(
            f"nothing was written, for this could not be looked through: {'; '.join(search.unread)}",
            code="forbidden",
            hint="leave it out, or decompress it first",
        )
    with suppress(OSError):  # which is said of the file itself
        out.parent.mkdir(parents=True, exist_ok=True)
    with new_file(out) as file:
        file.write(evidence_bundle.pack(files))
    if as_json:
        app.json({"out": str(out), "files": [*sorted(files)], "missing": {**missing}, "secrets": search.secrets})
        return 0
    note(f"wrote {out}: {len(files)} files, none with one of {search.secrets} secrets")
    for name, problem in missing.items():
        note(f"without {name}: {problem}")
    return 0


def _unpacked(bundle: Path) -> dict[str, bytes]:
    if not bundle.is_file() or bundle.stat().st_size > evidence_bundle.MAX_UNPACKED_BYTES:
        most_mib = evidence_bundle.MAX_UNPACKED_BYTES >> 20
        raise CallerError(f"`{bundle}`: expected a plain file of at most {most_mib} MiB")
    try:
        return evidence_bundle.unpack(bundle.read_bytes())
    except ValueError as error:
        raise CallerError(f"`{bundle}`: {error}") from None


@click.command(
    "canary",
    epilog=example("briefcase diagnostics canary", "briefcase diagnostics canary daemon.log backups/ --no-stored"),
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--stored/--no-stored", default=True, show_default=True, help="Also the receipts and the database.")
@json_option
@pass_app
def canary(app: App, /, *, paths: tuple[Path, ...], stored: bool, as_json: bool) -> int:
    """Look for the vault's own secrets where they must not be.

    In the stored receipts, archived ones too, the database, and every file or directory that is named, in every common
    encoding, inside gzip, bzip2, xz, zip and tar too. Below a directory links are not followed. Shows places, never a
    secret. Exits with 7 where one is found, with 5 where a file could not be read.
    """
    own = tuple(app.data_dir / name for name in STORED_FILES) if stored else ()
    with _searcher(app) as searcher:
        search = canaries.Search(searcher)
        for path in (*(path for path in own if path.exists()), *paths):
            search.look_at(path)
    if not search.files and not search.unread:
        raise CallerError("there is nothing to look through", hint="name files, or set BRIEFCASE_DATA_DIR")
    _show_search(app, search, as_json=as_json)
    if search.places:
        return BAD
    return UNREAD if search.unread else 0


def signer(app: App) -> evidence_manifest.Signer | None:
    """Signs with the daemon's identity key; None, which is said, where no daemon answers."""
    client = app.client(PROBE_TIMEOUT_S)

    def sign(sha256_hex: str) -> bytes | None:
        try:
            signed = client.post("/v1/diagnostics/sign", Signed, {"sha256_hex": sha256_hex}).answer
            return base64.b64decode(signed.signature_b64, validate=True)
        except BriefcaseError as error:
            note(f"not signed: {error.message}")
        except ValueError:
            note("not signed: the daemon answered a signature that is no base64")
        return None

    try:
        return evidence_manifest.Signer(client.get("/v1/identity", IdentityAnswer).answer.did, sign)
    except BriefcaseError as error:
        note(f"not signed: {error.message}")
        return None


def show_verdict(app: App, files: Mapping[str, bytes], did: str | None, *, as_json: bool) -> int:
    """Check files against the signed manifest among them, say what was found, and give the exit code."""
    verdict = evidence_manifest.verify_manifest(files, did)
    if as_json:
        app.json({"ok": not verdict.problems, **msgspec.to_builtins(verdict)})
    else:
        for problem in verdict.problems:
            complain({"message": problem})
        if not verdict.problems:
            app.screen.line(f"{verdict.files} files, each as it was signed by {verdict.did}")
            if did is None:
                note(
                    "not excluded: another daemon's identity; compare it with `briefcase identity show`, or give --did"
                )
    return BAD if verdict.problems else 0


class _InDaemon:
    """Has the daemon look."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def search(self, piece: bytes) -> canaries.Found:
        body = {"data_b64": base64.b64encode(piece).decode()}
        found = self._client.post("/v1/diagnostics/canary", Searched, body).answer
        return canaries.Found(found.places, found.secrets, found.too_short)


@contextmanager
def _searcher(app: App) -> Iterator[canaries.Searcher]:
    """The daemon, or where none answers this process with the vault open and the directory locked."""
    try:
        app.client(PROBE_TIMEOUT_S).get("/health", Health)
    except BriefcaseError as error:
        if error.code == HANGS:
            hint = "kill it and run this again: the vault is then opened here; no answered call is lost"
            raise BriefcaseError(f"{error.message}, and only it can search", code=error.code, hint=hint) from None
        if error.code != UNREACHABLE:
            raise
    else:
        yield _InDaemon(app.client())
        return
    backend = app.environ.get("BRIEFCASE_SECRET_BACKEND") or VAULT_BACKENDS[0]
    if backend not in VAULT_BACKENDS:
        raise ConfigError(f"`BRIEFCASE_SECRET_BACKEND`: expected one of {', '.join(VAULT_BACKENDS)}, got `{backend}`")
    if not app.data_dir.is_dir():
        raise CallerError(f"there is no data directory `{app.data_dir}`", code="not_found")
    passphrase = app.environ.get("BRIEFCASE_MASTER_PASSPHRASE")
    lock = DataDirLock(app.data_dir)
    try:
        given = passphrase.encode(errors="surrogateescape") if passphrase else None
        vault = asyncio.run(vault_opening.open_vault(backend, app.data_dir, given))
        for name in (OPERATOR_TOKEN_FILE, AUDITOR_TOKEN_FILE):
            if token := stored_tokens.load_token(app.data_dir / name):
                vault.keep_in_sight(token.encode(), name)
        yield canaries.Canary(vault)
    finally:
        lock.release()


def _gather(app: App, logs: tuple[Path, ...], receipts: int) -> tuple[dict[str, bytes], dict[str, str]]:
    client = app.client(CHECK_TIMEOUT_S)
    parts = triage.triage(app.client(PROBE_TIMEOUT_S), client, time.time_ns() // 1_000)
    answers = len(parts) > 1
    if not answers:
        data_dir = app.data_dir
        parts += triage.triage_files(
            data_dir, lambda: ledger_files.verify_files(data_dir, None, lambda _done, _all: None)
        )
    gathering = evidence_bundle.Gathering(client if answers else None, own_files.OwnFiles(app.data_dir))
    gathering.gather(parts, app.environ, receipts)
    for path in logs:
        gathering.add_log(path)
    gathering.finish()
    files = gathering.files
    return files | evidence_manifest.write_manifest(files, signer(app), datetime.now(UTC)), gathering.missing


def _search_files(app: App, files: Mapping[str, bytes]) -> canaries.Search:
    with _searcher(app) as searcher:
        search = canaries.Search(searcher)
        for name, data in files.items():
            search.look_into(name, partial(io.BytesIO, data))
    return search


def _show_search(app: App, search: canaries.Search, *, as_json: bool) -> None:
    if as_json:
        app.json(
            {
                "ok": not search.places and not search.unread,
                "files": search.files,
                "bytes": search.bytes,
                "secrets": search.secrets,
                "too_short": search.too_short,
                "places": [msgspec.to_builtins(place) for place in search.places],
                "unread": [*search.unread],
            }
        )
        return
    for place in search.places:
        complain({"message": f"a secret is in `{place.where}`, at byte {place.offset:,}, {place.length} bytes long"})
    for problem in search.unread:
        complain({"message": f"could not be looked through: {problem}"})
    if search.too_short:
        note(f"{search.too_short} secrets are too short to be told from chance")
    note(f"looked for {search.secrets} secrets in {search.files} files, {search.bytes:,} bytes")
