"""Approvals through the relay, both ends: a control plane that does with them what it likes, and what comes of it."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import uuid
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from briefcase.adapters.fleet.client import ControlPlaneClient
from briefcase.adapters.fleet.relaying import ApprovalRelay, RelayParts
from briefcase.adapters.fleet.sealing import seal, unseal
from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.signers.device import DeviceFile
from briefcase.adapters.system import SystemClock, SystemEntropy
from briefcase.adapters.vault.identity import Identity
from briefcase.core.jose.base64url import decode_base64url, encode_base64url
from briefcase.core.operator.approvals import Means, Ruling
from briefcase.core.operator.binding import binding_hex_of
from briefcase.core.operator.relay import FILL_BYTES, read_carried, write_carried
from briefcase.core.signers.signers import MAX_RELAYED_AGE_US, MAX_SKEW_US, NONCE_TTL_US
from briefcase.core.wire.relay import MAX_WAITING
from briefcase.model.errors import CallerError
from briefcase.model.types import US_PER_S, ApprovalStatus, Role
from support.daemons import RunningDaemon
from support.fleet_server import ADMIN_TOKEN, RunningControlPlane
from support.signers import NO, YES, Device, SigningDesk
from support.waiting import until

CANARY = "canary-5b1f"
PAUSE_S = 0.02
LISTED = "/v1/admin/approvals"
VERBS = {YES: "approve_binding", NO: "deny_binding"}
SMUGGLED = """
insert into relayed_answers (tenant, device, approval, sent_by, answer, body, sent_at)
values ('default', $1, $2, $3, gen_random_uuid(), $4, now() + make_interval(secs => $5))
"""


async def until_it(looks):
    """Wait for the first true answer of something that is asked elsewhere."""
    while True:
        if found := await looks():
            return found
        await asyncio.sleep(PAUSE_S)


def written(ruling) -> dict[str, str]:
    """A signer's ruling as an approver sends it."""
    signed = ruling.signed
    return {
        "action": VERBS[ruling.to], "signer_id": signed.signer_id, "binding_hex": ruling.binding_hex or "0" * 64,
        "ts_rfc3339": signed.ts, "nonce": signed.nonce, "sig_b64": signed.sig_b64,
    }  # fmt: skip


