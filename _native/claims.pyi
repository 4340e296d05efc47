"""Request ids that were taken, as 8-byte fingerprints: constant time, bounded memory."""

CLAIM_BYTES: int

class ClaimIndex:
    """Maps a fingerprint to the receipt that took it.

    Holds two generations of open-addressed slots, 12 bytes each. When the current one is three quarters full it becomes
    the previous one, and what was previous is forgotten: between 3/4 and 6/4 of `max_slots` claims are remembered.

    Args:
        max_slots: the size of a generation, a power of two; memory is at most 24 times as many bytes.

    Raises:
        ValueError: `max_slots` is no power of two of at least 16.
    """

    max_slots: int

    def __init__(self, max_slots: int) -> None: ...
    def get(self, fingerprint: bytes) -> int | None:
        """The receipt id of a fingerprint, or None where it was not taken, or was forgotten.

        Raises:
            ValueError: the fingerprint is not 8 bytes.
        """

    def add(self, fingerprint: bytes, receipt_id: int) -> int:
        """Note a claim; the newest of two with one fingerprint counts.

        Raises:
            MemoryError: there is none left; nothing was changed.
            ValueError: the fingerprint is not 8 bytes.
        """

    def add_packed(self, packed: bytes) -> int:
        """Note many claims, oldest first: fingerprint and big-endian receipt id, 16 bytes each.

        Raises:
            MemoryError: there is none left.
            ValueError: the bytes are no multiple of 16.
        """

    def __len__(self) -> int: ...
