"""What cosigned checkpoints say of a chain: up to where a quorum vouches, and which chain is not the one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.adapters.vault.note_signatures import verify_note_signature
from briefcase.core.receipts.quorums import Group, WitnessPolicy, all_of
from briefcase.core.receipts.witnessed import (
    MAX_KEPT,
    ChainJudge,
    newest_of,
    pruned,
    quorum_of,
    read_witnessed,
)
from briefcase.model.errors import CallerError
from support.witnesses import NOW_S, CosignerKey, Log, leaf

LOG = Log()
COSIGNERS = [CosignerKey(f"w{number}", seed=40 + number, is_mldsa=number == 2) for number in range(3)]
KEYS = [one.public for one in COSIGNERS]
TWO_OF_THREE = WitnessPolicy("g", (), dict(zip("abc", KEYS, strict=True)), {"g": Group(2, ("a", "b", "c"))})


def witnessed(size, by=(), log=LOG, time_s=NOW_S, keys=KEYS):
    note = log.note(size) + "".join(COSIGNERS[number].cosign(log.checkpoint(size), time_s).text for number in by)
    return read_witnessed(note, LOG.key, keys, NOW_S, verify_note_signature)


def test_a_cosigned_checkpoint_reads_back_whole():
    one = witnessed(5, (0, 2))
    assert (one.checkpoint, one.keys) == (LOG.checkpoint(5), {KEYS[0], KEYS[2]})
    assert read_witnessed(one.note, LOG.key, KEYS, NOW_S, verify_note_signature) == one
    assert witnessed(5, (0, 2), keys=KEYS[:1]).keys == {KEYS[0]}


def test_only_the_log_itself_signs_its_checkpoints():
    with pytest.raises(CallerError, match="signed by the key of"):
        read_witnessed(Log(2).note(5), LOG.key, KEYS, NOW_S, verify_note_signature)
    with pytest.raises(CallerError, match="was changed"):
        read_witnessed(LOG.note(5).replace("\n5\n", "\n6\n"), LOG.key, KEYS, NOW_S, verify_note_signature)
    forged = LOG.note(5) + COSIGNERS[0].cosign(LOG.checkpoint(6)).text
    with pytest.raises(CallerError, match="not of this checkpoint"):
        read_witnessed(forged, LOG.key, KEYS, NOW_S, verify_note_signature)


def test_a_later_word_joins_and_takes_the_place_of_an_earlier_one():
    early, late = witnessed(5, (0,), time_s=NOW_S - 9), witnessed(5, (0, 1))
    joined = early.joined(late.cosignatures)
    assert {one.key: one.time_s for one in joined.cosignatures} == {KEYS[0]: NOW_S, KEYS[1]: NOW_S}
    assert late.joined(early.cosignatures) == late


@pytest.mark.parametrize(
    ("kept", "size", "by"),
    [
        ((), 0, ()),
        (((9, (0,)),), 0, ()),
        (((9, (0, 1)),), 9, (0, 1)),
        (((9, (0,)), (7, (1,))), 7, (0, 1)),
        (((9, (0,)), (7, (1,)), (5, (2,))), 7, (0, 1)),
        (((9, (0,)), (7, (0, 1, 2))), 7, (0, 1, 2)),
        (((9, (0, 2)), (7, (1,))), 9, (0, 2)),
    ],
)
def test_a_quorum_is_met_up_to_what_enough_witnesses_have_each_reached(kept, size, by):
    found = quorum_of([witnessed(*one) for one in kept], TWO_OF_THREE)
    assert (found.is_met, found.size, {one.key for one in found.by}) == (bool(by), size, {KEYS[n] for n in by})


def test_the_time_of_a_quorum_is_that_of_its_earliest_word():
    kept = [witnessed(9, (0,)), witnessed(9, (1,), time_s=NOW_S - 60)]
    assert quorum_of(kept, TWO_OF_THREE).time_s == NOW_S - 60
    assert newest_of(kept)[KEYS[1]][0] == 9


def test_a_quorum_of_nobody_vouches_for_nothing():
    found = quorum_of([witnessed(9, (0,))], WitnessPolicy("none"))
    assert (found.is_met, found.size, found.by) == (True, 0, ())


def judged(kept, leaves):
    judge = ChainJudge(kept)
    for one in leaves:
        judge.append(one)
    return judge.difference()


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 40), st.integers(0, 40))
def test_a_chain_passes_exactly_where_each_cosigned_state_is_its_own_beginning(first, second, length, changed):
    kept = [witnessed(first, (0,)), witnessed(second, (1,))]
    leaves = LOG.leaves(length)
    if changed < length:
        leaves[changed] = leaf(changed, "rewritten")
    is_same = length >= max(first, second) and changed >= min(length, max(first, second))
    found = judged(kept, leaves)
    assert (found is None) == is_same
    if found is not None and found.expected.startswith("root"):
        assert found.size == min(size for size in (first, second) if size > changed)


def test_a_chain_that_was_cut_off_is_named_by_its_length():
    found = judged([witnessed(9, (0,))], LOG.leaves(8))
    assert (found.size, found.expected, found.found) == (9, "9 receipts at least", "8 receipts")
    assert judged([], LOG.leaves(8)) is None


def test_what_is_kept_is_what_still_says_something():
    kept = [witnessed(3, (0, 1, 2)), witnessed(5, (0, 1)), witnessed(7, (0,)), witnessed(8, (2,)), witnessed(6, (0,))]
    assert [one.checkpoint.size for one in pruned([*kept, witnessed(9)], TWO_OF_THREE)] == [8, 7, 5]
    assert quorum_of(pruned(kept, TWO_OF_THREE), TWO_OF_THREE) == quorum_of(kept, TWO_OF_THREE)
    many = [witnessed(size, (0,)) for size in range(1, 5)]
    assert len(pruned(many * 20, all_of(KEYS))) == 1 <= MAX_KEPT