class RelayedDesk:
    """A device whose approvals wait in memory, enrolled at a real control plane, and the signers that it pinned."""

    def __init__(self, plane, *, seed: int = 5, says_heads: bool = False) -> None:
        self.plane, self.says_heads = plane, says_heads
        self.identity = Identity(bytes([seed]) * 32)
        self.did = self.identity.did
        self.desk = SigningDesk(did=self.did, clock=plane.clock)
        self.outbound = GuardedOutbound([plane.address.removeprefix("http://")])
        self.enrolment = None
        self.told: list[tuple[str, ApprovalStatus]] = []
        self.running: asyncio.Task[None] | None = None

    async def enrol(self) -> None:
        self.id = str(uuid.uuid4())
        public = encode_base64url(self.identity.public_key)
        body = {"device_id": self.id, "device_name": "laptop", "device_pubkey_b64": public}
        got = await self.plane.admin("POST", "/v1/admin/devices/enroll", body)
        self.token = got.body["device_token"]
        self.enrolment = SimpleNamespace(base_url=self.plane.address, device_id=self.id)

    def start(self) -> None:
        """Begin as a daemon does, with nothing but what the ledger has."""
        client = ControlPlaneClient(
            self.outbound,
            self.identity.proof_signer,
            device_pubkey_b64=encode_base64url(self.identity.public_key),
            clock=self.plane.clock,
            entropy=SystemEntropy(),
        )
        parts = RelayParts(
            enrolment=lambda: self.enrolment,
            client=client,
            tokens=self,
            ledger=self.desk.ledger,
            approvers=self.desk.approvers,
            desk=self.desk.desk,
            signers=self.desk.signers,
            sign=self.identity.sign,
            tell=lambda approval, to: self.told.append((approval.id, to)),
            says_heads=self.says_heads,
        )
        self.running = asyncio.create_task(ApprovalRelay(parts).run())

    async def current(self) -> str:
        return self.token

    async def stop(self) -> None:
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)

    async def restart(self) -> None:
        await self.stop()
        self.desk.restart()
        self.start()

    def ask(self, **changes) -> str:
        return self.desk.ask(str(uuid.uuid4()), **changes).id

    def status(self, approval_id: str) -> ApprovalStatus:
        return self.desk.ledger.approval(approval_id).status

    def ruling(self, phone: Device, document: dict, to=YES, now_us: int | None = None, **more):
        now_us = self.desk.now_us if now_us is None else now_us
        return phone.ruling(document["id"], now_us, to, binding_hex_of(document, self.did), **more)

    # --- a signer far away

    async def shown(self, approval_id: str) -> dict:
        return (await self.plane.admin("GET", f"{LISTED}/{self.id}/{approval_id}")).body

    async def sees(self, phone: Device, approval_id: str) -> dict:
        """The document, once the device has put it so that this signer opens it."""

        async def opened() -> dict | None:
            one = await self.shown(approval_id)
            with contextlib.suppress(CallerError, KeyError):
                sealed = decode_base64url(one["sealed_b64"])
                return read_carried(unseal(sealed, phone.key.private_bytes_raw()), self.did)
            return None

        return await until_it(opened)

    async def says(self, ruling, *, to: str = "") -> None:
        path = f"{LISTED}/{self.id}/{to or ruling.approval_id}/answer"
        got = await self.plane.admin("POST", path, written(ruling), token=self.approver)
        assert got.status == 200, got

    async def words(self, approval_id: str, count: int = 1) -> list[str]:
        """What the device said of its answers, once it did of all."""

        async def said() -> list[str] | None:
            found = [each["word"] for each in (await self.shown(approval_id))["answers"]]
            return found if len(found) == count and None not in found else None

        return await until_it(said)

    async def is_at(self, approval_id: str, status: str) -> dict | None:
        """The approval as approvers see it, where it has come to a status."""
        one = await self.shown(approval_id)
        return one if one.get("status") == status else None

    # --- a control plane that is not to be trusted

    async def smuggles(self, approval_id: str, body: dict, *, sent_by: str = "mallory", after_s: int = 0) -> None:
        """Write an answer into the database, as whoever runs the control plane could."""
        values = (uuid.UUID(self.id), uuid.UUID(approval_id), sent_by, json.dumps(body), after_s)
        await self.plane.services.database.fetch(SMUGGLED, *values)
        await self.plane.services.database.fetch("select pg_notify('briefcase_answers', '')")


@pytest.fixture
async def device(plane):
    made = await plane.admin("POST", "/v1/admin/tokens", {"name": "ada", "role": "approver"})
    relayed = RelayedDesk(plane)
    relayed.approver = made.body["token"]
    await relayed.enrol()
    relayed.start()
    yield relayed
    await relayed.stop()
    await relayed.outbound.close()


@pytest.fixture
async def phone(device):
    return await device.desk.pair(Device())


# --- as it should be ---


@pytest.mark.parametrize(("to", "status"), [(YES, "approved"), (NO, "rejected")])
async def test_a_signers_answer_is_decided_at_the_device_and_said_back(device, phone, to, status):
    approval_id = device.ask()
    document = await device.sees(phone, approval_id)
    assert document == device.desk.approvers.shown(device.desk.ledger.approval(approval_id))
    await device.says(device.ruling(phone, document, to))
    assert await device.words(approval_id) == ["taken"]
    assert device.status(approval_id) == status
    assert device.told == [(approval_id, to)]
    one = await device.shown(approval_id)
    assert (one["status"], "sealed_b64" in one) == (status, False)
    event = device.desk.ledger.chain[-1].event
    assert (event["kind"], event["by"], event["signer_id"]) == ("approval_decided", "operator", phone.signer_id)


