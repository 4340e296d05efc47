"""Rounds of the witnesses: what is asked, verified and kept; one who lies or is away is an alarm and no more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from briefcase.adapters.backup.checkpoints import Checkpoints
from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.vault.identity import Identity
from briefcase.adapters.vault.note_signatures import verify_note_signature
from briefcase.adapters.witness.client import WitnessClient
from briefcase.adapters.witness.kept import FILE_NAME, read_kept
from briefcase.adapters.witness.rounds import LATE_ROUNDS, Witnessing, WitnessingParts
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.witnesses import MAX_WITNESSES, WitnessAdmin
from briefcase.core.receipts.note_keys import LOG_ED25519, NoteKey
from briefcase.core.receipts.quorums import Group, WitnessPolicy
from briefcase.core.receipts.witnessed import read_witnessed
from briefcase.core.receipts.witnessing import SIZE_TYPE
from briefcase.model.effects import Entry
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import HttpRequest, HttpResponse
from briefcase.model.types import US_PER_S
from support.clock import FakeClock
from support.hostile_servers import RawServer, close_outbound, http_answer
from support.ledger import MemoryLedger
from support.waiting import until
from support.witnesses import CosignerKey, FakeWitness

IDENTITY = Identity(bytes(range(32)))
LOG = NoteKey(IDENTITY.did, LOG_ED25519, IDENTITY.public_key)


class Wire:
    """The way out, to witnesses by their host; `answer` replaces what one would say."""

    def __init__(self) -> None:
        self.witnesses: dict[str, FakeWitness] = {}
        self.answer: dict[str, HttpResponse | Exception] = {}
        self.sent: list[HttpRequest] = []

    async def request(self, request: HttpRequest) -> HttpResponse:
        self.sent.append(request)
        await asyncio.sleep(0)
        host = request.url.split("/")[2]
        said = self.answer.get(host)
        if isinstance(said, Exception):
            raise said
        if said is not None:
            return said
        status, content_type, body = self.witnesses[host].answer(request.body or b"")
        return HttpResponse(status, {"content-type": content_type}, body)


class Bench:
    """A log of a ledger in memory and the witnesses it was given."""

    def __init__(self, data_dir: Path, policy: WitnessPolicy | None = None) -> None:
        self.clock = FakeClock()
        self.ledger = MemoryLedger(self.clock)
        self.wire = Wire()
        self.data_dir = data_dir
        self.policy = policy
        self.administration = Administration(self.ledger)
        self.open()

    def open(self) -> None:
        """As a start does."""
        client = WitnessClient(self.wire)
        self.admin = WitnessAdmin(self.administration, self.ledger, client, self.clock)
        self.checkpoints = Checkpoints(self.ledger, IDENTITY.did, IDENTITY.public_key, IDENTITY.sign)
        self.witnessing = Witnessing(
            WitnessingParts(
                checkpoints=self.checkpoints,
                ledger=self.ledger,
                admin=self.admin,
                client=client,
                data_dir=self.data_dir,
                policy=self.policy,
                log=LOG,
                verify=verify_note_signature,
                clock=self.clock,
                seed=lambda: 0.5,
                interval_s=60,
            )
        )

    async def witness(self, host: str, *cosigners: CosignerKey) -> FakeWitness:
        """Run a witness and add each of its keys."""
        found = FakeWitness(list(cosigners), now_s=self.clock.now_us() // US_PER_S)
        found.know(LOG)
        self.wire.witnesses[host] = found
        for cosigner in cosigners:
            await self.admin.add(f"https://{host}/w", cosigner.public.vkey, "ops")
        return found

    async def grow(self, count: int = 3) -> None:
        """Append receipts."""
        for _ in range(count):
            await self.ledger.commit(Entry({"kind": "x"}))

    async def standing(self, number: int = 0):
        """How it goes with one witness."""
        return (await self.witnessing.standings())[number][1]

    @property
    def size(self) -> int:
        """How many receipts there are."""
        return self.ledger.head().id


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


ED = CosignerKey("ed.example", seed=50)
MLDSA = CosignerKey("ml.example", seed=51, is_mldsa=True)


async def test_a_log_that_grows_is_cosigned_each_round_by_keys_of_both_kinds(bench):
    ed, both = await bench.witness("a", ED), await bench.witness("b", MLDSA)
    for _ in range(4):
        await bench.grow()
        await bench.witnessing.round()
        judged = await bench.witnessing.judge()
        assert (judged.quorum.is_met, judged.quorum.size, judged.difference) == (True, bench.size, None)
        assert {one.key for one in judged.quorum.by} == {ED.public, MLDSA.public}
    assert [request.old_size for request in ed.requests] == [0, 5, 8, 11]
    assert len(both.requests) == 4
    assert [witness.url for witness in bench.admin.list()] == ["https://a/w", "https://b/w"]
    assert {request.url for request in bench.wire.sent} == {"https://a/w/add-checkpoint", "https://b/w/add-checkpoint"}


async def test_two_keys_at_one_address_are_asked_once(bench):
    witness = await bench.witness("a", ED, MLDSA)
    await bench.witnessing.round()
    assert len(witness.requests) == 1
    assert (await bench.witnessing.judge()).quorum.size == bench.size


async def test_nothing_is_sent_where_nothing_was_added(bench):
    witness = await bench.witness("a", ED)
    await bench.witnessing.round()
    await bench.witnessing.round()
    assert len(witness.requests) == 1


async def test_what_was_cosigned_outlives_a_restart_and_the_next_proof_goes_on_from_it(bench):
    witness = await bench.witness("a", ED)
    await bench.witnessing.round()
    first = bench.size
    bench.open()
    assert (await bench.standing()).size == first
    await bench.grow(9)
    await bench.witnessing.round()
    assert [request.old_size for request in witness.requests] == [0, first]
    assert (await bench.standing()).size == bench.size


async def test_a_witness_that_knows_more_than_we_kept_is_proven_to_from_there(bench):
    witness = await bench.witness("a", ED)
    await bench.witnessing.round()
    first = bench.size
    (bench.data_dir / FILE_NAME).unlink()  # a crash before it was written
    bench.open()
    await bench.grow(5)
    await bench.witnessing.round()
    assert [request.old_size for request in witness.requests] == [0, 0, first]
    assert (await bench.standing()).size == bench.size


async def test_a_history_other_than_the_cosigned_one_is_an_alarm_at_both_ends(bench):
    witness = await bench.witness("a", ED)
    await bench.witnessing.round()
    rewritten = MemoryLedger(bench.clock)
    await rewritten.commit(Entry({"kind": "another"}))
    for _ in range(9):
        await rewritten.commit(Entry({"kind": "x"}))
    rewritten.settings.update(bench.ledger.settings)
    bench.ledger, before = rewritten, bench.size
    bench.open()
    judged = await bench.witnessing.judge()
    assert judged.difference.size == before
    assert not judged.quorum.is_met
    bench.administration = Administration(rewritten)
    bench.open()
    await bench.witnessing.round()
    standing = await bench.standing()
    assert (standing.is_alarm, "does not continue" in standing.problem) == (True, True)
    assert "rolled back" in standing.hint
    assert witness.seen[LOG.name].size == before


async def test_a_chain_that_was_cut_off_or_put_back_is_an_alarm_before_anything_is_sent(bench):
    witness = await bench.witness("a", ED)
    await bench.grow(9)
    await bench.witnessing.round()
    del bench.ledger.chain[5:]
    bench.open()
    await bench.witnessing.round()
    standing = await bench.standing()
    assert standing.is_alarm
    assert standing.problem == "cosigned 10 receipts of this log, and there are 5 here"
    assert len(witness.requests) == 1
    judged = await bench.witnessing.judge()
    assert judged.difference.expected == "10 receipts at least"


async def test_an_older_copy_of_the_whole_directory_is_an_alarm_by_what_the_witness_says(bench):
    await bench.witness("a", ED)
    await bench.grow(9)
    await bench.witnessing.round()
    del bench.ledger.chain[5:]
    (bench.data_dir / FILE_NAME).unlink()
    bench.open()
    await bench.witnessing.round()
    standing = await bench.standing()
    assert (standing.is_alarm, standing.problem) == (True, "cosigned 10 receipts of this log, and there are 5 here")


def lines(*cosigned: str) -> HttpResponse:
    return HttpResponse(200, {"content-type": "text/plain"}, "".join(cosigned).encode())


HOSTILE = {
    "another key's cosignature": (
        lambda point, now: lines(CosignerKey("ed.example", seed=99).cosign(point, now).text),
        "answered with no cosignature by its key",
    ),
    "another checkpoint's": (
        lambda point, now: lines(ED.cosign(type(point)(point.origin, point.size + 1, point.root), now).text),
        "is not of this checkpoint",
    ),
    "a time in the future": (lambda point, now: lines(ED.cosign(point, now + 3_600).text), "in the future"),
    "no time": (lambda point, now: lines(ED.cosign(point, 0).text), "has no time"),
    "no lines": (lambda point, now: lines(), "answered with no cosignature by its key"),
    "no text": (lambda point, now: HttpResponse(200, {}, b"\xff\xfe"), "in UTF-8"),
    "a page": (lambda point, now: lines("<html>\n"), "expected a signature line"),
    "a redirect": (lambda point, now: HttpResponse(302, {"location": "https://b/"}, b""), "answered with 302"),
    "a fault": (lambda point, now: HttpResponse(500, {}, b"x" * 9), "answered with 500"),
    "unknown log": (lambda point, now: HttpResponse(404, {}, b"who?"), "does not know this log or its key (404: who?)"),
    "no size": (lambda point, now: HttpResponse(409, {"content-type": SIZE_TYPE}, b"x"), "409 with no size"),
    "another size each time": (
        lambda point, now: HttpResponse(409, {"content-type": SIZE_TYPE}, b"1\n"),
        "409 with another size each time",
    ),
    "silence": (lambda point, now: UpstreamError("no answer within 10,000 ms", code="upstream_timeout"), "no answer"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_witness_that_lies_is_not_believed_and_takes_nothing_else_with_it(bench, case):
    await bench.witness("a", ED)
    honest = await bench.witness("b", MLDSA)
    answer, said = HOSTILE[case]
    now_s = bench.clock.now_us() // US_PER_S
    signed = await bench.checkpoints.sign()
    bench.wire.answer["a"] = answer(signed.checkpoint, now_s)
    await bench.witnessing.round()
    standing = await bench.standing(0)
    assert said in standing.problem
    assert (standing.size, standing.is_alarm) == (0, False)
    assert (await bench.standing(1)).size == bench.size == honest.seen[LOG.name].size
    assert not (await bench.witnessing.judge()).quorum.is_met
    assert len([one for one in bench.wire.sent if "//a/" in one.url]) <= 2


async def test_a_witness_that_stays_away_is_an_alarm_and_heard_again_when_it_is_back(bench):
    witness = await bench.witness("a", ED)
    bench.wire.answer["a"] = UpstreamError("connection refused")
    for number in range(1, LATE_ROUNDS + 2):
        await bench.grow()
        await bench.witnessing.round()
        standing = await bench.standing()
        assert (standing.failed, standing.is_alarm) == (number, number >= LATE_ROUNDS)
    assert bench.witnessing.figures() == (1, 1, 0)
    del bench.wire.answer["a"]
    await bench.witnessing.round()
    assert (await bench.standing()).problem == ""
    assert bench.witnessing.figures() == (1, 0, bench.size)
    assert len(witness.requests) == 1


async def test_a_quorum_of_the_policy_is_met_with_one_of_two(tmp_path):
    members = {"a": ED.public, "b": MLDSA.public}
    bench = Bench(tmp_path, WitnessPolicy("any", (), members, {"any": Group(1, ("a", "b"))}))
    await bench.witness("a", ED)
    await bench.witness("b", MLDSA)
    bench.wire.answer["b"] = UpstreamError("connection refused")
    await bench.witnessing.round()
    judged = await bench.witnessing.judge()
    assert (judged.quorum.is_met, judged.quorum.size) == (True, bench.size)
    await bench.admin.remove("ed.example", "ops")
    bench.witnessing.announce()
    assert (await bench.witnessing.judge()).quorum.is_met  # the policy still names its key


async def test_a_removed_witness_is_asked_nothing_and_vouches_for_nothing(bench):
    witness = await bench.witness("a", ED)
    await bench.witnessing.round()
    await bench.admin.remove("ed.example", "ops")
    bench.witnessing.announce()
    await bench.grow()
    await bench.witnessing.round()
    assert len(witness.requests) == 1
    assert await bench.witnessing.judge() is None
    assert bench.witnessing.figures() == (0, 0, 0)


async def test_what_is_kept_on_disk_is_bounded_whatever_comes(bench):
    await bench.witness("a", ED)
    await bench.witness("b", MLDSA)
    for number in range(12):
        bench.wire.answer = {"b": UpstreamError("away")} if number % 3 else {}
        await bench.grow(1)
        await bench.witnessing.round()
    kept = read_kept(bench.data_dir, LOG, [ED.public, MLDSA.public], verify_note_signature)
    assert len(kept) <= 2
    assert max(one.checkpoint.size for one in kept) == bench.size


@pytest.mark.parametrize("damage", [b"", b"{}", b"[", b'{"checkpoints": ["x"]}', b"\xff"])
async def test_a_file_that_is_not_as_it_was_written_is_said_and_made_anew(bench, damage):
    witness = await bench.witness("a", ED)
    await bench.witnessing.round()
    (bench.data_dir / FILE_NAME).write_bytes(damage)
    bench.open()
    judged = await bench.witnessing.judge()
    assert (judged.quorum.is_met, "not as it was written" in judged.problem) == (False, True)
    await bench.grow()
    await bench.witnessing.round()
    judged = await bench.witnessing.judge()
    assert (judged.quorum.size, judged.problem) == (bench.size, "")
    assert len(witness.requests) == 3


async def test_a_cosignature_that_was_changed_on_disk_counts_for_nothing(bench):
    await bench.witness("a", ED)
    await bench.witnessing.round()
    kept = read_kept(bench.data_dir, LOG, [ED.public], verify_note_signature)[0]
    forged = kept.note.replace(f"\n{kept.checkpoint.size}\n", f"\n{kept.checkpoint.size + 1}\n")
    with pytest.raises(CallerError):
        read_witnessed(forged, LOG, [ED.public], 1 << 60, verify_note_signature)


async def test_the_loop_begins_a_round_when_a_witness_is_added_and_outlives_a_fault(bench, monkeypatch):
    running = asyncio.create_task(bench.witnessing.run())
    try:
        await bench.witness("a", ED)
        bench.witnessing.announce()
        await until(lambda: bench.witnessing.figures()[2] == bench.size)
        monkeypatch.setattr(bench.checkpoints, "sign", None)  # a fault inside
        bench.witnessing.announce()
        await bench.grow()
        await asyncio.sleep(0)
        monkeypatch.undo()
        bench.witnessing.announce()
        await until(lambda: bench.witnessing.figures()[2] == bench.size)
    finally:
        running.cancel()


def endless(connection, _head):
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65_536)  # until the other side leaves


def redirecting(connection, _head):
    connection.sendall(http_answer(b"", "307 Temporary Redirect", Location="http://127.0.0.1:1/add-checkpoint"))


def leaving(connection, _head):
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nx")


@pytest.mark.parametrize(
    ("serve", "said"), [(endless, "cannot be reached"), (redirecting, "answered with 307"), (leaving, "cannot be")]
)
async def test_over_a_real_socket_an_answer_is_bounded_and_leads_nowhere(bench, serve, said):
    with RawServer(serve) as server:
        outbound = GuardedOutbound([server.address])
        bench.wire.request = outbound.request
        await bench.admin.add(f"{server.url}/w", ED.public.vkey, "ops")
        await bench.witnessing.round()
        assert said in (await bench.standing()).problem
        assert server.heads[0].startswith(b"POST /w/add-checkpoint HTTP/1.1\r\n")
        assert len(server.heads) == 1
        await close_outbound(outbound)


async def test_one_that_says_nothing_is_left_after_its_time_while_others_are_heard(bench, monkeypatch):
    monkeypatch.setattr("briefcase.adapters.witness.client.TIMEOUT_MS", 50)
    with RawServer(lambda *_: True) as server:
        outbound = GuardedOutbound([server.address])
        honest = await bench.witness("b", MLDSA)
        to_witnesses = bench.wire.request

        async def request(sent):
            return await (outbound.request(sent) if server.address in sent.url else to_witnesses(sent))

        bench.wire.request = request
        await bench.admin.add(f"{server.url}/w", ED.public.vkey, "ops")
        await bench.witnessing.round()
        standings = {witness.key: standing for witness, standing in await bench.witnessing.standings()}
        assert "cannot be reached" in standings[ED.public].problem
        assert standings[MLDSA.public].size == honest.seen[LOG.name].size == bench.size
        await close_outbound(outbound)


# --- the operator's noun ----------------------------------------------------------------------------------------------


async def test_adding_and_removing_leave_receipts_that_say_who_and_which(bench):
    await bench.witness("a", ED)
    removed = await bench.admin.remove(ED.public.label, "ops")
    assert removed.key == ED.public
    events = [receipt.event for receipt in bench.ledger.chain]
    assert [(event["kind"], event["by"], event["witness"], event["url"], event["algorithm"]) for event in events] == [
        (kind, "ops", ED.public.label, "https://a/w", "ed25519") for kind in ("witness_added", "witness_removed")
    ]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://a", "expected `https://host"),
        ("https://u:p@a/", "without userinfo"),
        ("https://a/#x", "without userinfo and without a fragment"),
        ("https://a/?x", "without a query"),
        ("https://a/" + "x" * 600, "at most 512"),
        ("http://witness.example/", "expected https"),
        ("http://10.0.0.1/", "expected https"),
        ("", "expected `https://host"),
    ],
)
async def test_an_address_that_nothing_is_sent_to_is_refused(bench, url, said):
    with pytest.raises(CallerError) as refused:
        await bench.admin.add(url, ED.public.vkey, "ops")
    assert said in refused.value.message
    assert "p@a" not in refused.value.message
    assert bench.admin.list() == ()


async def test_on_this_host_a_witness_may_be_spoken_to_in_clear_text(bench):
    for number, host in enumerate(("localhost:8080", "127.0.0.1:1", "[::1]:1")):
        await bench.admin.add(f"http://{host}/", CosignerKey("w", seed=60 + number).public.vkey, "ops")
    assert bench.admin.list()[0].url == "http://localhost:8080"


async def test_a_key_is_listed_once_and_there_are_so_many_at_most(bench):
    await bench.admin.add("https://a", ED.public.vkey, "ops")
    renamed = NoteKey("other.name", ED.public.type, ED.public.public_key)
    with pytest.raises(CallerError, match="already") as refused:
        await bench.admin.add("https://b", renamed.vkey, "ops")
    assert refused.value.code == "conflict"
    with pytest.raises(CallerError, match="is a log's"):
        await bench.admin.add("https://b", LOG.vkey, "ops")
    for number in range(1, MAX_WITNESSES):
        await bench.admin.add("https://a", CosignerKey("w", seed=100 + number).public.vkey, "ops")
    with pytest.raises(CallerError, match=f"{MAX_WITNESSES} witnesses already"):
        await bench.admin.add("https://a", CosignerKey("w", seed=99).public.vkey, "ops")
    with pytest.raises(CallerError, match="which several are called"):
        await bench.admin.remove("w", "ops")
    with pytest.raises(CallerError, match="no witness") as missing:
        await bench.admin.remove("nobody", "ops")
    assert missing.value.code == "not_found"


async def test_of_two_changes_at_once_none_is_lost(bench):
    adding = [bench.admin.add("https://a", CosignerKey("w", seed=60 + n).public.vkey, "ops") for n in range(2)]
    ended = await asyncio.gather(*adding, return_exceptions=True)
    refused = [one for one in ended if isinstance(one, CallerError)]
    assert len(bench.admin.list()) == 2 - len(refused)
    assert all(one.code == "conflict" for one in refused)
