"""The machine's own clock and entropy."""

import uuid

from briefcase.adapters.system import SystemClock, SystemEntropy


def test_uuids_are_random_ones_in_canonical_form():
    made = [SystemEntropy().uuid() for _ in range(1_000)]

    assert len(set(made)) == len(made)
    for text in made:
        read = uuid.UUID(text)
        assert (str(read), read.version, read.variant) == (text, 4, uuid.RFC_4122)


def test_tokens_hold_256_bits_and_differ():
    assert len({SystemEntropy().token() for _ in range(100)}) == 100
    assert len(SystemEntropy().token()) == 43


def test_the_monotonic_clock_does_not_go_back_and_the_wall_clock_counts_microseconds():
    clock = SystemClock()
    first, second = clock.monotonic_ns(), clock.monotonic_ns()

    assert second >= first
    assert clock.now_us() > 1_767_225_600_000_000