async def test_what_was_decided_at_the_device_is_seen_by_approvers(device, phone):
    approval_id = device.ask()
    document = await device.sees(phone, approval_id)
    await device.desk.approvers.decide(Ruling(approval_id, NO, "operator", Role.OPERATOR))
    await until_it(lambda: device.is_at(approval_id, "rejected"))
    path = f"{LISTED}/{device.id}/{approval_id}/answer"
    late = await device.plane.admin("POST", path, written(device.ruling(phone, document)), token=device.approver)
    assert late.word == "conflict"


async def test_two_signers_of_two_people_say_yes_one_after_the_other(device, phone):
    await device.desk.let_in("ann")
    second = await device.desk.pair(Device(2), owner="ann")
    approval_id = device.ask(approvers=2)
    await device.says(device.ruling(phone, await device.sees(phone, approval_id)))
    await device.words(approval_id)

    async def shown_anew() -> dict | None:
        document = await device.sees(second, approval_id)
        return document if document["approvals_given"] == 1 else None

    document = await until_it(shown_anew)
    assert device.status(approval_id) == "pending"
    await device.says(device.ruling(second, document))
    await until(lambda: device.status(approval_id) == "approved")
    assert device.desk.ledger.approval(approval_id).approved_by == ("operator", "ann")


async def test_nothing_is_asked_of_the_control_plane_before_a_signer_is_paired(device):
    device.ask()
    await asyncio.sleep(0.6)
    assert (await device.plane.admin("GET", LISTED)).body == {"approvals": []}
    paths = {path for (_, path, _) in device.plane.services.figures._requests}
    assert not any("/approvals" in path for path in paths if path.startswith("/v1/devices/"))


async def test_what_waits_is_put_anew_after_a_start_and_where_the_control_plane_lost_it(device, phone):
    approval_id = device.ask()
    await device.sees(phone, approval_id)
    await device.restart()
    await device.plane.services.database.fetch("delete from relayed_approvals")
    await device.restart()
    await device.sees(phone, approval_id)


async def test_no_more_is_put_than_the_bound_and_the_next_when_one_ended(device, phone):
    asked = [device.ask() for _ in range(MAX_WAITING + 1)]
    await device.sees(phone, asked[-2])
    assert (await device.plane.admin("GET", f"{LISTED}/{device.id}/{asked[-1]}")).word == "not_found"
    await device.desk.approvers.decide(Ruling(asked[0], NO, "operator", Role.OPERATOR))
    await device.sees(phone, asked[-1])


async def test_a_device_that_left_relays_nothing_more(device, phone):
    approval_id = device.ask()
    await device.sees(phone, approval_id)
    enrolment, device.enrolment = device.enrolment, None
    later = device.ask()
    await asyncio.sleep(0.6)
    assert (await device.plane.admin("GET", f"{LISTED}/{device.id}/{later}")).word == "not_found"
    device.enrolment = enrolment
    await device.sees(phone, later)


# --- what the control plane can read ---


async def dumped(plane) -> str:
    """Every row of every table, as text and as what its bytes are."""
    database = plane.services.database
    tables = await database.fetch("select tablename from pg_tables where schemaname = 'public'")
    rows = [row[0] for table in tables for row in await database.fetch(f"select t::text from {table[0]} as t")]
    text = "\n".join(rows)
    found = [bytes.fromhex(each).decode("latin-1") for each in re.findall(r"\\x((?:[0-9a-f]{2})+)", text)]
    return "\n".join([text, *found])


async def test_a_dump_of_the_database_holds_no_word_of_a_sealed_call(device, phone):
    approval_id = device.ask(args_text=json.dumps({"text": CANARY}), tool_id=f"tool-{CANARY}", principal=f"p-{CANARY}")
    await until_it(lambda: device.is_at(approval_id, "pending"))
    assert CANARY not in await dumped(device.plane)
    assert CANARY in (await device.sees(phone, approval_id))["args_text"]
    # the same search finds what is said in clear, and what is not sealed
    device.says_heads = True
    await device.restart()

    async def head() -> dict | None:
        return (await device.shown(approval_id)).get("head")

    assert (await until_it(head))["tool_id"] == f"tool-{CANARY}"
    assert CANARY in (text := await dumped(device.plane))
    assert f'"{CANARY}' not in text  # of the arguments nothing, still


