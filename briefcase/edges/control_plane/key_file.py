"""The file with a control plane's signing keys: the only place where the private half of one ever is.

Who steals the database can sign nothing. Every process needs the file; one on another machine is given a copy of it.
The file holds the keys in the order in which they signed, each with the word of the key before it:

| a key | its private half | its word |
|---|---|---|
| signed once (retired) | is destroyed | is kept: devices that were away follow it |
| signs now | is there | is kept |
| signs next (prepared) | is there | is there |

Which of them signs now is what the database says; a key that is in no file signs nothing, whatever stands there.

    a change, under the file's lock
     1. read what is there: another process, or a person, may have put another file here
     2. write the new file whole (`disk.files.write_private`)   a crash leaves the old file or the new one

A file of before there was a second key is one private JWK; the first change writes it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from briefcase.adapters.disk.files import read_private, write_private
from briefcase.adapters.disk.locks import locked
from briefcase.core.fleet.bundles import PolicyKey
from briefcase.core.fleet.envelopes import Envelope
from briefcase.core.jose.base64url import JoseError, decode_base64url, encode_base64url
from briefcase.edges.control_plane.custody import SECRET_BYTES, extract_secret
from briefcase.edges.control_plane.keys import SigningKey
from briefcase.model.errors import BriefcaseError, ConfigError

MAX_FILE_BYTES: Final = 1 << 20
_HINT: Final = "restore it from a backup: with a key that nobody named every device has to be enrolled again"


class MissingKeyError(BriefcaseError):
    """This process cannot sign with the key that signs now: its file does not have it."""

    default_code = "not_ready"


class KeptKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key of the file. `seed_b64` is its private half, empty once that is destroyed; `word` is the earlier key's."""

    public_b64: PolicyKey
    seed_b64: str = ""
    word: Envelope | None = None

    def __repr__(self) -> str:
        return f"KeptKey(public_b64={self.public_b64!r}, ...)"


class KeyRing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: the secret of the keys in custody, and the signing keys in order."""

    custody_b64: str
    keys: tuple[KeptKey, ...]

    def __repr__(self) -> str:
        return f"KeyRing(keys={self.keys!r}, ...)"

    @property
    def custody_secret(self) -> bytes:
        """The secret that devices' keys are derived from."""
        return decode_base64url(self.custody_b64)

    @property
    def held(self) -> tuple[PolicyKey, ...]:
        """The keys that this process can sign with."""
        return tuple(kept.public_b64 for kept in self.keys if kept.seed_b64)

    def signing_key(self, public_b64: PolicyKey) -> SigningKey:
        """A key to sign with.

        Raises:
            MissingKeyError: its private half is not in the file.
        """
        for kept in self.keys:
            if kept.public_b64 == public_b64 and kept.seed_b64:
                return SigningKey(decode_base64url(kept.seed_b64))
        raise MissingKeyError(
            f"this process's key file does not have the signing key `{public_b64}`: copy the file of one that does"
        )

    def upto(self, public_b64: PolicyKey) -> tuple[KeptKey, ...]:
        """The keys up to one, that one too; empty where it is none of these."""
        names = [kept.public_b64 for kept in self.keys]
        return self.keys[: names.index(public_b64) + 1] if public_b64 in names else ()


