"""The buckets of step 7: what is taken, what is refused, and what is forgotten when there are too many."""

from briefcase.core.calls import ratelimits
from briefcase.core.calls.ratelimits import NS_PER_S, RateLimit, RateLimiter


def test_a_bucket_gives_its_burst_then_one_for_each_part_of_a_second_and_a_refusal_takes_nothing():
    limiter = RateLimiter(RateLimit(per_second=2, burst=3))
    assert [limiter.take("a", "echo", 0) for _ in range(5)] == [True, True, True, False, False]
    assert not limiter.take("a", "echo", NS_PER_S // 2 - 1)
    assert [limiter.take("a", "echo", NS_PER_S // 2) for _ in range(2)] == [True, False]
    assert limiter.take("b", "echo", 0)


def test_past_the_bound_the_bucket_that_is_emptiest_is_not_forgotten(monkeypatch):
    monkeypatch.setattr(ratelimits, "MAX_BUCKETS", 4)
    limiter = RateLimiter(RateLimit(per_second=1, burst=2))
    assert [limiter.take("greedy", "echo", 0) for _ in range(3)] == [True, True, False]
    for number in range(50):
        assert limiter.take(f"other{number}", "echo", 0)
        assert len(limiter._ready_ns) <= 4
    assert not limiter.take("greedy", "echo", 0)
