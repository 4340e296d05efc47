"""The Merkle tree: against published vectors, against the definition, and against every single tampering."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.receipts.tree import (
    EMPTY_ROOT,
    ConsistencyProver,
    Frontier,
    is_consistent,
    is_included,
    leaf_hash,
    node_hash,
    prove_consistency,
    prove_inclusion,
    tree_root,
)

# The leaves and roots of the certificate-transparency project's published test tree.
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_the_published_ones(size):
    assert tree_root(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_empty_tree_has_the_hash_of_nothing():
    assert tree_root([]) == EMPTY_ROOT == Frontier().root()


def by_definition(leaves):
    """RFC 6962 section 2.1, word for word."""
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(by_definition(leaves[:split]), by_definition(leaves[split:]))


some_leaves = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70)


@given(some_leaves)
def test_the_frontier_is_the_definition(leaves):
    assert tree_root(leaves) == by_definition(leaves)


@given(some_leaves, st.data())
def test_every_leaf_is_proven_and_nothing_else_is(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, proof = tree_root(leaves), prove_inclusion(leaves, index)

    assert is_included(root, len(leaves), index, leaves[index], proof)
    assert not is_included(root, len(leaves), index, b"another", proof)
    assert not is_included(root, len(leaves), index, leaves[index], [*proof, root])
    assert not is_included(root, len(leaves), len(leaves), leaves[index], proof)
    for place in range(len(proof)):
        broken = [*proof[:place], bytes(32), *proof[place + 1 :]]
        assert not is_included(root, len(leaves), index, leaves[index], broken)


@given(some_leaves, st.data())
def test_growth_is_proven_and_a_rewritten_past_is_not(leaves, data):
    first = data.draw(st.integers(1, len(leaves)))
    old, new, proof = tree_root(leaves[:first]), tree_root(leaves), prove_consistency(leaves, first)

    assert is_consistent(old, first, new, len(leaves), proof)
    rewritten = [b"forged" + bytes(26), *leaves[1:]]
    forged = tree_root(rewritten)
    assert not is_consistent(old, first, forged, len(leaves), prove_consistency(rewritten, first))
    assert not is_consistent(old, first, new, len(leaves), [*proof, bytes(32)])


@pytest.mark.parametrize("index", [-1, 8])
def test_there_is_no_proof_of_a_leaf_that_is_not_there(index):
    with pytest.raises(IndexError):
        prove_inclusion(LEAVES, index)
    with pytest.raises(IndexError):
        prove_consistency(LEAVES, 9)


@given(st.integers(1, 70), st.integers(0, 70), st.booleans())
def test_a_proof_made_leaf_by_leaf_is_the_one_made_from_all_of_them(first, more, has_old):
    leaves = [number.to_bytes(2) for number in range(first + more)]
    old = Frontier()
    for data in leaves[:first]:
        old.append(data)
    prover = ConsistencyProver(first, len(leaves), old.copy() if has_old else None)
    assert prover.next_leaf >= first or not has_old
    while not prover.is_complete:
        prover.append(leaves[prover.next_leaf])
    assert prover.proof() == prove_consistency(leaves, first)
    assert [tree_root(leaves[low:high]) for low, high, _ in old.peaks()] == [root for _, _, root in old.peaks()]


def test_an_earlier_tree_of_another_size_helps_nobody():
    leaves = [number.to_bytes(2) for number in range(9)]
    old = Frontier()
    for data in leaves[:3]:
        old.append(data)
    prover = ConsistencyProver(5, 9, old)
    assert prover.next_leaf == 0
    with pytest.raises(IndexError):
        ConsistencyProver(0, 9)