class KeyFile:
    """One key file.

    Args:
        path: where it is; it is made there where there is none.

    Raises:
        ConfigError: the file is not private, or is no key file.
        StoreError: it could not be read or made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._locked():  # two processes that start at once make one key
            ring = self._read()
            if ring is None:
                ring = _new_ring()
                write_private(path, msgspec.json.encode(ring))
        self.ring = ring
        """What the file held when it was last read."""

    def read_again(self) -> None:
        """Take up what the file holds now; one that is away changes nothing. Raises as the class."""
        self.ring = self._read() or self.ring

    def change(self, edit: Callable[[KeyRing], KeyRing]) -> KeyRing:
        """Change the file, durably, as the module says.

        Args:
            edit: gives what the file is to hold; may raise.

        Raises:
            ConfigError: the file is away, or as the class.
            StoreError: it could not be written; the old file is untouched.

        Returns:
            What it holds now.
        """
        with self._locked():
            ring = self._read()
            if ring is None:
                raise ConfigError(f"expected the key file `{self._path}`, which is away", hint=_HINT)
            changed = edit(ring)
            if changed != ring:
                write_private(self._path, msgspec.json.encode(changed))
        self.ring = changed
        return changed

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._path.with_name(f"{self._path.name}.lock"))

    def _read(self) -> KeyRing | None:
        data = read_private(self._path, max_bytes=MAX_FILE_BYTES)
        if data is None:
            return None
        try:
            ring = _parse(data)
            _check(ring)
        except (msgspec.DecodeError, JoseError, ValueError):
            raise ConfigError(f"`{self._path}`: expected a control plane's signing keys", hint=_HINT) from None
        return ring


def with_next(ring: KeyRing, present: PolicyKey, issued_us: int, discarded: Collection[PolicyKey]) -> KeyRing:
    """A ring with a key after the present one: the one that stands there already, else a new one.

    Args:
        ring: what the file holds.
        present: the key that signs now.
        issued_us: when the present one names a new key, microseconds.
        discarded: keys that are not to sign after all.

    Raises:
        MissingKeyError: the file has no key to go on with, nor the present one to name it.
    """
    before = ring.upto(present)
    after = [kept for kept in ring.keys[len(before) :] if kept.seed_b64 and kept.public_b64 not in discarded]
    if before and after:  # left by a crash, or by a database that was taken back to before
        return msgspec.structs.replace(ring, keys=(*before, *after))
    naming = ring.signing_key(present)
    seed = _new_seed()
    public_b64 = SigningKey(seed).public_b64
    following = KeptKey(public_b64, encode_base64url(seed), naming.name(public_b64, issued_us))
    return msgspec.structs.replace(ring, keys=(*before, following))


def without_ended(ring: KeyRing, present: PolicyKey, discarded: Collection[PolicyKey]) -> KeyRing:
    """A ring whose keys before the present one sign no more, and without those that never will.

    One that cannot sign as the present key is left as it is: whoever can write to the database destroys no key by it.
    """
    if present not in ring.held:
        return ring
    before = ring.upto(present)[:-1]
    ended = tuple(msgspec.structs.replace(kept, seed_b64="") for kept in before)
    going_on = tuple(kept for kept in ring.keys[len(before) :] if kept.public_b64 not in discarded)
    return msgspec.structs.replace(ring, keys=(*ended, *going_on))


class _Jwk(msgspec.Struct, frozen=True, tag_field="kty", tag="OKP"):
    """A private Ed25519 key (RFC 8037): the file as it was before there was a second key."""

    crv: Literal["Ed25519"]
    x: str
    d: str


def _parse(data: bytes) -> KeyRing:
    try:
        return msgspec.json.decode(data, type=KeyRing)
    except msgspec.ValidationError:
        jwk = msgspec.json.decode(data, type=_Jwk)
    return KeyRing(encode_base64url(extract_secret(decode_base64url(jwk.d))), (KeptKey(jwk.x, jwk.d),))


def _check(ring: KeyRing) -> None:
    """Check a file's keys.

    Raises:
        ValueError: there is none to sign with, or one is not the private half of what it stands beside.
        JoseError: one is not in base64url.
    """
    if len(ring.custody_secret) != SECRET_BYTES or not ring.held:
        raise ValueError("no key to sign with")
    for kept in ring.keys:
        if kept.seed_b64 and SigningKey(decode_base64url(kept.seed_b64)).public_b64 != kept.public_b64:
            raise ValueError("not its private half")


def _new_ring() -> KeyRing:
    seed = _new_seed()
    return KeyRing(
        encode_base64url(extract_secret(seed)), (KeptKey(SigningKey(seed).public_b64, encode_base64url(seed)),)
    )


def _new_seed() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes_raw()
