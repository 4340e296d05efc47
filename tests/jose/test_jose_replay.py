"""Each proof once: whatever the clock does, however many there are."""

from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.jose.replay import Claim, ReplayCache

NOW_S = 1_767_225_600


def key_of(number):
    return number.to_bytes(16)


def test_a_proof_is_good_once_in_its_window():
    cache = ReplayCache(60)
    assert cache.claim(b"a" * 16, NOW_S, NOW_S) is Claim.FRESH
    for now_s in (NOW_S, NOW_S + 1, NOW_S + 60, NOW_S - 3600):
        assert cache.claim(b"a" * 16, NOW_S, now_s) is Claim.REPLAYED
    assert cache.claim(b"b" * 16, NOW_S, NOW_S) is Claim.FRESH


def test_the_same_id_in_a_later_proof_is_a_replay_too():
    cache = ReplayCache(60)
    cache.claim(b"a" * 16, NOW_S, NOW_S)
    assert cache.claim(b"a" * 16, NOW_S + 10, NOW_S + 10) is Claim.REPLAYED


def test_a_proof_that_was_forgotten_is_too_old_even_when_the_clock_steps_back():
    cache = ReplayCache(60)
    cache.claim(b"a" * 16, NOW_S, NOW_S)
    assert cache.claim(b"b" * 16, NOW_S + 3600, NOW_S + 3600) is Claim.FRESH
    assert len(cache) == 1
    assert cache.claim(b"a" * 16, NOW_S, NOW_S) is Claim.TOO_OLD


def test_a_clock_that_jumped_ahead_for_a_moment_shuts_nothing_new_out():
    cache = ReplayCache(60)
    cache.claim(b"a" * 16, NOW_S, NOW_S)
    cache.claim(b"b" * 16, NOW_S + 10**9, NOW_S + 10**9)
    assert cache.claim(b"c" * 16, NOW_S + 1, NOW_S + 1) is Claim.FRESH
    for second in range(2, 200):
        cache.claim(key_of(second), NOW_S + second, NOW_S + second)
    assert len(cache) <= 62 + 1


def test_a_full_cache_refuses_what_is_new_and_still_knows_what_is_old():
    cache = ReplayCache(60, max_entries=10)
    claims = [cache.claim(key_of(number), NOW_S, NOW_S) for number in range(20)]
    assert claims == [Claim.FRESH] * 10 + [Claim.FULL] * 10
    assert cache.claim(key_of(3), NOW_S, NOW_S) is Claim.REPLAYED
    assert cache.claim(key_of(30), NOW_S + 61, NOW_S + 61) is Claim.FRESH


def test_what_was_restored_is_a_replay():
    first = ReplayCache(60)
    for number in range(100):
        first.claim(key_of(number), NOW_S + number % 7, NOW_S)
    second = ReplayCache(60, horizon_s=first.horizon_s)
    for key, iat_s in first.entries():
        second.restore(key, iat_s)
    assert all(second.claim(key_of(n), NOW_S + n % 7, NOW_S) is Claim.REPLAYED for n in range(100))


def test_a_million_entries_stay_a_million_and_no_claim_looks_at_them_all():
    cache = ReplayCache(60)
    for number in range(1_000_000):
        cache.claim(key_of(number), NOW_S + number % 60, NOW_S)
    assert len(cache) == 1_000_000
    assert cache.claim(key_of(10**7), NOW_S, NOW_S) is Claim.FULL
    assert cache.claim(key_of(999_999), NOW_S + 39, NOW_S) is Claim.REPLAYED


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.integers(-3, 3), st.integers(-100, 100)),
        max_size=60,
    )
)
def test_no_proof_is_ever_accepted_twice_whatever_the_clock_does(steps):
    cache, accepted, now_s = ReplayCache(10, max_entries=6), set(), 1_000
    for key, age, move in steps:
        now_s += move
        proof_id = (key, 1_000 + key * 3 + age)
        if -5 <= now_s - proof_id[1] <= 10 and cache.claim(repr(proof_id).encode(), proof_id[1], now_s) is Claim.FRESH:
            assert proof_id not in accepted
            accepted.add(proof_id)
        assert len(cache) <= 6