async def test_nobody_opens_what_was_sealed_to_another_signer(device, phone):
    approval_id = device.ask()
    await device.sees(phone, approval_id)
    sealed = decode_base64url((await device.shown(approval_id))["sealed_b64"])
    for other in (Device(9).key.private_bytes_raw(), bytes([5]) * 32):  # the device's own key opens nothing either
        with pytest.raises(CallerError):
            unseal(sealed, other)
    with pytest.raises(CallerError):
        unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), phone.key.private_bytes_raw())


def test_lengths_of_calls_are_alike():
    key = Identity(b"\5" * 32)
    lengths = {
        len(write_carried({"id": "a", "args_text": "x" * length}, key.did, key.sign)) for length in range(0, 3_000, 100)
    }
    assert lengths == {FILL_BYTES}


# --- what it can do with answers ---


def forged(device, phone, document) -> dict:
    return written(device.ruling(phone_with(phone, seed=9), document))


def phone_with(phone, *, seed: int) -> Device:
    """Somebody else's key under the signer's id."""
    other = Device(seed)
    other.signer_id = phone.signer_id
    return other


def flipped(device, phone, document) -> dict:
    return {**written(device.ruling(phone, document, NO)), "action": "approve_binding"}


def of_another_time(device, phone, document) -> dict:
    return {**written(device.ruling(phone, document)), "ts_rfc3339": "2026-01-01T00:00:01Z"}


def of_another_nonce(device, phone, document) -> dict:
    return {**written(device.ruling(phone, document)), "nonce": "another"}


def of_an_unknown_signer(device, phone, document) -> dict:
    return {**written(device.ruling(phone, document)), "signer_id": str(uuid.uuid4())}


def for_what_was_not_shown(device, phone, document) -> dict:
    return written(device.ruling(phone, {**document, "args_text": '{"text":"harmless"}'}))


def without_what_was_shown(device, phone, document) -> dict:
    """The plain form's signature, in the form of the other."""
    plain = phone.ruling(document["id"], device.desk.now_us, YES)
    return {**written(plain), "binding_hex": binding_hex_of(document, device.did)}


def for_another_device(device, phone, document) -> dict:
    binding = binding_hex_of(document, Identity(b"\7" * 32).did)
    return written(phone.ruling(document["id"], device.desk.now_us, YES, binding))


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (forged, "invalid_signature"), (flipped, "invalid_signature"), (of_another_time, "invalid_signature"),
        (of_another_nonce, "invalid_signature"), (of_an_unknown_signer, "unknown_signer"),
        (for_what_was_not_shown, "conflict"), (without_what_was_shown, "invalid_signature"),
        (for_another_device, "conflict"),
    ],
)  # fmt: skip
async def test_an_answer_that_no_signer_gave_to_this_decides_nothing(device, phone, made, word):
    approval_id = device.ask()
    document = await device.sees(phone, approval_id)
    await device.smuggles(approval_id, made(device, phone, document))
    assert await device.words(approval_id) == [word]
    assert device.status(approval_id) == "pending"
    assert device.told == []
    # and the signer's own answer still counts
    await device.says(device.ruling(phone, document))
    await until(lambda: device.status(approval_id) == "approved")


async def test_an_answer_to_one_approval_is_none_to_another(device, phone):
    first, second = device.ask(), device.ask()
    document = await device.sees(phone, first)
    await device.sees(phone, second)
    await device.smuggles(second, written(device.ruling(phone, document)))
    assert await device.words(second) == ["invalid_signature"]
    assert {device.status(first), device.status(second)} == {"pending"}


async def test_an_answer_to_one_device_is_none_to_another_that_has_the_same_signer_and_approval(device, phone, plane):
    second = RelayedDesk(plane, seed=6)
    await second.enrol()
    second.desk.ledger.settings.update(device.desk.ledger.settings)  # even its signer's id is the same
    second.desk.restart()
    second.start()
    approval_id = device.ask()
    second.desk.ask(approval_id)
    document = await device.sees(phone, approval_id)
    await second.sees(phone, approval_id)
    await second.smuggles(approval_id, written(device.ruling(phone, document)))
    assert await second.words(approval_id) == ["conflict"]
    assert second.status(approval_id) == "pending"
    await second.stop()
    await second.outbound.close()


