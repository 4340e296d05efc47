"""What rides beside a call is found by its own principal only, and kept no longer than it is of use."""

from briefcase.mcp.exchanges import KEPT_ENDED, MAX_EXCHANGES, Exchanges, ExchangeWish


class Redactor:
    def redact(self, value: bytes) -> bytes:
        return value


def test_the_last_that_ended_are_kept_and_what_runs_stays():
    exchanges = Exchanges(Redactor())
    running = exchanges.open("scout", "running", ExchangeWish())
    for number in range(KEPT_ENDED + 10):
        ended = exchanges.open("scout", str(number), ExchangeWish())
        ended.end()
        ended.end()
    assert exchanges.find("scout", "running") is running
    kept = [number for number in range(KEPT_ENDED + 10) if exchanges.find("scout", str(number))]
    assert kept == list(range(10, KEPT_ENDED + 10))


def test_an_id_used_again_is_not_forgotten_with_its_first_use():
    exchanges = Exchanges(Redactor())
    exchanges.open("scout", "again", ExchangeWish()).end()
    second = exchanges.open("scout", "again", ExchangeWish())
    for number in range(KEPT_ENDED):
        exchanges.open("scout", str(number), ExchangeWish()).end()
    assert exchanges.find("scout", "again") is second


def test_what_is_open_is_bounded_oldest_first():
    exchanges = Exchanges(Redactor())
    for number in range(MAX_EXCHANGES + 1):
        exchanges.open("scout", str(number), ExchangeWish())
    assert exchanges.find("scout", "0") is None
    assert exchanges.find("scout", "1") is not None


def test_another_principals_exchange_does_not_exist():
    exchanges = Exchanges(Redactor())
    exchanges.open("scout", "one", ExchangeWish(progress=True))
    assert exchanges.find("ranger", "one") is None
    assert not exchanges.of("ranger", "one").wish.progress
