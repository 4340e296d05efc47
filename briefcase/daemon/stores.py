"""Step 3 of a start: what the daemon keeps in the data directory."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from briefcase.adapters.backup.create import discard_staging
from briefcase.adapters.disk.data_dir import (
    AUDITOR_TOKEN_FILE,
    DAEMON_DID_FILE,
    DATABASE_FILE,
    LEDGER_DIR,
    LOCK_FILE,
    OPERATOR_TOKEN_FILE,
)
from briefcase.adapters.disk.files import read_private, write_private
from briefcase.adapters.keys.opening import Places, check_proof_keys, open_places
from briefcase.adapters.ledger import Ledger
from briefcase.adapters.ledger.files import read_store_id
from briefcase.adapters.signers.device_keys import DeviceKeys
from briefcase.adapters.store.agents import Agents
from briefcase.adapters.store.database import Database
from briefcase.adapters.store.tie import check_database_present, settle_tie, tie_database
from briefcase.adapters.store.tokens import load_or_create_token
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.adapters.telemetry.outlet import OUTLET
from briefcase.adapters.vault.identity import Identity
from briefcase.adapters.vault.opening import discard_new
from briefcase.adapters.vault.vault import Vault, answer_of
from briefcase.core.people import People
from briefcase.core.redaction.redactor import SecretRedactor
from briefcase.core.signers.signers import Signers
from briefcase.daemon.start import CLOCK, ENTROPY, Start
from briefcase.model.errors import ConfigError

KEPT_BACKENDS: Final = frozenset({"auto", "keyring", "file"})  # `memory` has another identity at each start

_log: Final = get_logger("briefcase.daemon")


class Stores(NamedTuple):
    """What is kept, and what cuts the vault's secrets out of every text."""

    data_dir: Path
    operator_token: str
    auditor_token: str
    database: Database
    agents: Agents
    people: People
    signers: Signers
    vault: Vault
    places: Places
    identity: Identity
    redactor: SecretRedactor
    ledger: Ledger


async def open_stores(start: Start, data_dir: Path, opening: Future[Vault], pin: str) -> Stores:
    """Open the metadata, which must be the ledger's own, the vault, the identity in it, and the ledger.

    The ledger verifies its tail and closes what a crash left open; from then on both stores are watched.

    Args:
        start: this start.
        data_dir: checked and locked.
        opening: the vault, which a thread opens (`vault.opening.begin_vault`).
        pin: of the token where keys are, where a setting names one.

    Raises:
        ConfigError, StoreError: one of them does not open, or is not who it was.
    """
    discard_staging(data_dir)

    # the metadata
    database_path = data_dir / DATABASE_FILE
    ledger_id = read_store_id(data_dir)
    check_database_present(database_path, ledger_id)
    database = Database(database_path)
    start.stack.callback(database.close)
    store_id = tie_database(database, database_path, ledger_id, ENTROPY.uuid())

    # the vault, the places of the daemon's keys, and the identity in its own
    vault = await answer_of(opening)
    if vault.warning:
        _log.warning(vault.warning, used=vault.description)
    places = await open_places(start.settings.keys, pin, start.stack)
    secrets = vault.compartment("identity")
    if start.settings.secret_backend in KEPT_BACKENDS:
        _check_identity(data_dir / DAEMON_DID_FILE, await places.read_identity(secrets))
    identity = await places.load_identity(secrets)
    await check_proof_keys(places.proofs, vault.compartment("providers"), vault.compartment("mcp"))
    if vault.new_files:
        vault.new_files = (data_dir / DAEMON_DID_FILE, *vault.new_files)
    write_private(data_dir / DAEMON_DID_FILE, f"{identity.did}\n".encode())  # what clients expect over TCP
    vault.keep_public(identity.did.encode())
    operator_token = load_or_create_token(data_dir / OPERATOR_TOKEN_FILE, ENTROPY)
    auditor_token = load_or_create_token(data_dir / AUDITOR_TOKEN_FILE, ENTROPY)
    vault.keep_in_sight(operator_token.encode(), OPERATOR_TOKEN_FILE)
    vault.keep_in_sight(auditor_token.encode(), AUDITOR_TOKEN_FILE)
    redactor = SecretRedactor(vault, vault.owner_of)
    OUTLET.redactor = redactor

    # the ledger
    ledger = Ledger.open(data_dir / LEDGER_DIR, CLOCK, store_id=store_id, redactor=redactor)
    start.stack.push_async_callback(ledger.close)
    settle_tie(database, store_id)
    ledger.watch(database_path, grows=True, first=True)
    for beside in (*database.log_paths, data_dir / LOCK_FILE):
        ledger.watch(beside)
    agents = Agents(database)
    people = People(ledger)
    signers = Signers(ledger, people, DeviceKeys())
    return Stores(
        data_dir,
        operator_token,
        auditor_token,
        database,
        agents,
        people,
        signers,
        vault,
        places,
        identity,
        redactor,
        ledger,
    )


def discard_new_vault(opening: Future[Vault]) -> None:
    """Remove the vault that a start made which is refused, and before it the name of its identity.

    The other stores stay, whole: with whatever settings the next start comes, it goes on with them. A vault is in one
    backend, under one key, and would refuse that start.
    """
    if opening.done() and opening.exception() is None:
        with suppress(OSError):  # the start says why it is refused
            discard_new(opening.result())


def _check_identity(path: Path, identity: Identity | None) -> None:
    """Check that the vault is the one of the last start, as the file for the clients names its identity.

    Raises:
        ConfigError: it is another, or new (`insecure_host`): the vault was removed or replaced.
    """
    known = (read_private(path) or b"").decode("utf-8", "replace").strip()
    if known.startswith("did:key:") and (identity is None or identity.did != known):
        found = "an empty one" if identity is None else f"that of `{identity.did}`"
        raise ConfigError(
            f"expected the vault of `{known}`, got {found}: the vault was removed or replaced",
            code="insecure_host",
            hint=f"restore the vault from a backup; or, to go on as somebody else without its secrets, remove `{path}`",
        )
