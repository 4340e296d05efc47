"""A sync asks, applies and uploads; what goes wrong is named on both paths, stops no upload and never ends the loop."""

import asyncio
import json

import pytest

from briefcase.adapters.fleet import uploads
from briefcase.core.fleet import words
from briefcase.core.fleet.device import DeviceState
from briefcase.core.operator.fleet import Wanted
from briefcase.model.errors import StoreError, UpstreamError
from support.control_plane import ADMIN_TOKEN, HOUR_US, POLICY, SigningKey, refusal
from support.crash import Crash
from support.fleet import BASE_URL, FleetDesk
from support.waiting import until

NEXT = f"{POLICY} // the next"


@pytest.fixture
async def desk(tmp_path):
    desk = FleetDesk(tmp_path)
    await desk.start()
    yield desk
    desk.database.close()


async def failed(desk) -> str:
    """Sync, and give what was wrong: as the error says it, and as the status does."""
    with pytest.raises(UpstreamError) as error:
        await desk.sync.sync()
    problem = (await desk.status()).progress.last_error
    assert error.value.message == f"the sync failed: {problem}"
    return problem


# --- what goes well ---------------------------------------------------------------------------------------------------


async def test_nobody_is_asked_before_an_enrolment(desk):
    assert (await desk.sync.sync(), await desk.sync.status(), desk.plane.seen) == (None, None, [])


async def test_a_sync_applies_the_policy_and_uploads_every_receipt_its_own_too(desk):
    await desk.enrol()
    desk.plane.publish(2, NEXT)
    synced = await desk.sync.sync()
    assert (synced.policy_applied, synced.receipts_uploaded) == (True, 5)
    assert desk.uploaded == [1, 2, 3, 4, 5]
    status = await desk.status()
    assert (status.progress.state, status.progress.uploaded_id) == (DeviceState.SYNCED, 5)
    assert (status.progress.last_sync_us, status.progress.last_error) == (desk.clock.now_us(), "")
    again = await desk.sync.sync()
    assert (again.policy_applied, again.receipts_uploaded) == (False, 0)


async def test_receipts_go_in_batches_and_the_rest_in_the_next_round(desk, monkeypatch):
    monkeypatch.setattr(uploads, "PAGE_RECEIPTS", 4)
    monkeypatch.setattr(uploads, "MAX_RECEIPTS_A_ROUND", 8)
    await desk.enrol()
    for _ in range(10):
        await desk.receipt()
    assert [(await desk.sync.sync()).receipts_uploaded for _ in range(3)] == [8, 6, 0]
    assert desk.uploaded == list(range(1, 15))


async def test_a_proof_is_new_for_each_request_and_keeps_the_query(desk):
    await desk.enrol()
    await desk.sync.sync()
    await desk.sync.sync()
    assert len(desk.plane.jtis) == sum("dpop" in headers for _, _, headers, _ in desk.plane.seen) == 4


# --- what goes wrong --------------------------------------------------------------------------------------------------


async def test_a_bad_bundle_never_stops_the_upload(desk):
    await desk.enrol()
    desk.plane.publish(2, "this is not cedar")
    assert (await failed(desk)).startswith(f"{words.INVALID_POLICY}: line 1, column 6")
    assert desk.uploaded == list(range(1, desk.ledger.head().id + 1))
    assert (await desk.status()).progress.state is DeviceState.FAILING
    desk.plane.publish(3, NEXT)
    assert (await desk.sync.sync()).policy_applied
    assert (await desk.status()).progress.last_error == ""


async def test_a_control_plane_that_does_not_answer_is_named_and_the_policy_stays(desk):
    await desk.enrol()
    desk.outbound.cut = lambda _: UpstreamError("the upstream could not be connected to", sent=False)
    assert await failed(desk) == f"{words.UNREACHABLE}: the upstream could not be connected to"
    assert desk.policy.current()[0] == POLICY
    desk.outbound.cut = lambda _: None
    assert (await desk.sync.sync()).receipts_uploaded == 4


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((302, {"location": "http://elsewhere.example/"}, b""), "answered 302"),
        ((200, {}, b"<html>"), words.UNEXPECTED),
        ((200, {}, b"{}"), words.MALFORMED),
        ((200, {}, b'{"policy_bundle":null,"freshness":[]}'), words.UNEXPECTED),
        ((200, {}, b" " * (5 << 20)), "too large"),
        ((503, {"retry-after": "7"}, b"later"), "answered 503"),
        (refusal(500, "database_down"), "database_down"),
        ((401, {}, b"{"), "answered 401"),
    ],
)
async def test_an_answer_that_is_no_policy_is_named(desk, answer, expected):
    await desk.enrol()
    desk.plane.answer = lambda method, _: answer if method == "GET" else None
    assert expected in await failed(desk)
    assert desk.policy.current()[0] == POLICY