async def test_an_answer_that_comes_twice_counts_once_also_after_a_restart(device, phone):
    approval_id = device.ask(approvers=2)
    said = written(device.ruling(phone, await device.sees(phone, approval_id)))
    for sent_by in ("mallory", "mallory again"):
        await device.smuggles(approval_id, said, sent_by=sent_by)
    assert sorted(await device.words(approval_id, 2)) == ["replay", "taken"]
    await device.restart()
    await device.smuggles(approval_id, said, sent_by="mallory once more")
    assert await device.words(approval_id, 3) == ["taken", "replay", "replay"]
    assert device.desk.ledger.approval(approval_id).approved_by == ("operator",)
    assert device.status(approval_id) == "pending"


async def test_answers_in_another_order_are_those_that_were_given(device, phone):
    approval_id = device.ask()
    document = await device.sees(phone, approval_id)
    yes, no = (written(device.ruling(phone, document, to)) for to in (YES, NO))
    await device.stop()
    await device.smuggles(approval_id, yes, after_s=60)
    await device.smuggles(approval_id, no, sent_by="mallory first", after_s=30)
    device.start()
    await until(lambda: device.status(approval_id) == "rejected")
    assert device.told == [(approval_id, NO)]


async def test_an_answer_that_is_held_up_is_refused_and_the_approver_is_told(device, phone):
    approval_id = device.ask()
    document = await device.sees(phone, approval_id)
    said = written(device.ruling(phone, document))
    device.plane.clock.advance(us=MAX_RELAYED_AGE_US + 1)
    await device.smuggles(approval_id, said)
    assert await device.words(approval_id) == ["timestamp_skew"]
    assert device.status(approval_id) == "pending"


async def test_an_answer_that_took_minutes_is_taken_and_one_from_the_future_is_not(device, phone):
    approval_id = device.ask()
    document = await device.sees(phone, approval_id)
    now_us = device.desk.now_us
    await device.smuggles(approval_id, written(device.ruling(phone, document, now_us=now_us + MAX_SKEW_US + 1)))
    assert await device.words(approval_id) == ["timestamp_skew"]
    said = written(device.ruling(phone, document))
    device.plane.clock.advance(us=MAX_RELAYED_AGE_US)
    await device.smuggles(approval_id, said, sent_by="late")
    assert sorted(await device.words(approval_id, 2)) == ["taken", "timestamp_skew"]
    assert device.status(approval_id) == "approved"


def test_no_nonce_is_forgotten_while_its_signature_could_be_taken():
    assert MAX_RELAYED_AGE_US + MAX_SKEW_US < NONCE_TTL_US


async def test_an_answer_that_is_lost_leaves_the_approval_to_expire(device, phone):
    approval_id = device.ask()
    document = await device.sees(phone, approval_id)
    await device.stop()
    await device.says(device.ruling(phone, document))
    await device.plane.services.database.fetch("delete from relayed_answers")
    device.plane.clock.advance(us=15 * 60 * US_PER_S)
    device.start()
    await until_it(lambda: device.is_at(approval_id, "expired"))
    assert (device.told, device.status(approval_id)) == ([], "pending")  # its end is stored by who asks next


async def test_what_the_control_plane_sealed_itself_is_not_shown(device, phone):
    document = device.desk.approvers.shown(device.desk.ledger.approval(device.ask()))
    own = Identity(b"\x09" * 32)
    for plain in (
        write_carried(document, device.did, own.sign),
        write_carried(document, own.did, own.sign),
        msgspec.json.encode({"device_did": device.did, "document": document, "signature_b64": ""}),
        b"{}",
        b"\xff",
    ):
        sealed = seal(plain, [phone.public])
        with pytest.raises(CallerError):
            read_carried(unseal(sealed, phone.key.private_bytes_raw()), device.did)
    whole = json.loads(write_carried(document, device.did, device.identity.sign))
    whole["document"]["args_text"] = "{}"
    with pytest.raises(CallerError):
        read_carried(json.dumps(whole).encode(), device.did)


