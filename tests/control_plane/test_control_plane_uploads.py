"""Receipts at a control plane: each acknowledged one is stored once, and a chain that was told twice is named."""

import asyncio
import hashlib
import json

import pytest

from support.fleet_server import AUDITOR_TOKEN, chain


async def stored(plane, device) -> list[int]:
    got = await plane.admin("GET", f"/v1/audit/receipts?device_id={device.id}&limit=1000", token=AUDITOR_TOKEN)
    return [receipt["id"] for receipt in got.body["receipts"]][::-1]


async def test_receipts_are_stored_as_they_came(plane):
    device = await plane.new_device()
    receipts = chain(3)
    got = await device.upload(receipts[::-1])
    assert (got.status, got.body) == (200, {"stored": 3, "last_receipt_id": 3})
    listed = await plane.send(
        "GET", f"/v1/audit/receipts?device_id={device.id}", headers={"authorization": f"Bearer {AUDITOR_TOKEN}"}
    )
    newest = listed.body["receipts"][0]
    assert newest["hash_hex"] == receipts[-1]["hash_hex"]
    covered = newest["prev_hash_hex"] + json.dumps(newest["event"])
    assert hashlib.sha256(covered.encode()).hexdigest() == newest["hash_hex"]


async def test_receipts_are_paged_by_growing_id(plane):
    device, other = await plane.new_device(), await plane.new_device()
    await device.upload(chain(5))
    await other.upload(chain(5))
    found = []
    while page := (
        await plane.admin("GET", f"/v1/audit/receipts?device_id={device.id}&limit=2&after_id={len(found)}")
    ).body["receipts"]:
        found += [receipt["id"] for receipt in page]
    assert found == [1, 2, 3, 4, 5]


async def test_receipts_are_searched_by_what_their_events_say(plane):
    device, other = await plane.new_device(), await plane.new_device()
    told = {"tool_id": "mail", "principal": "scout", "decision": "deny", "approval_id": None}
    await device.upload(chain(1, event=told))
    await other.upload(chain(1, event=told | {"tool_id": "echo", "hostile": "\0"}))

    async def found(search: str) -> int:
        return len((await plane.admin("GET", f"/v1/audit/receipts?{search}")).body["receipts"])

    for search, count in {
        "tool_id=mail": 1, "tool_id=echo": 0, "tool_id=ma": 0, "agent=scout": 1, "agent=scout&decision=deny": 1,
        "decision=allow": 0, "approval_id=None": 0, f"device_id={other.id}": 1, f"tool_id=mail&device_id={other.id}": 0,
        "since=2026-01-01T00:00:00Z": 2, "since=2026-01-01T00:00:00.000001Z": 0, "until=2026-01-01T00:00:00Z": 0,
        "until=2026-01-01T01:00:01%2B01:00": 2,
    }.items():  # fmt: skip
        assert await found(search) == count, search
    assert (await plane.admin("GET", "/v1/audit/receipts?since=yesterday")).word == "invalid_request"


async def test_an_upload_whose_answer_was_lost_is_sent_again(plane):
    device = await plane.new_device()
    receipts = chain(6)
    await device.upload(receipts[:4])
    assert (await device.upload(receipts[:4])).body == {"stored": 0, "last_receipt_id": 4}
    assert (await device.upload(receipts[2:])).body == {"stored": 2, "last_receipt_id": 6}
    assert await stored(plane, device) == [1, 2, 3, 4, 5, 6]


async def test_a_chain_that_was_told_twice_is_a_fork_and_both_are_kept(plane):
    device = await plane.new_device()
    told = chain(4)
    await device.upload(told)
    other = chain(4, mark="another story")
    got = await device.upload(other)
    assert (got.status, got.word) == (409, "receipt_fork")
    assert await stored(plane, device) == [1, 2, 3, 4]
    rows = await plane.services.database.fetch("select * from forks")
    assert [(row["id"], row["stored_hash"].hex(), row["sent_hash"].hex()) for row in rows] == [
        (1, told[0]["hash_hex"], other[0]["hash_hex"])
    ]


async def test_a_chain_does_not_go_on_from_another_place(plane):
    device = await plane.new_device()
    await device.upload(chain(4))
    refused = await device.upload(chain(1, first_id=5))
    assert (refused.word, refused.body["last_receipt_id"]) == ("receipt_prev_hash_mismatch", 4)
    assert (await device.upload(chain(2, first_id=9, prev_hash_hex="1" * 64))).word == "receipt_prev_hash_mismatch"
    assert await stored(plane, device) == [1, 2, 3, 4]


