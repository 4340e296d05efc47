"""A sealed stream opens whole, as it was written and under its passphrase, or not at all."""

import hashlib
import io
import json

import pytest
from backup_rig import derive_seal_key
from hypothesis import given
from hypothesis import strategies as st

from briefcase.adapters.backup import sealing
from briefcase.adapters.backup.sealing import MAGIC, SealReader, SealWriter
from briefcase.model.errors import StoreError

PIECE = 64  # small pieces, so that a short stream has many


@pytest.fixture(autouse=True, scope="module")
def cheap():
    """Pieces of 64 bytes, and a derivation that costs nothing; what scrypt itself does the drill tries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "PIECE_BYTES", PIECE)
        patch.setattr(
            sealing, "scrypt_key", lambda secret, salt, n: hashlib.sha256(secret + salt + bytes([1])).digest()
        )
        yield


def sealed(data: bytes, passphrase: bytes = b"pass", key=None) -> bytes:
    file = io.BytesIO()
    writer = SealWriter(file, key or derive_seal_key(passphrase))
    for at in range(0, len(data), 50):
        writer.write(data[at : at + 50])
    writer.finish()
    return file.getvalue()


def opened(stream: bytes, size: int, passphrase: bytes = b"pass") -> bytes:
    reader = SealReader(io.BytesIO(stream), passphrase)
    data = reader.read(size)
    reader.check_end()
    return data


def refusal(stream: bytes, size: int, passphrase: bytes = b"pass") -> str:
    with pytest.raises(StoreError) as caught:
        opened(stream, size, passphrase)
    assert caught.value.code == "backup_damaged"
    return caught.value.message


def pieces_of(stream: bytes) -> tuple[bytes, list[bytes]]:
    at = stream.index(b"\n", len(MAGIC)) + 1
    body = stream[at:]
    step = PIECE + sealing.TAG_BYTES
    return stream[:at], [body[start : start + step] for start in range(0, len(body), step)]


DATA = bytes(range(256)) + b"the end"


@given(st.binary(max_size=5 * PIECE + 3))
def test_what_was_written_is_read(data):
    assert opened(sealed(data), len(data)) == data


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1])
def test_every_size_around_a_piece_has_one_last_piece(size):
    data = bytes(size)
    stream = sealed(data)
    assert opened(stream, size) == data
    assert len(pieces_of(stream)[1]) == max(1, -(-size // PIECE))


def test_a_stream_cut_off_anywhere_is_refused():
    stream = sealed(DATA)
    for length in range(len(stream)):
        refusal(stream[:length], len(DATA))


def test_a_stream_cut_off_between_two_pieces_says_so():
    head, pieces = pieces_of(sealed(DATA))
    assert "cut off" in refusal(head + b"".join(pieces[:-1]), len(DATA))


def test_a_stream_with_any_byte_changed_is_refused():
    stream = sealed(DATA)
    for at in range(len(stream)):
        changed = bytearray(stream)
        changed[at] ^= 1
        refusal(bytes(changed), len(DATA))


def test_pieces_that_were_moved_repeated_dropped_or_appended_are_refused():
    head, pieces = pieces_of(sealed(DATA))
    first, second, *rest = pieces
    for other in (
        [second, first, *rest],
        [first, first, second, *rest],
        [second, *rest],
        [first, *rest],
        [*pieces, pieces[-1]],
        [*pieces, b"x"],
    ):
        refusal(head + b"".join(other), len(DATA))


def test_pieces_of_another_stream_under_the_same_key_are_refused():
    key = derive_seal_key(b"pass")
    (head, mine), (_, other) = (pieces_of(sealed(DATA, key=key)) for _ in range(2))
    assert mine != other
    refusal(head + b"".join([mine[0], other[1], *mine[2:]]), len(DATA))


def test_another_passphrase_is_told_from_damage():
    assert "passphrase" in refusal(sealed(DATA), len(DATA), b"other")


def test_the_stream_ends_where_its_reader_expects():
    assert "more than" in refusal(sealed(DATA), len(DATA) - 1)
    assert "ends before" in refusal(sealed(DATA), len(DATA) + 1)


@pytest.mark.parametrize("n", [0, 2, 1 << 16, (1 << 17) + 1, 1 << 21, 1 << 40, -(1 << 17)])
def test_a_file_does_not_choose_what_opening_it_costs(n, monkeypatch):
    head, pieces = pieces_of(sealed(DATA))
    header = {**json.loads(head.removeprefix(MAGIC)), "n": n}
    monkeypatch.setattr(sealing, "scrypt_key", lambda *_: pytest.fail("scrypt ran"))
    assert "scrypt n" in refusal(MAGIC + json.dumps(header).encode() + b"\n" + b"".join(pieces), len(DATA))


@pytest.mark.parametrize(
    "stream", [b"", b"SQLite format 3\0" * 99, MAGIC, MAGIC + b"{}\n", MAGIC + b"x" * 10_000, MAGIC + b"[" * 500]
)
def test_what_is_no_sealed_backup_is_refused_before_scrypt_runs(stream, monkeypatch):
    monkeypatch.setattr(sealing, "scrypt_key", lambda *_: pytest.fail("scrypt ran"))
    refusal(stream, 1)


def test_the_header_is_sealed_as_it_was_written():
    head, pieces = pieces_of(sealed(DATA))
    line = head.removeprefix(MAGIC)
    refusal(MAGIC + line.replace(b",", b", ") + b"".join(pieces), len(DATA))