@pytest.mark.parametrize("word", [words.UNKNOWN_DEVICE, words.INVALID_TOKEN])
async def test_a_device_that_was_revoked_is_told_so_sends_nothing_more_and_can_be_enrolled_again(desk, word):
    await desk.enrol()
    desk.plane.answer = lambda *_: refusal(401, word)
    assert (await failed(desk)).startswith(word)
    assert (await desk.status()).progress.state is DeviceState.REVOKED
    assert not any(target.endswith("/receipts") for _, target, _, _ in desk.plane.seen)
    desk.plane.answer = lambda *_: None
    await desk.enrol()
    assert (await desk.sync.sync()).receipts_uploaded > 0
    assert (await desk.status()).progress.state is DeviceState.SYNCED


async def test_a_word_of_freshness_that_ran_out_makes_the_standing_stale(desk):
    await desk.enrol()
    desk.plane.siblings = {"freshness": desk.plane.key.freshness(2, desk.clock.now_us() + HOUR_US)}
    desk.plane.publish(2, NEXT)
    await desk.sync.sync()
    assert (await desk.status()).progress.fresh_until_us == desk.clock.now_us() + HOUR_US
    desk.outbound.cut = lambda _: UpstreamError("down")
    await failed(desk)
    assert (await desk.status()).progress.state is DeviceState.FAILING
    desk.clock.advance(us=HOUR_US)
    await failed(desk)
    assert (await desk.status()).progress.state is DeviceState.STALE


async def test_a_sync_that_cannot_be_recorded_is_a_fault_of_the_store(desk):
    await desk.enrol()
    desk.plane.publish(2, NEXT)
    desk.ledger.broken = "EIO"
    with pytest.raises(StoreError):
        await desk.sync.sync()
    assert (await desk.status()).progress.last_error.startswith("receipts_unavailable")


@pytest.mark.parametrize("body", [b"<html>", b" " * (5 << 20), b'{"policy_bundle":'])
async def test_a_policy_that_cannot_even_be_read_never_stops_the_upload(desk, body):
    await desk.enrol()
    desk.plane.answer = lambda method, _: (200, {}, body) if method == "GET" else None
    await failed(desk)
    assert desk.uploaded == list(range(1, desk.ledger.head().id + 1))


async def test_nothing_is_uploaded_where_nobody_answers(desk):
    await desk.enrol()
    asked = []
    desk.outbound.cut = lambda request: asked.append(request) or UpstreamError("down", sent=False)
    await failed(desk)
    assert len(asked) == 1


# --- what the control plane is told -----------------------------------------------------------------------------------


async def test_a_control_plane_is_told_which_bundle_runs_and_which_was_tried_once(desk):
    await desk.enrol()
    await desk.sync.sync()
    await desk.sync.sync()
    desk.plane.publish(2, "this is not cedar")
    problem = await failed(desk)
    told = [
        {name: said[name] for name in ("running_bundle_id", "tried_bundle_id", "last_error")}
        for said in desk.plane.said
    ]
    assert told == [
        {"running_bundle_id": 1, "tried_bundle_id": 1, "last_error": None},
        {"running_bundle_id": 1, "tried_bundle_id": 2, "last_error": problem},
    ]


async def test_a_control_plane_that_takes_no_status_is_not_told_again(desk):
    desk.plane.takes_status = False
    await desk.enrol()
    await desk.sync.sync()
    desk.plane.publish(2, NEXT)
    assert (await desk.sync.sync()).policy_applied
    assert sum(target.endswith("/status") for _, target, _, _ in desk.plane.seen) == 1