async def test_ids_may_have_gaps_that_nothing_fills_later(plane):
    device = await plane.new_device()
    first = chain(2)
    later = chain(2, first_id=7, prev_hash_hex=first[-1]["hash_hex"])
    await device.upload(first)
    assert (await device.upload(later)).body == {"stored": 2, "last_receipt_id": 8}
    late = chain(1, first_id=4, prev_hash_hex=first[-1]["hash_hex"])
    assert (await device.upload(late)).word == "receipt_id_not_monotonic"


def spoiled(**members) -> list[dict]:
    receipts = chain(3)
    receipts[1] = receipts[1] | members
    return receipts


@pytest.mark.parametrize(
    ("receipts", "word"),
    [
        (chain(501), "too_many_receipts"),
        (spoiled(id=3), "receipt_id_not_monotonic"),
        (spoiled(prev_hash_hex="1" * 64), "receipt_prev_hash_mismatch"),
        (spoiled(event={"id": 2, "kind": "forged"}), "receipt_hash_mismatch"),
        (spoiled(id=0), "invalid_request"),
        (spoiled(id=2**53), "invalid_request"),
        (spoiled(id="2"), "invalid_request"),
        (spoiled(hash_hex="F" * 64), "invalid_request"),
        (spoiled(hash_hex="f" * 63), "invalid_request"),
        (spoiled(ts=""), "invalid_request"),
        (spoiled(event="no object"), "invalid_request"),
    ],
)
async def test_a_batch_is_stored_whole_or_not_at_all(plane, receipts, word):
    device = await plane.new_device()
    assert (await device.upload(receipts)).word == word
    assert await stored(plane, device) == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        '{"receipts":{}}',
        '{"receipts":[],"receipts":[]}',
        '{"receipts":[{"id":1,"ts":"t","prev_hash_hex":"'
        + "0" * 64
        + '","hash_hex":"'
        + "0" * 64
        + '","event":{"a":1,"a":2}}]}',
        '{"receipts":[]} {}',
    ],
)
async def test_a_body_that_two_readers_could_read_differently_is_refused(plane, body):
    device = await plane.new_device()
    got = await device.call("POST", "receipts", body)
    assert (got.status, got.word) == (400, "invalid_request")


async def test_a_refused_batch_has_used_its_proof(plane):
    device = await plane.new_device()
    proof = device.proof("POST", f"/v1/devices/{device.id}/receipts")
    assert (await device.call("POST", "receipts", {"receipts": chain(501)}, proof=proof)).word == "too_many_receipts"
    assert (await device.call("POST", "receipts", {"receipts": chain(1)}, proof=proof)).word == "replay_detected"
    assert await stored(plane, device) == []


async def test_too_large_a_body_is_refused_before_it_is_read_whole(plane):
    device = await plane.new_device()
    got = await device.call("POST", "receipts", '{"receipts":[' + " " * (8 << 20) + "]}")
    assert (got.status, got.word) == (413, "payload_too_large")


async def test_of_twenty_uploads_at_once_each_receipt_is_stored_once(plane):
    device = await plane.new_device()
    receipts = chain(10)
    answers = await asyncio.gather(*(device.upload(receipts) for _ in range(20)))
    assert [answer.status for answer in answers] == [200] * 20
    assert sorted(answer.body["stored"] for answer in answers) == [0] * 19 + [10]
    assert await stored(plane, device) == list(range(1, 11))


async def test_of_two_stories_told_at_once_one_is_a_fork(plane):
    device = await plane.new_device()
    answers = await asyncio.gather(*(device.upload(chain(5, mark=str(n))) for n in range(10)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 9
    assert await stored(plane, device) == [1, 2, 3, 4, 5]


async def test_a_device_stores_nothing_in_the_chain_of_another(plane):
    device, other = await plane.new_device(), await plane.new_device()
    path = f"/v1/devices/{other.id}/receipts"
    fields = {"authorization": f"Bearer {device.token}", "dpop": device.proof("POST", path)}
    got = await plane.send("POST", path, headers=fields, body=json.dumps({"receipts": chain(1)}))
    assert got.word == "invalid_token"
    assert await stored(plane, other) == []
