"""The Merkle tree over receipt hashes (RFC 6962 section 2.1), for checkpoints that prove more than a chain can.

A chain shows that nothing in it changed; a tree also shows, in a few hashes, that one receipt is in it (inclusion) and
that a later state only added to an earlier one (consistency). Leaf `n` is the 32 bytes of receipt `n + 1`'s hash.

    leaf(d)    = SHA-256(0x00 || d)
    node(l, r) = SHA-256(0x01 || l || r)

Nothing here does I/O. Verification follows RFC 9162 sections 2.1.3.2 and 2.1.4.2, whose steps are numbered here too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

EMPTY_ROOT: Final = hashlib.sha256().digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A growing tree, kept as the roots of its complete subtrees: at most 64 hashes however many leaves.

    Args:
        size: of the tree that it begins with.
        roots: of its complete subtrees, largest first.
    """

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        self.size = size
        self._roots = list(roots)  # largest subtree first

    def append(self, data: bytes) -> None:
        """Add one leaf."""
        root = leaf_hash(data)
        size = self.size
        while size & 1:
            root = node_hash(self._roots.pop(), root)
            size >>= 1
        self._roots.append(root)
        self.size += 1

    def copy(self) -> Frontier:
        """The same tree, which grows by itself from now on."""
        return Frontier(self.size, self._roots)

    def peaks(self) -> list[tuple[int, int, bytes]]:
        """The complete subtrees, largest first: from which leaf, up to which (exclusive), and the root."""
        found, low = [], 0
        for root in self._roots:
            high = low + (1 << ((self.size - low).bit_length() - 1))
            found.append((low, high, root))
            low = high
        return found

    def root(self) -> bytes:
        """The root of all leaves so far."""
        if not self._roots:
            return EMPTY_ROOT
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """The root over leaves in order."""
    frontier = Frontier()
    for data in leaves:
        frontier.append(data)
    return frontier.root()


def prove_inclusion(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of one leaf (RFC 6962 section 2.1.1), nearest sibling first.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"expected a leaf index below {len(leaves)}, got {index}")
    path: list[bytes] = []
    low, high = 0, len(leaves)
    while high - low > 1:
        split = low + _largest_power_below(high - low)
        if index < split:
            path.append(tree_root(leaves[split:high]))
            high = split
        else:
            path.append(tree_root(leaves[low:split]))
            low = split
    return path[::-1]


def prove_consistency(leaves: Sequence[bytes], first: int) -> list[bytes]:
    """The proof that a tree of all leaves extends the one of the `first` leaves (RFC 6962 section 2.1.2).

    Raises:
        IndexError: `first` is not within 1 and the number of leaves.
    """
    if not 0 < first <= len(leaves):
        raise IndexError(f"expected a size from 1 to {len(leaves)}, got {first}")
    return _subproof(leaves, first, 0, len(leaves), is_whole=True)


def consistency_ranges(first: int, size: int) -> list[tuple[int, int]]:
    """Over which leaves each hash of a consistency proof is the root: from one, up to another (exclusive).

    Raises:
        IndexError: `first` is not within 1 and `size`.
    """
    if not 0 < first <= size:
        raise IndexError(f"expected a size from 1 to {size}, got {first}")
    ranges: list[tuple[int, int]] = []
    low, high, is_whole = 0, size, True
    while first != high:
        split = low + _largest_power_below(high - low)
        if first <= split:
            ranges.append((split, high))
            high = split
        else:
            ranges.append((low, split))
            low, is_whole = split, False
    return ([] if is_whole else [(low, high)]) + ranges[::-1]


class ConsistencyProver:
    """Makes a consistency proof from leaves that come one after another, so that nobody holds them all.

    Args:
        old_size: of the earlier tree, 1 at least.
        size: of the later one.
        old: the earlier tree, where it is at hand: then only the leaves after it are wanted.

    Raises:
        IndexError: as `consistency_ranges`.
    """

    def __init__(self, old_size: int, size: int, old: Frontier | None = None) -> None:
        peaks = old.peaks() if old is not None and old.size == old_size else []
        known = {(low, high): root for low, high, root in peaks}
        self._ranges = consistency_ranges(old_size, size)
        self._roots = {span: known[span] for span in self._ranges if span in known}
        self._wanted = sorted(span for span in self._ranges if span not in known)
        self._frontier = Frontier()
        self.next_leaf = self._wanted[0][0] if self._wanted else size

    @property
    def is_complete(self) -> bool:
        """Whether no more leaves are wanted."""
        return not self._wanted

    def append(self, data: bytes) -> None:
        """Take leaf number `next_leaf`."""
        low, high = self._wanted[0]
        if self.next_leaf >= low:
            self._frontier.append(data)
        self.next_leaf += 1
        if self.next_leaf == high:
            self._roots[low, high] = self._frontier.root()
            self._frontier = Frontier()
            del self._wanted[0]

    def proof(self) -> list[bytes]:
        """The proof, in its order. Raises `KeyError` where leaves are still wanted."""
        return [self._roots[span] for span in self._ranges]


def is_included(root: bytes, size: int, index: int, data: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a leaf is in the tree of this root (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:  # step 1
        return False
    first, last, computed = index, size - 1, leaf_hash(data)  # steps 2 and 3
    for sibling in proof:  # step 4
        if last == 0:
            return False
        if first & 1 or first == last:
            computed = node_hash(sibling, computed)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and computed == root  # step 5


def is_consistent(old_root: bytes, old_size: int, new_root: bytes, new_size: int, proof: Sequence[bytes]) -> bool:
    """Whether the newer tree only added leaves to the older one (RFC 9162 section 2.1.4.2)."""
    if old_size == new_size:
        return old_root == new_root and not proof
    if not 0 < old_size < new_size or not proof:  # step 1
        return False
    path = list(proof)
    if old_size & (old_size - 1) == 0:  # step 2
        path.insert(0, old_root)
    first, last = old_size - 1, new_size - 1  # step 3
    while first & 1:  # step 4
        first, last = first >> 1, last >> 1
    older = newer = path[0]  # step 5
    for sibling in path[1:]:  # step 6
        if last == 0:
            return False
        if first & 1 or first == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and older == old_root and newer == new_root  # step 7


def _subproof(leaves: Sequence[bytes], first: int, low: int, high: int, *, is_whole: bool) -> list[bytes]:
    size = high - low
    if first == size:
        return [] if is_whole else [tree_root(leaves[low:high])]
    split = _largest_power_below(size)
    if first <= split:
        proof = _subproof(leaves, first, low, low + split, is_whole=is_whole)
        return [*proof, tree_root(leaves[low + split : high])]
    proof = _subproof(leaves, first - split, low + split, high, is_whole=False)
    return [*proof, tree_root(leaves[low : low + split])]


def _largest_power_below(size: int) -> int:
    """The largest power of two smaller than `size`, for sizes of 2 and more."""
    return 1 << ((size - 1).bit_length() - 1)