async def test_a_word_of_freshness_is_renewed_before_it_ends_though_the_bundle_is_the_same(desk):
    def asked(*, is_held: bool) -> list[bool]:
        """Whether each request for the policy named what is known."""
        seen = [(target, headers) for method, target, headers, _ in desk.plane.seen if method == "GET"]
        return ["if-none-match" in headers for target, headers in seen if ("wait_ms" in target) == is_held]

    async def one_round() -> None:
        held = len(asked(is_held=True))
        loop = asyncio.create_task(desk.sync.run())
        await until(lambda: len(asked(is_held=True)) > held)
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    desk.plane.siblings = {"freshness": desk.plane.key.freshness(1, desk.clock.now_us() + HOUR_US)}
    await desk.enrol()
    await one_round()
    await one_round()
    desk.clock.advance(us=HOUR_US - 60_000_000)
    await one_round()
    assert asked(is_held=False) == [False, True, False]


# --- the watermark ----------------------------------------------------------------------------------------------------


async def test_an_answer_that_was_lost_sends_the_receipts_again_and_none_twice(desk):
    await desk.enrol()
    real = desk.plane.handle

    def lose(method, target, *rest):
        answer = real(method, target, *rest)
        if target.endswith("/receipts"):
            raise UpstreamError("the upstream closed the connection without an answer")
        return answer

    desk.plane.handle = lose
    await failed(desk)
    assert (await desk.status()).progress.uploaded_id == 0
    desk.plane.handle = real
    await desk.sync.sync()
    assert desk.uploaded == list(range(1, desk.ledger.head().id + 1))


async def test_a_crash_before_the_watermark_is_kept_loses_and_doubles_nothing(desk, monkeypatch):
    await desk.enrol()
    real = desk.database.run

    async def dying(work):
        if desk.uploaded and "upsert" in work.__qualname__:
            raise Crash
        return await real(work)

    monkeypatch.setattr(desk.database, "run", dying)
    with pytest.raises(Crash):
        await desk.sync.sync()
    monkeypatch.undo()
    await desk.restart()
    await desk.sync.sync()
    assert desk.uploaded == list(range(1, desk.ledger.head().id + 1))


@pytest.mark.parametrize("says_last", [True, False])
async def test_metadata_that_was_lost_begins_the_upload_anew_and_the_control_plane_takes_what_it_has(desk, says_last):
    await desk.enrol()
    await desk.sync.sync()
    await desk.database.run(lambda connection: connection.execute("DELETE FROM sync_progress"))
    desk.plane.says_last = says_last
    await desk.receipt()
    await desk.restart()
    await desk.sync.sync()
    assert desk.uploaded == list(range(1, desk.ledger.head().id + 1))


async def test_enrolling_again_goes_on_from_what_the_control_plane_has(desk):
    await desk.enrol()
    await desk.sync.sync()
    await desk.database.run(lambda connection: connection.execute("DELETE FROM sync_progress"))
    await desk.restart()
    await desk.enrol()
    assert (await desk.status()).progress.uploaded_id == 4
    assert (await desk.sync.sync()).receipts_uploaded == desk.ledger.head().id - 4
    assert desk.uploaded == list(range(1, desk.ledger.head().id + 1))


async def test_a_control_plane_that_lost_receipts_is_given_them_again(desk):
    await desk.enrol()
    await desk.sync.sync()
    kept = desk.plane.receipts[desk.enrolment.device_id]
    del kept[2:]
    await desk.receipt()
    await desk.sync.sync()
    assert desk.uploaded == list(range(1, desk.ledger.head().id + 1))


async def test_a_chain_that_is_another_than_the_control_plane_has_is_a_fork_and_no_receipt_is_skipped(desk):
    await desk.enrol()
    await desk.sync.sync()
    desk.plane.receipts[desk.enrolment.device_id][-1]["hash_hex"] = "f" * 64
    await desk.receipt()
    problem = await failed(desk)
    assert problem == "receipt_prev_hash_mismatch: the control plane takes no more receipts of this device"
    assert (await desk.status()).progress.uploaded_id == 4


