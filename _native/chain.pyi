"""The SHA-256 chain of receipts and its verification in batches."""

def chain_hash(prev_hash_hex: str, canonical: bytes) -> str:
    """`SHA-256(ascii(prev_hash_hex) || canonical)` in hexadecimal: one link of the chain.

    Raises:
        ValueError: `prev_hash_hex` is not 64 ASCII characters.
    """

def is_canonical_event(data: bytes) -> bool:
    """Whether the bytes are exactly what `canonical_event` writes for some event."""

def verify_records(
    records: list[tuple[bytes, bytes]], first_id: int, prev_hash_hex: bytes, prev_ts: bytes
) -> tuple[int, str | None, bytes, bytes]:
    """Check consecutive records of the chain, up to the first bad one.

    Args:
        records: (8-byte big-endian id, stored record) pairs; a record is `hash_hex || prev_hash_hex || event`.
        first_id: the id the first one must have.
        prev_hash_hex: the hash it must link to, 64 bytes.
        prev_ts: the time before which it must not be, 27 bytes.

    Raises:
        TypeError: `records` holds something other than pairs of bytes.
        ValueError: `prev_hash_hex` or `prev_ts` has another length.

    Returns:
        How many are good; the problem of the next one, or None; the hash and the time of the last good one. Problems:
        `id_sequence`, `malformed`, `prev_hash`, `hash`, `not_canonical`, `event_id`, `event_ts`, `time_went_back`.
    """
