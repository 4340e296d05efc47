"""A backup's signed manifest (`signed_manifest`): what is in it, to which receipt, by whose word.

| file | what |
|---|---|
| `manifest.json` | `Manifest` |
| `manifest.sig` | its signature by the daemon's identity |
| `ledger/data.mdb` | the ledger, marked as a copy |
| `ledger/archive/segment-*.gz` | its archived receipts |
| `briefcase.sqlite`, `vault.json`, `auth_token`, … | as in a data directory (`is_known`) |

The manifest is written last: a directory without one is no backup. A signature shows that the daemon of this `did`
made it; whose `did` it should be, only who noted it elsewhere can say. An encrypted backup is all of this in one file
(`sealed`).
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from briefcase.adapters.signed_manifest import BACKUP, HashHex, Natural, SignedManifest, is_signed_by, listed_twice
from briefcase.model.effects import Head
from briefcase.model.errors import StoreError

MANIFEST_NAME: Final = BACKUP.manifest_name
SIGNATURE_NAME: Final = BACKUP.signature_name
MAX_MANIFEST_BYTES: Final = 16 << 20  # tens of millions of archived receipts

LEDGER_FILE: Final = "ledger/data.mdb"
DATABASE_FILE: Final = "briefcase.sqlite"
VAULT_KEY_FILE: Final = "vault.key"
PLAIN_FILES: Final = ("vault.json", "vault.keyring", "auth_token", "auditor_token", "briefcase.toml")
TOOLS_DIR: Final = "tools"
STAGING_DIR: Final = "backup.staging"  # of the data directory, while an encrypted backup is prepared
_OF_MANY: Final = re.compile(r"tools/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}|ledger/archive/segment-[0-9]{16}-[0-9]{16}\.gz")


class Manifest(SignedManifest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of a backup. `left_out` names what the data directory has and the backup has not."""

    format: Literal["briefcase-backup"] = "briefcase-backup"
    version: Literal[1] = 1
    boot: Natural
    head_id: Natural
    head_hash_hex: HashHex
    left_out: tuple[str, ...]

    @property
    def head(self) -> Head:
        """Where the chain ends in it."""
        return Head(self.head_id, self.head_hash_hex)


def is_known(path: str) -> bool:
    """Whether a path can be in a backup: nothing else is ever written where one is restored."""
    return path in {LEDGER_FILE, DATABASE_FILE, VAULT_KEY_FILE, *PLAIN_FILES} or _OF_MANY.fullmatch(path) is not None


def parse_manifest(data: bytes, signature: bytes, expected_did: str | None) -> Manifest:
    """Check a manifest and its signature.

    1. it is a manifest of this format
    2. it is signed by the identity it names
    3. that is the expected one, where one is expected
    4. it lists known files, each once, the ledger and the database among them

    Raises:
        StoreError: not so (`backup_damaged`).
    """
    # 1. the format
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise damaged(f"`{MANIFEST_NAME}` is no manifest of a backup", str(error)) from None
    # 2. the signature
    if not is_signed_by(manifest.did, BACKUP, data, signature):
        raise damaged(f"`{SIGNATURE_NAME}` is not the signature of `{MANIFEST_NAME}` by `{manifest.did}`")
    # 3. whose it is
    if expected_did is not None and manifest.did != expected_did:
        raise damaged(f"the backup is of `{manifest.did}`, expected `{expected_did}`")
    # 4. the list
    paths = {file.path for file in manifest.files}
    wrong = next((path for path in paths if not is_known(path)), None) or listed_twice(manifest.files)
    if wrong is not None:
        raise damaged(f"`{MANIFEST_NAME}` lists `{wrong}`, which no backup holds, or lists it twice")
    for needed in (LEDGER_FILE, DATABASE_FILE):
        if needed not in paths:
            raise damaged(f"`{MANIFEST_NAME}` does not list `{needed}`")
    return manifest


def another_key(message: str, detail: str = "") -> StoreError:
    """The error of a sealed backup that was given another key; where its beginning is damaged, it looks the same."""
    return StoreError(
        message,
        code="backup_damaged",
        hint="give the right one; where this one is, the beginning of the file is damaged: take another copy",
        detail=detail,
    )


def damaged(message: str, detail: str = "") -> StoreError:
    """The error of a backup that must not be used."""
    return StoreError(
        message,
        code="backup_damaged",
        hint="do not restore it: take another copy, or an older one",
        detail=detail,
    )
