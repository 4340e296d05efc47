"""Pairing a device, and what its signatures come to: each once, over exactly one call, while it is paired."""

import asyncio
import hashlib
import json

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from briefcase.adapters.signers.device_keys import DeviceKeys
from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.operator import signers as signer_desk
from briefcase.core.operator.approvals import Ruling
from briefcase.core.operator.binding import binding_document, binding_hex_of
from briefcase.core.operator.signers import Arrival, SignedRuling
from briefcase.core.receipts.canonical import digest_hex
from briefcase.core.signers import signers as signers_module
from briefcase.core.signers.pairing import MAX_PAIRINGS, PAIRING_TTL_US
from briefcase.core.signers.signers import MAX_SKEW_US, NONCE_TTL_US
from briefcase.model.errors import CallerError, ConfigError, StoreError
from briefcase.model.types import ApprovalKind, ApprovalStatus, Role
from support.signers import DID, NO, YES, Device, SigningDesk


@pytest.fixture
def desk():
    return SigningDesk()


@pytest.fixture
async def device(desk):
    return await desk.pair(Device())


async def refusal(awaitable) -> str:
    with pytest.raises(CallerError) as refused:
        await awaitable
    return refused.value.code


# --- pairing ---


async def test_a_device_that_has_the_code_is_paired_once_and_survives_a_restart(desk):
    device = await desk.pair(Device())
    desk.restart()
    signer = desk.signers.by_id(device.signer_id)
    assert (signer.form, signer.owner, signer.by, signer.name) == ("bound", "operator", "operator", "phone")
    event = desk.ledger.chain[0].event
    assert (event["kind"], event["signer_id"], event["pairing_form"]) == ("signer_paired", signer.id, "bound")
    assert signer.public_key_b64 not in str(event)


async def test_a_pairing_is_used_once(desk):
    pairing = desk.desk.start_pairing(None, "operator")
    await desk.desk.complete_pairing(pairing.id, Device(1).arrive(pairing.code)[1])
    second = Device(2).arrive(pairing.code)[1]
    assert await refusal(desk.desk.complete_pairing(pairing.id, second)) == "pairing_not_found"
    assert len(desk.signers.all()) == 1


async def test_of_two_devices_that_come_at_once_with_one_code_one_is_paired(desk):
    pairing = desk.desk.start_pairing(None, "operator")
    arrivals = [Device(seed).arrive(pairing.code)[1] for seed in (1, 2, 3)]
    came = await asyncio.gather(
        *(desk.desk.complete_pairing(pairing.id, one) for one in arrivals), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in came) == ["CallerError", "CallerError", "str"]
    assert len(desk.signers.all()) == 1


async def test_a_pairing_ends_after_five_minutes(desk):
    pairing = desk.desk.start_pairing(None, "operator")
    desk.clock.advance(us=PAIRING_TTL_US)
    arrival = Device().arrive(pairing.code)[1]
    assert await refusal(desk.desk.complete_pairing(pairing.id, arrival)) == "pairing_not_found"


async def test_a_bad_first_message_does_not_use_a_pairing_up(desk):
    pairing = desk.desk.start_pairing(None, "operator")
    other = desk.desk.start_pairing(None, "operator")
    for arrival, code in [
        (Device().arrive(other.code)[1], "invalid_noise_msg1"),
        (Arrival("%", "ed25519", ""), "invalid_msg1_b64"),
        (msgspec.structs.replace(Device().arrive(pairing.code)[1], public_key_b64="*"), "invalid_signer_pubkey"),
        (msgspec.structs.replace(Device().arrive(pairing.code)[1], public_key_b64="AA"), "invalid_signer_pubkey_len"),
    ]:
        assert await refusal(desk.desk.complete_pairing(pairing.id, arrival)) == code
    assert desk.signers.all() == ()
    await desk.desk.complete_pairing(pairing.id, Device().arrive(pairing.code)[1])


async def test_a_key_that_somebody_put_in_the_place_of_the_devices_is_refused(desk):
    pairing = desk.desk.start_pairing(None, "operator")
    swapped = msgspec.structs.replace(
        Device(1).arrive(pairing.code)[1], public_key_b64=encode_base64url(Device(2).public)
    )
    assert await refusal(desk.desk.complete_pairing(pairing.id, swapped)) == "invalid_noise_msg1"
    assert desk.signers.all() == ()


