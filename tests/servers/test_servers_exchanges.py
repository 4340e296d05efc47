"""What rides beside a call is found by its own principal only, and kept no longer than it is of use."""

import msgspec

from briefcase.adapters.servers import exchanges as module
from briefcase.adapters.servers.exchanges import KEPT_ENDED, MAX_EXCHANGES, Exchanges
from briefcase.core.mcp.call_options import CallOptions
from briefcase.model.ports import CallContext
from support.redaction import NoRedaction


def test_the_last_that_ended_are_kept_and_what_runs_stays():
    exchanges = Exchanges(NoRedaction())
    running = exchanges.open("scout", "running", CallOptions())
    for number in range(KEPT_ENDED + 10):
        ended = exchanges.open("scout", str(number), CallOptions())
        ended.end()
        ended.end()
    assert exchanges.find("scout", "running") is running
    kept = [number for number in range(KEPT_ENDED + 10) if exchanges.find("scout", str(number))]
    assert kept == list(range(10, KEPT_ENDED + 10))


def test_an_id_used_again_is_not_forgotten_with_its_first_use():
    exchanges = Exchanges(NoRedaction())
    exchanges.open("scout", "again", CallOptions()).end()
    second = exchanges.open("scout", "again", CallOptions())
    for number in range(KEPT_ENDED):
        exchanges.open("scout", str(number), CallOptions()).end()
    assert exchanges.find("scout", "again") is second


def test_what_is_open_is_bounded_oldest_first():
    exchanges = Exchanges(NoRedaction())
    for number in range(MAX_EXCHANGES + 1):
        exchanges.open("scout", str(number), CallOptions())
    assert exchanges.find("scout", "0") is None
    assert exchanges.find("scout", "1") is not None


def test_another_principals_exchange_does_not_exist():
    exchanges = Exchanges(NoRedaction())
    exchange = exchanges.open("scout", "one", CallOptions(progress=True))
    context = CallContext("call", "scout", "one", deadline_ns=0, channel=exchange)
    assert exchanges.find("ranger", "one") is None
    assert exchanges.of(context) is exchange
    assert not exchanges.of(msgspec.structs.replace(context, channel=None)).options.progress


async def numbers(exchange) -> list[int]:
    messages, _ = await exchange.read(0, 0)
    return [message["params"]["n"] for message in messages]


def say(exchange, count: int, size: int = 1_000) -> None:
    for number in range(count):
        exchange.notify("notifications/message", {"n": number, "data": "x" * size})


async def test_one_calls_notifications_are_bounded_in_bytes_and_the_newest_stay(monkeypatch):
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", 5_500)
    exchange = Exchanges(NoRedaction()).open("scout", "r", CallOptions())
    say(exchange, 20)
    assert await numbers(exchange) == [15, 16, 17, 18, 19]


async def test_all_notifications_are_bounded_together_and_one_servers_flood_costs_another_call_nothing(monkeypatch):
    monkeypatch.setattr(module, "MAX_ALL_KEPT_BYTES", 22_000)
    exchanges = Exchanges(NoRedaction())
    ended, quiet, loud = (exchanges.open("scout", name, CallOptions()) for name in ("ended", "quiet", "loud"))
    say(ended, 5)
    say(quiet, 5)
    ended.end()
    say(loud, 100)
    assert await numbers(ended) == []  # what ended makes room first
    assert await numbers(quiet) == [0, 1, 2, 3, 4]
    assert await numbers(loud) == list(range(85, 100))
    assert exchanges._all_kept.total <= 22_000


def test_nothing_is_counted_of_exchanges_that_are_forgotten():
    exchanges = Exchanges(NoRedaction())
    for number in range(MAX_EXCHANGES + 50):
        exchange = exchanges.open("scout", str(number), CallOptions())
        say(exchange, 1)
        if number % 2:
            exchange.end()
    kept = [exchange for exchange in exchanges._kept.values() if exchange._kept]
    assert exchanges._all_kept.total == sum(exchange._kept_bytes for exchange in kept)
