"""What a control plane promises of receipts: kept as they came, each once, an upload whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.core.fleet import words
from briefcase.core.fleet.batches import MAX_RECEIPTS
from briefcase.core.receipts.chain import GENESIS_HASH_HEX
from briefcase.edges.conformance.checks import BrokenError, Check, NotOfferedError, body_of
from briefcase.edges.conformance.fleet_receipts import (
    SentReceipt,
    audited,
    chain,
    check_kept,
    hash_of,
    stored_of,
    upload_of,
)
from briefcase.edges.conformance.fleet_subject import RECEIPTS, FleetSubject, SubjectDevice, expect_word


async def _stored(subject: FleetSubject) -> None:
    device = await subject.new_device()
    sent = chain(3)
    await _expect_stored(device, (), 0, "an upload of nothing")
    await _expect_stored(device, sent[::-1], 3, "an upload, the newest first")
    more = chain(2, first_id=4, after=sent[-1].hash_hex)
    await _expect_stored(device, more, 2, "the next upload")
    await _expect_kept(subject, device, [*sent, *more])


async def _gaps(subject: FleetSubject) -> None:
    device = await subject.new_device()
    sent = chain(3, first_id=10, step=7)
    await _expect_stored(device, sent, 3, "receipts whose ids have gaps")
    await _expect_kept(subject, device, sent)


async def _bound(subject: FleetSubject) -> None:
    device = await subject.new_device()
    most = chain(MAX_RECEIPTS + 1)
    await _expect_refused(device, most, words.TOO_MANY_RECEIPTS, f"an upload of {MAX_RECEIPTS + 1} receipts")
    await _expect_stored(device, most[:-1], MAX_RECEIPTS, f"an upload of {MAX_RECEIPTS} receipts")


async def _prev(subject: FleetSubject) -> None:
    device = await subject.new_device()
    sent = chain(2)
    await _expect_stored(device, sent, 2, "an upload")
    await _expect_refused(
        device, chain(1, first_id=3), words.PREV_HASH_MISMATCH, "a receipt that does not continue the one before"
    )
    broken = [chain(1, first_id=3, after=sent[-1].hash_hex)[0], chain(1, first_id=4, after="f" * 64)[0]]
    await _expect_refused(device, broken, words.PREV_HASH_MISMATCH, "a batch whose receipts do not join")
    await _expect_kept(subject, device, sent)


async def _hash(subject: FleetSubject) -> None:
    device = await subject.new_device()
    good = chain(1)[0]
    sorted_event = msgspec.json.encode(dict(sorted(msgspec.json.decode(good.event).items()))).decode()
    for what, receipt in {
        "a receipt with another hash": good._replace(hash_hex="0" * 64),
        "a receipt whose event was changed": good._replace(event=good.event.replace("allow", "deny")),
        "a receipt whose hash is of its event with sorted members": good._replace(
            hash_hex=hash_of(GENESIS_HASH_HEX, sorted_event)
        ),
    }.items():
        await _expect_refused(device, [receipt], words.HASH_MISMATCH, what)
    await _expect_kept(subject, device, [])


async def _monotonic(subject: FleetSubject) -> None:
    device = await subject.new_device()
    sent = chain(2, first_id=5, step=5)
    await _expect_refused(device, [sent[0], sent[0]], words.NOT_MONOTONIC, "a batch with an id twice")
    await _expect_stored(device, sent, 2, "an upload")
    late = chain(1, first_id=7, after=sent[0].hash_hex)
    await _expect_refused(device, late, words.NOT_MONOTONIC, "a receipt whose id is below one that is stored")
    await _expect_kept(subject, device, sent)


async def _whole(subject: FleetSubject) -> None:
    device = await subject.new_device()
    sent = chain(4)
    torn = [*sent[:3], sent[3]._replace(hash_hex="0" * 64)]
    await _expect_refused(device, torn, words.HASH_MISMATCH, "a batch whose last receipt is not as it must be")
    await _expect_kept(subject, device, [])
    await _expect_stored(device, sent, 4, "the same batch as it must be")


async def _again(subject: FleetSubject) -> None:
    device = await subject.new_device()
    sent = chain(3)
    await _expect_stored(device, sent[:2], 2, "an upload")
    response = await device.call("POST", "receipts", upload_of(sent[:2]))
    if response.status == HTTPStatus.BAD_REQUEST:
        expect_word(response, HTTPStatus.BAD_REQUEST, words.NOT_MONOTONIC, "receipts that are stored")
        raise NotOfferedError("an upload whose answer was lost cannot be sent again")
    stored_of(body_of(response, HTTPStatus.OK, "receipts that are stored"), 0, "receipts that are stored")
    await _expect_stored(device, sent, 1, "an upload with receipts that are stored and one that is not")
    await _expect_kept(subject, device, sent)


async def _fork(subject: FleetSubject) -> None:
    device = await subject.new_device()
    sent = chain(3)
    await _expect_stored(device, sent, 3, "an upload")
    forked = chain(2, first_id=2, after=sent[0].hash_hex, mark="fork")
    rolled_back = chain(2, mark="from the beginning")
    named = []
    for what, receipts in {"a chain that was told otherwise": forked, "a chain that begins anew": rolled_back}.items():
        response = await device.call("POST", "receipts", upload_of(receipts))
        if response.status == HTTPStatus.BAD_REQUEST:
            expect_word(response, HTTPStatus.BAD_REQUEST, words.NOT_MONOTONIC, what)
            continue
        expect_word(response, HTTPStatus.CONFLICT, words.FORK, what)
        named.append(what)
    await _expect_kept(subject, device, sent)
    await _expect_stored(device, chain(1, first_id=4, after=sent[-1].hash_hex), 1, "what continues the chain")
    if not named:
        raise NotOfferedError(f"a fork is refused without a name (`{words.FORK}`)")


async def _watermark(subject: FleetSubject) -> None:
    device = await subject.new_device()
    sent = chain(3)
    answer = body_of(await device.call("POST", "receipts", upload_of(sent)), HTTPStatus.OK, "an upload")
    if "last_receipt_id" not in answer:
        raise NotOfferedError("`last_receipt_id`")
    gap = await device.call("POST", "receipts", upload_of(chain(1, first_id=9)))
    refused = body_of(gap, HTTPStatus.BAD_REQUEST, "a receipt that does not continue the chain")
    for what, said in {"an upload": answer, "a refused upload": refused, "an enrolment": await device.enrol()}.items():
        if said.get("last_receipt_id") != sent[-1].id:
            raise BrokenError(f"expected {what} to answer `last_receipt_id` {sent[-1].id}")


async def _expect_stored(device: SubjectDevice, receipts: Sequence[SentReceipt], count: int, what: str) -> None:
    answer = body_of(await device.call("POST", "receipts", upload_of(receipts)), HTTPStatus.OK, what)
    stored_of(answer, count, what)


async def _expect_refused(device: SubjectDevice, receipts: Sequence[SentReceipt], word: str, what: str) -> None:
    response = await device.call("POST", "receipts", upload_of(receipts))
    expect_word(response, HTTPStatus.BAD_REQUEST, word, what)


async def _expect_kept(subject: FleetSubject, device: SubjectDevice, sent: Sequence[SentReceipt]) -> None:
    response = await subject.admin("GET", f"{RECEIPTS}?device_id={device.id}&limit=500")
    if response.status != HTTPStatus.OK:
        raise BrokenError(f"expected `GET {RECEIPTS}` to answer 200, got {response.status}")
    check_kept(sent, audited(response))


CHECKS: Final[Sequence[Check[FleetSubject]]] = (
    Check("receipts_stored", "receipts are kept as the bytes that came, in whatever order they came", _stored),
    Check("receipts_gaps", "ids of receipts may have gaps", _gaps),
    Check("receipts_bound", "an upload has at most 500 receipts, else `too_many_receipts`", _bound),
    Check("receipts_prev", "what does not continue the chain is `receipt_prev_hash_mismatch`", _prev),
    Check("receipts_hash", "a hash is over the event as it stands on the wire", _hash),
    Check("receipts_monotonic", "an id that does not grow is `receipt_id_not_monotonic`", _monotonic),
    Check("receipts_whole", "an upload is stored whole or not at all", _whole),
    Check("receipts_again", "what is stored with the same hash is taken again, as nothing new", _again),
    Check("receipts_fork", "a chain that is told in two ways is refused, as `receipt_fork`", _fork),
    Check("receipts_watermark", "each answer about receipts says how far they are stored", _watermark),
)
