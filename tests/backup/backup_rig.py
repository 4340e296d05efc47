"""What the backups' tests share: a run of the command line against a real daemon, and edits of a backup."""

from __future__ import annotations

import hashlib
import json
import os

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from briefcase.adapters.backup import sealing
from briefcase.adapters.backup.manifest import MANIFEST_NAME, SIGNATURE_NAME
from briefcase.adapters.backup.sealing import SealKey
from briefcase.adapters.signed_manifest import BACKUP, encode_signature, signed_text
from briefcase.adapters.vault.sealed_file import SALT_BYTES, SCRYPT_N
from briefcase.core.jose.did import encode_did_key
from support.cli import FakeRoot, run


def cli(daemon, *args, **environment):
    return run(FakeRoot(daemon.data_dir), *args, BRIEFCASE_DAEMON_UNIX_SOCKET=daemon.socket_path, **environment)


def offline(data_dir, *args, **environment):
    return run(FakeRoot(data_dir), *args, **environment)


def derive_seal_key(passphrase: bytes) -> SealKey:
    """What a command line of before age sent the daemon."""
    salt = os.urandom(SALT_BYTES)
    return SealKey(sealing.scrypt_key(passphrase, salt, SCRYPT_N), salt, SCRYPT_N)


def take_backup(daemon, out, *options):
    ran = cli(daemon, "backup", "create", "--out", str(out), "--json", *options)
    assert ran.code == 0, ran
    return ran.json


def kinds(daemon):
    """The kind of every receipt, oldest first: under load there are more than a page of them."""
    found = []
    while True:
        page = daemon.request("GET", f"/v1/receipts?limit=1000&order=oldest&offset={len(found)}")[1]["receipts"]
        found += [receipt["event"]["kind"] for receipt in page]
        if len(page) < 1000:
            return found


def resign(directory, **changes) -> str:
    """Sign a changed backup with another key, as somebody who prepared one would; gives that key's did."""
    key = Ed25519PrivateKey.generate()
    did = encode_did_key(key.public_key().public_bytes_raw())
    manifest = json.loads((directory / MANIFEST_NAME).read_bytes())
    for file in manifest["files"]:
        path = directory / file["path"]
        if path.is_file():
            file["bytes"] = path.stat().st_size
            file["sha256_hex"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.update(did=did, **changes)
    text = json.dumps(manifest).encode()
    (directory / MANIFEST_NAME).write_bytes(text)
    (directory / SIGNATURE_NAME).write_bytes(encode_signature(key.sign(signed_text(BACKUP, text))))
    return did