async def test_a_revoked_signer_is_sealed_to_no_more_and_says_nothing_more(device, phone):
    second = await device.desk.pair(Device(2))
    approval_id = device.ask()
    said = written(device.ruling(phone, await device.sees(phone, approval_id)))
    await device.desk.desk.revoke(phone.signer_id, "operator")
    await device.smuggles(approval_id, said)
    assert await device.words(approval_id) == ["unknown_signer"]
    later = device.ask()
    await device.sees(second, later)
    with pytest.raises(CallerError):
        unseal(decode_base64url((await device.shown(later))["sealed_b64"]), phone.key.private_bytes_raw())
    await device.desk.desk.revoke(second.signer_id, "operator")
    assert "sealed_b64" not in await until_it(lambda: device.is_at(later, "withdrawn"))


async def test_a_signers_no_over_the_relay_reaches_what_an_operator_may_not_approve(device, phone):
    approval_id = device.ask()
    with pytest.raises(CallerError) as refused:
        await device.desk.approvers.decide(Ruling(approval_id, YES, "operator", Role.OPERATOR, Means.TOKEN))
    assert refused.value.code == "signer_required"
    await device.says(device.ruling(phone, await device.sees(phone, approval_id), NO))
    await until(lambda: device.status(approval_id) == "rejected")


# --- as it is typed ---


def key_file(tmp_path, phone: Device, did: str) -> str:
    """A signer's key file, as `briefcase signer pair` leaves it."""
    seed_b64 = encode_base64url(phone.key.private_bytes_raw())
    path = tmp_path / f"{phone.key.public_key().public_bytes_raw().hex()[:8]}.json"
    path.write_bytes(msgspec.json.encode(DeviceFile(seed_b64, phone.signer_id, did, "")))
    path.chmod(0o600)
    return str(path)


async def typed(plane, token: str, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "BRIEFCASE_FLEET_URL": plane.address, "BRIEFCASE_FLEET_TOKEN": token}
    command = [sys.executable, "-m", "briefcase", "fleet", "approvals", *words]
    return await asyncio.to_thread(subprocess.run, command, env=environ, capture_output=True, text=True, check=False)


async def test_a_call_that_is_not_the_one_that_was_asked_for_is_not_shown(device, phone, tmp_path):
    first, second = device.ask(), device.ask()
    await device.sees(phone, first)
    await device.sees(phone, second)
    key = key_file(tmp_path, phone, device.did)
    assert (await typed(device.plane, device.approver, "show", first, "--key", key)).returncode == 0
    swapped = "update relayed_approvals set sealed = (select sealed from relayed_approvals where approval = $1)"
    await device.plane.services.database.fetch(swapped, uuid.UUID(second))
    refused = await typed(device.plane, device.approver, "show", first, "--key", key)
    assert (refused.returncode != 0, refused.stdout) == (True, "")
    assert "another approval under this id" in refused.stderr


async def test_whoever_was_not_sealed_to_is_shown_nothing_and_told_so(device, phone, tmp_path):
    approval_id = device.ask()
    await device.sees(phone, approval_id)
    stranger, unpaired = phone_with(phone, seed=9), Device(8)
    for other, said in ((stranger, "not sealed to this signer"), (unpaired, "not paired")):
        key = key_file(tmp_path, other, device.did)
        refused = await typed(device.plane, device.approver, "deny", approval_id, "--key", key)
        assert said in refused.stderr
    key = key_file(tmp_path, phone, Identity(b"\7" * 32).did)  # paired with another device
    assert (
        "not signed by the device"
        in (await typed(device.plane, device.approver, "show", approval_id, "--key", key)).stderr
    )
    assert device.status(approval_id) == "pending"