async def test_a_restored_device_whose_chain_went_on_elsewhere_is_a_fork(desk):
    await desk.enrol()
    await desk.sync.sync()
    kept = await desk.database.run(lambda connection: connection.execute("SELECT * FROM sync_progress").fetchone())
    for _ in range(3):
        await desk.receipt()
    await desk.sync.sync()

    del desk.ledger.chain[4:]  # a backup of before those three, put back with its metadata
    query = "UPDATE sync_progress SET progress = ?"
    await desk.database.run(lambda connection: connection.execute(query, kept[2:]))
    await desk.restart()
    desk.clock.advance(us=1)
    await desk.receipt()
    assert (await failed(desk)).startswith(words.FORK)
    assert ((await desk.status()).progress.uploaded_id, desk.uploaded) == (4, [1, 2, 3, 4, 5, 6, 7])

    before = desk.enrolment  # as another device, it goes on with the chain that it has
    await desk.sync.enrol(Wanted(BASE_URL, ADMIN_TOKEN, "restored", is_new_device=True), "ann")
    await desk.sync.sync()
    assert desk.enrolment.device_id != before.device_id
    assert desk.uploaded == list(range(1, desk.ledger.head().id + 1))
    assert [receipt["id"] for receipt in desk.plane.receipts[before.device_id]] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_server_that_answers_with_other_words_each_time_is_not_followed_for_ever(desk):
    await desk.enrol()
    told = iter(range(1, 1_000))
    desk.plane._receive = lambda *_: (
        400, {}, json.dumps({"code": words.NOT_MONOTONIC, "last_receipt_id": next(told) % 3}).encode(),
    )  # fmt: skip
    await failed(desk)
    assert next(told) <= uploads.MAX_RESUMPTIONS + 3


# --- the loop ---------------------------------------------------------------------------------------------------------


async def test_the_loop_begins_when_the_daemon_is_enrolled_and_ends_with_it(desk):
    loop = asyncio.create_task(desk.sync.run())
    await asyncio.sleep(0)
    await desk.enrol()
    await until(lambda: desk.uploaded == [1, 2, 3, 4])
    await desk.sync.leave("ann")
    asked = len(desk.plane.seen)
    await desk.receipt()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(desk.plane.seen) == asked
    await desk.enrol()
    await until(lambda: len(desk.uploaded) == desk.ledger.head().id)
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop


async def test_a_control_plane_that_holds_the_request_has_its_policy_applied_at_once(desk):
    held = asyncio.Event()
    real = desk.outbound.request

    async def holding(request):
        if "wait_ms" in request.url and not held.is_set():
            await held.wait()
        return await real(request)

    desk.outbound.request = holding
    loop = asyncio.create_task(desk.sync.run())
    await desk.enrol()
    await until(lambda: desk.uploaded == [1, 2, 3, 4])
    desk.plane.publish(2, NEXT)
    held.set()
    await until(lambda: desk.enrolment.bundle_id == 2)
    await until(lambda: len(desk.uploaded) == desk.ledger.head().id)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_a_control_plane_that_answers_a_held_request_at_once_is_not_asked_again_at_once(desk):
    loop = asyncio.create_task(desk.sync.run())
    await desk.enrol()
    await until(lambda: desk.uploaded == [1, 2, 3, 4])
    for _ in range(200):
        await asyncio.sleep(0.001)
    assert sum("wait_ms" in target for _, target, _, _ in desk.plane.seen) <= 2
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_what_nobody_foresaw_does_not_end_the_loop(desk, monkeypatch):
    monkeypatch.setattr(desk.sync, "_idle", lambda _: asyncio.sleep(0))
    await desk.enrol()
    real, asked = desk.outbound.request, []

    async def broken(request):
        asked.append(request)
        if len(asked) < 3:
            raise RuntimeError("a bug")
        return await real(request)

    desk.outbound.request = broken
    loop = asyncio.create_task(desk.sync.run())
    await until(lambda: desk.uploaded == [1, 2, 3, 4])
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_a_failure_of_any_kind_does_not_end_the_loop(desk):
    loop = asyncio.create_task(desk.sync.run())
    desk.plane.key = SigningKey(3)
    desk.plane.publish(1)
    await desk.enrol()
    await until(lambda: desk.uploaded)
    desk.plane.answer = lambda *_: refusal(503, "away")
    assert not loop.done()
    await failed(desk)
    assert not loop.done()
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