async def test_a_key_beside_the_handshake_is_said_to_be_so_and_refused_where_the_mode_wants_more(desk):
    device = await desk.pair(Device(), payload=b"")
    assert desk.signers.by_id(device.signer_id).form == "plain"
    strict = SigningDesk(needs_bound=True)
    assert await refusal(strict.pair(Device(), payload=b"")) == "forbidden"
    assert strict.signers.all() == ()
    await strict.pair(Device())


async def test_there_is_a_bound_of_open_pairings_and_they_make_room_by_themselves(desk):
    for _ in range(MAX_PAIRINGS):
        desk.desk.start_pairing(None, "operator")
    with pytest.raises(CallerError) as refused:
        desk.desk.start_pairing(None, "operator")
    assert refused.value.code == "rate_limited"
    desk.clock.advance(us=PAIRING_TTL_US)
    desk.desk.start_pairing(None, "operator")


LOW_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


@pytest.mark.parametrize("key_hex", LOW_ORDER)
def test_a_key_that_takes_signatures_of_anybody_is_none(key_hex):
    with pytest.raises(CallerError) as refused:
        DeviceKeys().check_key("ed25519", bytes.fromhex(key_hex))
    assert refused.value.code == "invalid_signer_pubkey"


@pytest.mark.parametrize(
    ("algorithm", "key", "code"),
    [
        ("ed25519", bytes(31), "invalid_signer_pubkey_len"),
        ("ed25519", bytes(33), "invalid_signer_pubkey_len"),
        ("p256", bytes(32), "invalid_signer_pubkey_len"),
        ("p256", b"\x04" + bytes(64), "invalid_signer_pubkey"),
        ("p256", b"\x02" + b"\xff" * 32, "invalid_signer_pubkey"),
        ("p256", b"\x06" + bytes(64), "invalid_signer_pubkey"),
    ],
)
def test_a_key_of_another_length_or_no_point_of_its_curve_is_none(algorithm, key, code):
    with pytest.raises(CallerError) as refused:
        DeviceKeys().check_key(algorithm, key)
    assert refused.value.code == code


@pytest.mark.parametrize("packing", [PublicFormat.UncompressedPoint, PublicFormat.CompressedPoint])
def test_a_signature_of_p256_may_be_der_or_r_and_s(packing):
    key = ec.derive_private_key(7, ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.X962, packing)
    DeviceKeys().check_key("p256", public)
    der = key.sign(b"text", ec.ECDSA(hashes.SHA256()))
    raw = b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(der))
    for signature in (der, raw):
        assert DeviceKeys().is_signature("p256", public, b"text", signature)
        assert not DeviceKeys().is_signature("p256", public, b"texT", signature)
        assert not DeviceKeys().is_signature("p256", public, b"text", signature[:-1])
    assert not DeviceKeys().is_signature("p256", public, b"text", bytes(64))


# --- what a signature comes to ---


async def test_a_yes_over_what_was_shown_is_carried_out_and_its_receipt_says_by_which_signer(desk, device):
    desk.ask()
    decided = await desk.desk.rule(device.ruling("a1", desk.now_us, binding=desk.binding()))
    assert (decided.status, decided.decided_by) == (YES, "operator")
    event = desk.ledger.chain[-1].event
    assert (event["signer_id"], event["signed_form"], event["kind"]) == (
        device.signer_id,
        "binding",
        "approval_decided",
    )
    assert event["shown_digest"] == desk.approvers.shown(desk.ask("a1"))["shown_digest_hex"]


@pytest.mark.parametrize(("to", "binds"), [(YES, False), (NO, False), (NO, True)])
async def test_a_short_call_may_be_decided_by_its_id_alone(desk, device, to, binds):
    desk.ask()
    ruling = device.ruling("a1", desk.now_us, to, binding=desk.binding() if binds else None)
    assert (await desk.desk.rule(ruling)).status is to
    assert desk.ledger.chain[-1].event["signed_form"] == ("binding" if binds else "plain")


async def test_a_call_longer_than_its_summary_takes_a_signature_over_what_was_shown(desk, device):
    desk.ask(args_text='{"text":"' + "x" * 5_000 + '"}')
    assert await refusal(desk.desk.rule(device.ruling("a1", desk.now_us))) == "conflict"
    await desk.desk.rule(device.ruling("a1", desk.now_us, binding=desk.binding()))


async def test_over_a_relay_only_a_signature_over_what_was_shown_is_taken(desk, device):
    desk.ask()
    for to in (YES, NO):
        plain = device.ruling("a1", desk.now_us, to)
        assert await refusal(desk.desk.rule(plain, is_relayed=True)) == "forbidden"
    await desk.desk.rule(device.ruling("a1", desk.now_us, binding=desk.binding()), is_relayed=True)