async def test_an_answer_that_the_device_does_not_take_is_an_error_with_its_word(device, phone, tmp_path):
    approval_id = device.ask()
    await device.sees(phone, approval_id)
    key = key_file(tmp_path, phone, device.did)
    refused = await typed(device.plane, device.approver, "deny", approval_id, "--key", key)  # by another clock
    assert (refused.returncode != 0, "timestamp_skew" in refused.stderr) == (True, True)
    assert "ada: timestamp_skew" in " ".join((await typed(device.plane, device.approver, "list")).stdout.split())


# --- the story ---

NEEDS_SIGNER = '@id("signed") permit (principal, action == Action::"Call", resource);'


def paired_key(daemon: RunningDaemon, directory) -> Path:
    """The key file of a signer that was paired as an operator and a device do."""
    key = directory / "signer.json"

    def run(*words: str, stdin: str = "") -> str:
        command = [sys.executable, "-m", "briefcase", *words]
        return subprocess.run(command, env=daemon.env, input=stdin, capture_output=True, text=True, check=True).stdout

    run("signer", "init", "--key", str(key))
    run("signer", "pair", "--key", str(key), stdin=run("signers", "pair", "--json"))
    return key


async def test_an_agents_call_waits_a_second_device_says_yes_through_the_relay_and_the_call_runs(
    database_url, tmp_path
):
    async with RunningControlPlane(
        database_url, tmp_path / "control-plane", clock=SystemClock(), entropy=SystemEntropy()
    ) as plane:
        address = plane.address.removeprefix("http://")
        data = tmp_path / "data"
        data.mkdir(mode=0o700)
        (data / "briefcase.toml").write_text(f'[net]\nallow_private = ["{address}"]\n')
        (data / "briefcase.toml").chmod(0o600)
        made = await plane.admin("POST", "/v1/admin/tokens", {"name": "ada", "role": "approver"})
        budget = {"policy_text": NEEDS_SIGNER, "budgets": {"write": 1_000_000}}
        await plane.admin("POST", "/v1/admin/policy", budget)
        with RunningDaemon(data) as daemon:
            key = await asyncio.to_thread(paired_key, daemon, tmp_path)
            enrolment = {"base_url": plane.address, "admin_token": ADMIN_TOKEN, "device_name": "laptop"}
            status, said = await asyncio.to_thread(daemon.request, "POST", "/v1/control-plane/enroll", enrolment)
            assert status == 200, said

            # an agent's call waits
            call = {"tool_id": "note_add", "args": {"text": CANARY}, "context": {"request_id": str(uuid.uuid4())}}
            path = "/v1/tools/call?wait_ms=50000"
            held = asyncio.create_task(asyncio.to_thread(daemon.request, "POST", path, {"call": call}))

            # the second device sees it, far away
            async def listed() -> list[dict]:
                return (await plane.admin("GET", LISTED, token=made.body["token"])).body["approvals"]

            (one,) = await until_it(listed)
            where, approval_id = f"{LISTED}/{one['device_id']}/{one['approval_id']}", one["approval_id"]
            far = partial(typed, plane, made.body["token"])
            assert approval_id[:8] in (await far("list")).stdout
            shown = (await far("show", approval_id[:8], "--key", str(key))).stdout
            assert CANARY in shown

            # yes: not without having read it, nor to something else
            said = ("approve", approval_id[:8], "--key", str(key))
            assert "--digest" in (await far(*said)).stderr
            assert "not as it was shown" in (await far(*said, "--digest", "0" * 64)).stderr
            done = await far(*said, "--digest", shown.splitlines()[-1])
            assert (done.returncode, "approved" in done.stdout) == (0, True), done.stderr

            # and the call runs
            status, answered = await held
            assert (status, answered["status"]) == (200, "ok"), answered

            async def ended() -> dict | None:
                one = (await plane.admin("GET", where)).body
                return one if one["status"] != "pending" else None

            one = await until_it(ended)
            assert one["answers"][0]["word"] == "taken"
            verified = await asyncio.to_thread(daemon.request, "POST", "/v1/receipts/verify", {"state": True})
            assert verified[1]["ok"] is True