async def test_a_binding_of_another_approval_or_of_what_was_shown_before_is_a_conflict(desk, device):
    desk.ask("a1")
    desk.ask("a2", args_text='{"text":"ho"}')
    other = device.ruling("a1", desk.now_us, binding=desk.binding("a2"))
    assert await refusal(desk.desk.rule(other)) == "conflict"
    before = desk.binding("a1")
    desk.ledger.shown["a1"] = msgspec.structs.replace(desk.ledger.shown["a1"], risk=("secret_like",))
    assert await refusal(desk.desk.rule(device.ruling("a1", desk.now_us, binding=before))) == "conflict"
    assert desk.ledger.approval("a1").status is ApprovalStatus.PENDING


async def test_a_binding_is_for_one_daemon(desk):
    desk.ask()
    document = desk.approvers.shown(desk.ledger.approval("a1"))
    assert binding_hex_of(document, DID) != binding_hex_of(document, "did:key:z6MkAnother")


def test_a_binding_is_the_digest_of_the_named_fields_and_trusts_no_digest_it_was_given(desk):
    desk.ask()
    document = desk.approvers.shown(desk.ledger.approval("a1"))
    found = binding_document(document, DID)
    assert set(found) == {
        "approval_id", "device_did", "principal", "tool_id", "tool_digest_hex", "args_digest_hex", "cost_microusd",
        "destination", "expires_at", "shown_digest_hex",
    }  # fmt: skip
    assert (
        binding_hex_of(document, DID)
        == hashlib.sha256(json.dumps(found, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    )
    assert binding_document({**document, "shown_digest_hex": "f" * 64}, DID) == found
    assert digest_hex(binding_document({**document, "args_text": "{}"}, DID)) != digest_hex(found)


@pytest.mark.parametrize(
    "changes",
    [{"id": 1}, {"destination": None}, {"tool": {}}, {"tool": {"cost": {"estimated_usd": True}}}]
    + [{"tool": {"cost": {"estimated_usd": usd}}} for usd in (float("inf"), float("nan"), -1, 1e300)],
)
def test_nobody_signs_for_a_document_that_shows_no_whole_call(desk, changes):
    desk.ask()
    document = desk.approvers.shown(desk.ledger.approval("a1"))
    with pytest.raises(CallerError):
        binding_hex_of({**document, **changes}, DID)


async def test_a_signature_for_another_approval_or_the_other_word_is_refused(desk, device):
    desk.ask("a1")
    desk.ask("a2")
    signed = device.ruling("a1", desk.now_us).signed
    assert await refusal(desk.desk.rule(SignedRuling("a2", YES, signed))) == "invalid_signature"
    assert await refusal(desk.desk.rule(SignedRuling("a1", NO, signed))) == "invalid_signature"
    bound = SignedRuling("a1", YES, signed, desk.binding())
    assert await refusal(desk.desk.rule(bound)) == "invalid_signature"
    assert await refusal(desk.desk.waiting(signed)) == "invalid_signature"


async def test_a_signature_counts_once_also_after_a_restart(desk, device):
    desk.ask()
    signed = device.listing(desk.now_us)
    assert [one["id"] for one in (await desk.desk.waiting(signed)).documents] == ["a1"]
    assert await refusal(desk.desk.waiting(signed)) == "replay"
    desk.restart()
    assert await refusal(desk.desk.waiting(signed)) == "replay"
    ruling = device.ruling("a1", desk.now_us)
    await desk.desk.rule(ruling)
    desk.restart()
    assert await refusal(desk.desk.rule(ruling)) == "replay"
    assert desk.ledger.chain[-1].event["kind"] == "approval_decided"


async def test_a_nonce_is_one_signers_own(desk, device):
    other = await desk.pair(Device(2))
    for one in (device, other):
        await desk.desk.waiting(one.listing(desk.now_us, nonce="same"))


async def test_a_stranger_who_saw_a_nonce_cannot_use_it_up(desk, device):
    mallory = Device(9)
    mallory.signer_id = device.signer_id
    assert await refusal(desk.desk.waiting(mallory.listing(desk.now_us, nonce="seen"))) == "invalid_signature"
    await desk.desk.waiting(device.listing(desk.now_us, nonce="seen"))


async def test_a_nonce_is_forgotten_when_no_signature_can_be_young_enough(desk, device):
    signed = device.listing(desk.now_us)
    await desk.desk.waiting(signed)
    desk.clock.advance(us=NONCE_TTL_US)
    assert await refusal(desk.desk.waiting(signed)) == "timestamp_skew"
    await desk.desk.waiting(device.listing(desk.now_us))
    assert len(json.loads(desk.ledger.settings[signers_module.NONCES_SETTING])) == 1


async def test_a_signer_that_asks_without_end_is_bounded(desk, device, monkeypatch):
    monkeypatch.setattr(signers_module, "MAX_USES", 2)
    for _ in range(2):
        await desk.desk.waiting(device.listing(desk.now_us))
    assert await refusal(desk.desk.waiting(device.listing(desk.now_us))) == "rate_limited"


@pytest.mark.parametrize("away_us", [MAX_SKEW_US + 1, -MAX_SKEW_US - 1])
async def test_a_time_too_far_from_ours_is_refused_either_way(desk, device, away_us):
    assert await refusal(desk.desk.waiting(device.listing(desk.now_us + away_us))) == "timestamp_skew"
    near = away_us - (1 if away_us > 0 else -1)
    await desk.desk.waiting(device.listing(desk.now_us + near))


@pytest.mark.parametrize(
    "ts", ["", "now", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01\n00:00:00Z", "2026-13-01T00:00:00Z"]
)
async def test_a_time_that_is_none_is_refused(desk, device, ts):
    signed = msgspec.structs.replace(device.listing(desk.now_us), ts=ts)
    assert await refusal(desk.desk.waiting(signed)) == "invalid_ts"


@pytest.mark.parametrize("nonce", ["", "a b", "a\nb", "é", "x" * 129])
async def test_a_nonce_that_is_no_word_is_refused(desk, device, nonce):
    signed = msgspec.structs.replace(device.listing(desk.now_us), nonce=nonce)
    assert await refusal(desk.desk.waiting(signed)) == "bad_request"


@pytest.mark.parametrize(("sig", "code"), [("*", "invalid_sig"), ("AA==", "invalid_sig"), ("", "invalid_signature")])
async def test_a_signature_that_is_none_is_refused(desk, device, sig, code):
    signed = msgspec.structs.replace(device.listing(desk.now_us), sig_b64=sig)
    assert await refusal(desk.desk.waiting(signed)) == code


async def test_an_approval_that_is_not_there_or_waits_no_more_is_decided_by_nobody(desk, device):
    assert await refusal(desk.desk.rule(device.ruling("a9", desk.now_us))) == "not_found"
    desk.ask()
    await desk.desk.rule(device.ruling("a1", desk.now_us, NO))
    assert await refusal(desk.desk.rule(device.ruling("a1", desk.now_us))) == "conflict"


# --- revoking, and whose yes it is ---


async def test_a_signer_that_is_revoked_between_its_list_and_its_yes_decides_nothing(desk, device):
    desk.ask()
    await desk.desk.waiting(device.listing(desk.now_us))
    ruling = device.ruling("a1", desk.now_us, binding=desk.binding())
    await desk.desk.revoke(device.signer_id, "operator")
    assert await refusal(desk.desk.rule(ruling)) == "unknown_signer"
    desk.restart()
    assert await refusal(desk.desk.rule(ruling)) == "unknown_signer"
    assert await refusal(desk.desk.revoke(device.signer_id, "operator")) == "not_found"
    assert desk.ledger.approval("a1").status is ApprovalStatus.PENDING


async def test_a_key_that_was_revoked_is_not_paired_again(desk, device):
    await desk.desk.revoke(device.signer_id, "operator")
    assert await refusal(desk.pair(Device())) == "conflict"


async def test_what_needs_a_signer_falls_back_to_no_token_once_the_last_one_is_revoked(desk, device):
    await desk.desk.revoke(device.signer_id, "operator")
    assert desk.signers.was_paired
    desk.restart()
    assert desk.signers.was_paired


async def test_a_person_who_is_revoked_takes_their_signer_with_them(desk):
    await desk.let_in("ann")
    device = await desk.pair(Device(), owner="ann")
    await desk.desk.waiting(device.listing(desk.now_us))
    await desk.people.revoke(desk.people.by_name("ann"), desk.now_us, {"kind": "operator_revoked"})
    assert await refusal(desk.desk.waiting(device.listing(desk.now_us))) == "unknown_signer"
    desk.people._asked = desk.people._people = ()
    await desk.let_in("ann-again")
    assert await refusal(desk.desk.waiting(device.listing(desk.now_us))) == "unknown_signer"


async def test_a_pairing_is_for_somebody_who_may_decide(desk):
    await desk.let_in("max", "auditor")
    for name in ("max", "nobody", "scout"):
        with pytest.raises(CallerError) as refused:
            desk.desk.start_pairing(name, "operator")
        assert refused.value.code == "not_found"


async def test_two_devices_of_one_person_are_one_person_and_their_token_is_no_other(desk):
    await desk.let_in("ann")
    await desk.let_in("bo")
    first, second = [await desk.pair(Device(seed), owner="ann") for seed in (1, 2)]
    third = await desk.pair(Device(3), owner="bo")
    desk.ask(approvers=2)
    decided = await desk.desk.rule(first.ruling("a1", desk.now_us, binding=desk.binding()))
    assert (decided.status, decided.approved_by) == (ApprovalStatus.PENDING, ("ann",))
    again = second.ruling("a1", desk.now_us, binding=desk.binding())
    assert await refusal(desk.desk.rule(again)) == "conflict"
    decided = await desk.desk.rule(third.ruling("a1", desk.now_us, binding=desk.binding()))
    assert (decided.status, decided.approved_by) == (YES, ("ann", "bo"))


async def test_an_operators_token_says_no_yes_in_a_signers_place_and_may_say_no(desk, device):
    desk.ask()
    desk.ask("a2", kind=ApprovalKind.LOCAL, stands_in="signer")  # from before the pairing
    desk.ask("a3", kind=ApprovalKind.LOCAL)
    for approval_id in ("a1", "a2"):
        yes = Ruling(approval_id, YES, "operator", Role.OPERATOR)
        assert await refusal(desk.approvers.decide(yes)) == "signer_required"
        await desk.approvers.decide(Ruling(approval_id, NO, "operator", Role.OPERATOR))
    await desk.approvers.decide(Ruling("a3", YES, "operator", Role.OPERATOR))


async def test_what_was_asked_of_an_operator_in_a_signers_place_is_no_signers_to_approve(desk, device):
    desk.ask(kind=ApprovalKind.LOCAL, stands_in="signer")
    assert (await desk.desk.waiting(device.listing(desk.now_us))).documents == ()
    assert await refusal(desk.desk.rule(device.ruling("a1", desk.now_us))) == "conflict"
    await desk.desk.rule(device.ruling("a1", desk.now_us, NO))


async def test_the_oldest_are_shown_and_a_newer_one_is_found_by_its_id(desk, device, monkeypatch):
    monkeypatch.setattr(signer_desk, "MAX_SHOWN", 1)
    for number in (1, 2):
        desk.ask(f"a{number}")
    waiting = await desk.desk.waiting(device.listing(desk.now_us))
    assert ([one["id"] for one in waiting.documents], waiting.left_off) == (["a1"], 1)
    found = await desk.desk.waiting(device.listing(desk.now_us), "a2")
    assert ([one["id"] for one in found.documents], found.left_off) == (["a2"], 0)


# --- durability ---


async def test_what_could_not_be_made_durable_pairs_nobody_and_still_revokes(desk, device, monkeypatch):
    async def failing(entry):
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(desk.ledger, "commit", failing)
        with pytest.raises(StoreError):
            await desk.pair(Device(2))
        with pytest.raises(StoreError):
            await desk.desk.revoke(device.signer_id, "operator")
    assert len(desk.signers.all()) == 1
    assert await refusal(desk.desk.waiting(device.listing(desk.now_us))) == "unknown_signer"
    await desk.pair(Device(2))
    desk.restart()
    assert [one.is_revoked for one in desk.signers.all()] == [False, False]  # as the error said: revoke again


async def test_while_receipts_cannot_be_made_durable_no_pairing_is_opened(desk):
    desk.ledger.broken = "EIO"
    with pytest.raises(StoreError):
        desk.desk.start_pairing(None, "operator")


async def test_each_switch_to_signers_only_and_back_has_its_receipt_and_one_without_a_signer_is_refused(desk):
    async def start(*, signers_only):
        desk.restart()
        desk.desk._parts = msgspec.structs.replace(desk.desk._parts, signers_only=signers_only)
        await desk.desk.settle(end_grants)

    async def end_grants():
        ended.append(signers_only)

    ended = []

    with pytest.raises(ConfigError, match="operator_token"):
        await start(signers_only=True)
    await desk.let_in("ann")
    await desk.pair(Device(2), owner="ann")
    with pytest.raises(ConfigError, match="of an operator"):
        await start(signers_only=True)
    await desk.pair(Device())
    for signers_only in (False, True, True, False, False, True):
        await start(signers_only=signers_only)
    switched = [one.event["is_on"] for one in desk.ledger.chain if one.event["kind"] == "signers_only_set"]
    assert switched == [True, False, True]
    assert ended == [True, True]
