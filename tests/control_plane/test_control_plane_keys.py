"""The life of a signing key over several processes: prepared, present, retired; and what is refused on the way."""

import asyncio
import json
import shutil
import subprocess
import sys
import uuid
from contextlib import AsyncExitStack

import asyncpg
import msgspec
import pytest

from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.core.fleet.bundles import is_signed_by, signed_bytes
from briefcase.core.fleet.envelopes import read_freshness, read_mandatory, read_next_key
from briefcase.core.jose.base64url import decode_base64url, encode_base64url
from briefcase.edges.control_plane import signing_keys
from briefcase.edges.control_plane.administrators import Administrator
from briefcase.edges.control_plane.bundles import PolicyBundle
from briefcase.edges.control_plane.custody import Custody
from briefcase.edges.control_plane.database import UnavailableError
from briefcase.edges.control_plane.key_file import KeyFile, KeyRing, with_next, without_ended
from briefcase.model.errors import BriefcaseError, ConfigError
from support.control_plane import FakeControlPlane
from support.crash import Crash
from support.entropy import FakeEntropy
from support.fleet import FleetDesk
from support.fleet_server import ADMIN_TOKEN, AUDITOR_TOKEN, POLICY, FleetDevice, RunningControlPlane

ROTATE = "/v1/admin/keys/rotate"
FORBIDDEN = 'forbid(principal, action, resource == Tool::"echo");'
US_PER_DAY = 86_400 * 1_000_000
FIRST_ADMIN = Administrator("default", "environment", "admin", is_first=True)


async def listed(plane) -> dict[str, list[str]]:
    """The keys in each state."""
    found: dict[str, list[str]] = {}
    for key in (await plane.admin("GET", "/v1/admin/keys", token=AUDITOR_TOKEN)).body["keys"]:
        found.setdefault(key["state"], []).append(key["policy_signing_pubkey_b64"])
    return found


async def prepared(plane) -> str:
    got = await plane.admin("POST", ROTATE, {})
    assert got.status == 200, got
    return (await listed(plane))["prepared"][0]


async def switched(plane) -> str:
    key = await prepared(plane)
    got = await plane.admin("POST", ROTATE, {"switch_to": key})
    assert got.status == 200, got
    return key


async def given(device: FleetDevice) -> dict:
    got = await device.call("GET", "policy")
    assert got.status == 200, got
    return got.body


def signer_of(body: dict, *keys: str) -> str:
    """Which of some keys signed everything that a device was given."""
    signed = body["policy_bundle"]
    message = signed_bytes(msgspec.convert(signed["bundle"], PolicyBundle))
    (key,) = [key for key in keys if is_signed_by(key, message, decode_base64url(signed["signature_b64"]))]
    read_freshness(body["freshness"], key)
    if "mandatory" in body:
        read_mandatory(body["mandatory"], key)
    return key


async def acts(plane) -> list[str]:
    found = (await plane.admin("GET", "/v1/audit/acts", token=AUDITOR_TOKEN)).body["acts"]
    return [act["event"]["act"] for act in reversed(found)]


# --- the life of a key ------------------------------------------------------------------------------------------------


async def test_a_key_is_prepared_switched_to_and_the_one_before_is_retired_without_touching_a_device(plane):
    device = await plane.new_device()
    await plane.admin("POST", "/v1/admin/mandatory", {"policy_text": FORBIDDEN})
    (first,) = (await listed(plane))["present"]
    before = await given(device)
    assert "keys" not in before

    second = await prepared(plane)
    told = await given(device)
    assert signer_of(told, first, second) == first  # the present key signs on
    assert read_next_key(told["keys"], first).policy_signing_pubkey_b64 == second
    assert await prepared(plane) == second  # asked again: the same one

    await plane.admin("POST", ROTATE, {"switch_to": second})
    after = await given(device)
    assert signer_of(after, first, second) == second
    assert after["policy_bundle"]["bundle"] == before["policy_bundle"]["bundle"]  # the bytes are what they were
    assert [read_next_key(word, first).policy_signing_pubkey_b64 for word in after["key_chain"]] == [second]
    assert after["keys"] == after["key_chain"][-1]
    assert await listed(plane) == {"present": [second], "retired": [first]}
    again = await plane.admin("POST", ROTATE, {"switch_to": second})
    assert again.status == 200
    assert await acts(plane) == [
        "tenant_made", "policy_published", "device_enrolled", "mandatory_published",
        "signing_key_prepared", "signing_key_switched",
    ]  # fmt: skip


async def test_what_is_published_later_and_a_new_device_get_the_new_key_and_every_word(plane):
    (first,) = (await listed(plane))["present"]
    second, third = await switched(plane), await switched(plane)
    await plane.admin("POST", "/v1/admin/policy", {"policy_text": f"{POLICY} // new", "budgets": {}})
    device = FleetDevice(plane, str(uuid.uuid4()))
    enrolled = (await plane.admin("POST", "/v1/admin/devices/enroll", device.enrolment())).body
    assert enrolled["policy_signing_pubkey_b64"] == third
    assert signer_of(enrolled, first, second, third) == third
    named = [
        read_next_key(word, key).policy_signing_pubkey_b64
        for key, word in zip((first, second), enrolled["key_chain"], strict=True)
    ]
    assert named == [second, third]


async def test_a_prepared_key_can_be_replaced_by_a_later_word_and_never_signs(plane):
    (first,) = (await listed(plane))["present"]
    device = await plane.new_device()
    lost = await prepared(plane)
    earlier = read_next_key((await given(device))["keys"], first)
    plane.clock.advance(us=-US_PER_DAY)  # a clock that was set back does not make the later word the earlier one
    assert (await plane.admin("POST", ROTATE, {"replaces": lost})).status == 200
    (other,) = (await listed(plane))["prepared"]
    later = read_next_key((await given(device))["keys"], first)
    assert (later.policy_signing_pubkey_b64, later.issued_at > earlier.issued_at) == (other, True)
    assert (await plane.admin("POST", ROTATE, {"replaces": lost})).status == 200  # asked again
    assert await listed(plane) == {"present": [first], "prepared": [other], "discarded": [lost]}
    assert (await plane.admin("POST", ROTATE, {"switch_to": lost})).word == "conflict"
    assert lost not in plane.services.keys._file.ring.held
    assert (await acts(plane))[-3:] == ["signing_key_prepared", "signing_key_discarded", "signing_key_prepared"]


@pytest.mark.parametrize("body", [{"switch_to": "A" * 43}, {"replaces": "A" * 43}])
async def test_a_key_that_is_not_prepared_is_neither_switched_to_nor_replaced(plane, body):
    before = await listed(plane)
    assert (await plane.admin("POST", ROTATE, body)).word == "conflict"
    assert await listed(plane) == before


@pytest.mark.parametrize("body", [{"switch_to": "a", "replaces": "b"}, {"switch": "a"}, [], {"switch_to": 1}])
async def test_what_is_no_rotation_is_refused(plane, body):
    assert (await plane.admin("POST", ROTATE, body)).word == "invalid_request"


async def test_only_the_administrator_of_all_tenants_rotates_and_every_tenants_acts_say_so(plane):
    token = (await plane.admin("POST", "/v1/admin/tokens", {"name": "o", "role": "admin", "tenant": "acme"})).body[
        "token"
    ]
    assert (await plane.admin("POST", ROTATE, {}, token=token)).word == "forbidden"
    assert (await plane.admin("POST", ROTATE, {}, token=AUDITOR_TOKEN)).word == "invalid_token"
    await switched(plane)
    theirs = (await plane.admin("GET", "/v1/audit/acts", token=token)).body["acts"]
    assert [act["event"]["act"] for act in theirs][:2] == ["signing_key_switched", "signing_key_prepared"]


async def test_a_waiting_device_hears_of_a_prepared_key_at_once(plane):
    device = await plane.new_device()
    etag = (await device.call("GET", "policy")).headers["etag"]
    path = f"/v1/devices/{device.id}/policy?wait_ms=30000"
    fields = {"authorization": f"Bearer {device.token}", "dpop": device.proof("GET", path), "if-none-match": etag}
    waiting = asyncio.create_task(plane.send("GET", path, headers=fields))
    await prepared(plane)
    assert "keys" in (await waiting).body


async def test_keys_in_custody_stay_what_they_were(plane):
    device = await plane.new_device()
    before = (await device.call("GET", "remote-signer")).body
    await switched(plane)
    assert (await device.call("GET", "remote-signer")).body == before


# --- several processes ------------------------------------------------------------------------------------------------


@pytest.fixture
async def processes(database_url, tmp_path):
    """Two processes on two machines: one database, and a key file each, at first alike."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(RunningControlPlane(database_url, tmp_path / "one"))
        (tmp_path / "two").mkdir(mode=0o700)
        copy_keys(tmp_path)
        entropy = FakeEntropy()
        entropy.count = 1_000
        running = RunningControlPlane(database_url, tmp_path / "two", entropy=entropy, base_url=one.plane.base_url)
        yield one, await stack.enter_async_context(running)


def copy_keys(tmp_path) -> None:
    shutil.copy2(tmp_path / "one" / "signing_key", tmp_path / "two" / "signing_key")


async def test_a_switch_waits_for_every_process_that_runs(processes, tmp_path):
    one, two = processes
    key = await prepared(one)
    refused = await one.admin("POST", ROTATE, {"switch_to": key})
    assert (refused.status, refused.word) == (409, "conflict")
    assert str(two.plane.address[1]) in refused.body["message"]
    copy_keys(tmp_path)
    await two.services.keys._keep()
    assert (await one.admin("POST", ROTATE, {"switch_to": key})).status == 200
    assert (await listed(two))["present"] == [key]


async def test_both_processes_sign_with_the_new_key_from_the_commit_on(processes, tmp_path):
    one, two = processes
    device = await one.new_device()
    beside = FleetDevice(two, device.id)
    beside.key, beside.token, beside._signer = device.key, device.token, device._signer
    (first,) = (await listed(one))["present"]
    key = await prepared(one)
    copy_keys(tmp_path)
    await two.services.keys._keep()
    assert signer_of(await given(beside), first, key) == first
    await one.admin("POST", ROTATE, {"switch_to": key})
    assert signer_of(await given(beside), first, key) == key
    assert signer_of(await given(device), first, key) == key
    published = await two.admin("POST", "/v1/admin/policy", {"policy_text": f"{POLICY} // two", "budgets": {}})
    signed = published.body["policy_bundle"]
    message = signed_bytes(msgspec.convert(signed["bundle"], PolicyBundle))
    assert is_signed_by(key, message, decode_base64url(signed["signature_b64"]))


async def test_a_process_without_the_present_key_refuses_to_sign_and_says_so(database_url, tmp_path):
    """It was stopped while the key was switched, and comes back with the file it had."""
    async with RunningControlPlane(database_url, tmp_path / "one") as one:
        (tmp_path / "two").mkdir(mode=0o700)
        copy_keys(tmp_path)
        device = await one.new_device()
        key = await switched(one)
        entropy = FakeEntropy()
        entropy.count = 1_000
        running = RunningControlPlane(database_url, tmp_path / "two", entropy=entropy, base_url=one.plane.base_url)
        async with running as two:
            beside = FleetDevice(two, device.id)
            beside.key, beside.token, beside._signer = device.key, device.token, device._signer
            ready = await two.send("GET", "/ready")
            assert (ready.status, ready.word, key in ready.body["message"]) == (503, "not_ready", True)
            asked = [
                beside.call("GET", "policy"),
                beside.call("GET", "remote-signer"),
                two.admin("POST", "/v1/admin/devices/enroll", FleetDevice(two, str(uuid.uuid4())).enrolment()),
                two.admin("POST", "/v1/admin/policy", {"policy_text": POLICY, "budgets": {}}),
                two.admin("POST", ROTATE, {}),
            ]
            for got in await asyncio.gather(*asked):
                assert (got.status, got.word) == (503, "not_ready"), got
            # its own old key is not destroyed by what it cannot judge
            assert KeyFile(tmp_path / "two" / "signing_key").ring.held
            copy_keys(tmp_path)
            await two.services.keys._keep()
            assert (await two.send("GET", "/ready")).status == 200
            assert signer_of(await given(beside), key) == key


async def test_a_process_that_stopped_holds_up_no_switch(database_url, tmp_path):
    entropy = FakeEntropy()
    entropy.count = 1_000
    async with RunningControlPlane(database_url, tmp_path / "one") as one:
        key = await prepared(one)
        async with RunningControlPlane(database_url, tmp_path / "two", entropy=entropy):
            assert (await one.admin("POST", ROTATE, {"switch_to": key})).word == "conflict"
        assert (await one.admin("POST", ROTATE, {"switch_to": key})).status == 200


async def test_a_process_that_was_not_heard_of_for_long_holds_up_no_switch(plane):
    key = await prepared(plane)
    say = "insert into signing_processes values ($1, 'gone:1', '', now() - make_interval(secs => $2))"
    await plane.services.database.fetch(say, uuid.uuid4(), signing_keys.LIVE_S - 10)
    assert (await plane.admin("POST", ROTATE, {"switch_to": key})).word == "conflict"
    await plane.services.database.fetch("update signing_processes set seen_at = seen_at - interval '1 minute'")
    assert (await plane.admin("POST", ROTATE, {"switch_to": key})).status == 200


# --- a crash at each step ---------------------------------------------------------------------------------------------


async def test_a_key_that_a_crash_left_in_the_file_is_the_one_that_is_prepared_later(
    database_url, tmp_path, monkeypatch
):
    async with RunningControlPlane(database_url, tmp_path / "cp") as plane:

        async def dying(*_):
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(signing_keys, "_tell", dying)  # the last statement before the commit
            with pytest.raises(Crash):
                await plane.services.keys._prepare(FIRST_ADMIN, "")
        left = [key for key in plane.services.keys._file.ring.held if key not in (await listed(plane))["present"]]
        assert "prepared" not in await listed(plane)
    async with RunningControlPlane(database_url, tmp_path / "cp") as plane:
        assert [await prepared(plane)] == left


async def test_a_switch_that_a_crash_cut_off_did_not_happen(plane, monkeypatch):
    key = await prepared(plane)
    before = await listed(plane)

    async def dying(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(signing_keys, "_tell", dying)
        with pytest.raises(Crash):
            await plane.services.keys._switch(FIRST_ADMIN, key)
    assert await listed(plane) == before
    device = await plane.new_device()
    assert signer_of(await given(device), key, *before["present"]) in before["present"]
    assert (await plane.admin("POST", ROTATE, {"switch_to": key})).status == 200


async def test_a_file_that_still_has_the_old_private_half_loses_it_at_the_next_look(plane):
    key = await prepared(plane)
    (first,) = (await listed(plane))["present"]
    keys = plane.services.keys
    path = keys._file._path
    before = path.read_bytes()
    await plane.admin("POST", ROTATE, {"switch_to": key})
    assert KeyFile(path).ring.held == (key,)
    path.write_bytes(before)  # as a crash right after the commit left it
    await keys._keep()
    ring = KeyFile(path).ring
    assert (ring.held, [kept.public_b64 for kept in ring.keys]) == ((key,), [first, key])


async def test_a_database_that_was_taken_back_to_before_the_switch_goes_forward_again(database_url, tmp_path):
    async with RunningControlPlane(database_url, tmp_path / "cp") as plane:
        (first,) = (await listed(plane))["present"]
        second = await switched(plane)
        async with plane.services.database.device_transaction() as connection:
            await connection.execute("delete from signing_keys where number = 2")
            await connection.execute("update signing_keys set state = 'present'")
    async with RunningControlPlane(database_url, tmp_path / "cp") as plane:
        assert (await plane.send("GET", "/ready")).status == 503  # the first key's private half is no more
        assert await switched(plane) == second  # the file has the key, and the first one's word about it
        assert await listed(plane) == {"present": [second], "retired": [first]}
        device = await plane.new_device()
        assert read_next_key((await given(device))["key_chain"][0], first).policy_signing_pubkey_b64 == second


# --- what a thief or a forger of the database has ---------------------------------------------------------------------


async def test_a_stolen_database_holds_no_key(plane, database_url):
    await prepared(plane)
    await switched(plane)
    await prepared(plane)
    seeds = [kept.seed_b64 for kept in plane.services.keys._file.ring.keys if kept.seed_b64]
    assert len(seeds) == 2
    connection = await asyncpg.connect(database_url, server_settings={"briefcase.tenant": "*"})
    kept = b""
    for row in await connection.fetch("select tablename from pg_tables where schemaname = 'public'"):
        for record in await connection.fetch(f'select t::text as line from "{row[0]}" t'):
            kept += record["line"].encode()
    await connection.close()
    for secret in (*seeds, plane.services.keys._file.ring.custody_b64):
        raw = decode_base64url(secret)
        assert secret.encode() not in kept
        assert raw.hex().encode() not in kept


async def test_a_key_that_is_only_in_the_database_signs_nothing_and_destroys_none(plane):
    device = await plane.new_device()
    (first,) = (await listed(plane))["present"]
    database = plane.services.database
    async with database.device_transaction() as connection:
        await connection.execute("update signing_keys set state = 'retired'")
        await connection.execute(
            "insert into signing_keys (number, public_b64, state) values (9, $1, 'present')", "A" * 43
        )
        await connection.execute("update signing_head set version = version + 1")
    assert (await device.call("GET", "policy")).word == "not_ready"
    await plane.services.keys._keep()
    assert plane.services.keys._file.ring.held == (first,)


async def test_a_bundle_that_none_of_the_keys_signed_is_not_signed_anew(plane):
    device = await plane.new_device()
    await switched(plane)
    forged = FakeControlPlane().key.bundle(1, "permit(principal, action, resource);")
    await plane.services.database.fetch(
        "update bundles set bundle = $1, signature = $2",
        signed_bytes(msgspec.convert(forged["bundle"], PolicyBundle)),
        decode_base64url(forged["signature_b64"]),
    )
    assert (await device.call("GET", "policy")).word == "not_ready"


# --- with a daemon ----------------------------------------------------------------------------------------------------


async def test_a_device_follows_two_rotations_that_it_missed(plane, tmp_path):
    outbound = GuardedOutbound([plane.address.removeprefix("http://")])
    (tmp_path / "device").mkdir()
    desk = FleetDesk(tmp_path / "device", outbound=outbound, base_url=plane.address, admin_token=ADMIN_TOKEN)
    await desk.start()
    await desk.enrol()
    try:
        await switched(plane)
        key = await switched(plane)
        synced = await desk.sync.sync()
        assert (synced.policy_applied, desk.enrolment.policy_key_b64) == (False, key)
        third = await prepared(plane)
        await desk.sync.sync()
        assert desk.enrolment.next_key_b64 == third
        await switched(plane)
        await plane.admin("POST", "/v1/admin/policy", {"policy_text": f"{POLICY} // new", "budgets": {}})
        assert (await desk.sync.sync()).policy_applied
        assert desk.enrolment.policy_key_b64 == third
        assert (await desk.status()).progress.last_error == ""
    finally:
        desk.database.close()
        await outbound.close()


# --- the key file -----------------------------------------------------------------------------------------------------


def test_a_file_of_one_key_is_taken_and_its_keys_in_custody_stay(tmp_path):
    path = tmp_path / "signing_key"
    seed = bytes(range(32))
    jwk = {"crv": "Ed25519", "d": encode_base64url(seed), "kty": "OKP"}
    jwk["x"] = "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"  # RFC 8032's arithmetic, by another implementation
    path.write_text(json.dumps(jwk))
    path.chmod(0o600)
    file = KeyFile(path)
    assert file.ring.held == (jwk["x"],)
    device = uuid.UUID("11111111-1111-4111-9111-111111111111")
    described = Custody(lambda: file.ring.custody_secret).key_of(device).description
    expected = {"x": "CB2PCA_u8qiCx-juCKAg5a_N-Y8a-YLPowUyXKb1XKY", "y": "wTP9po8cH8DujZPep7gSEIQRUXC8JxoHxrskthjnDLA"}
    assert described["public_jwk"] == {"kty": "EC", "crv": "P-256", **expected}  # as derived from the whole seed
    following = file.change(lambda ring: with_next(ring, jwk["x"], 1, ()))
    assert KeyFile(path).ring == following
    assert len(following.held) == 2
    assert following.custody_b64 == file.ring.custody_b64


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "no key", '{"kty":"EC"}',
        '{"custody_b64":"","keys":[]}',
        '{"custody_b64":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","keys":[]}',
        '{"custody_b64":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","keys":[{"public_b64":"A","seed_b64":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}',
    ],
)  # fmt: skip
def test_a_file_that_holds_no_keys_is_named(tmp_path, text):
    path = tmp_path / "signing_key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="expected a control plane's signing keys"):
        KeyFile(path)


def test_a_file_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "signing_key"
    KeyFile(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError):
        KeyFile(path)


def test_a_file_that_went_away_is_not_made_anew_and_what_was_read_signs_on(tmp_path):
    path = tmp_path / "signing_key"
    file = KeyFile(path)
    held = file.ring.held
    path.unlink()
    file.read_again()
    assert file.ring.held == held
    with pytest.raises(ConfigError, match="is away"):
        file.change(lambda ring: with_next(ring, held[0], 1, ()))
    assert not path.exists()


def test_a_change_that_the_disk_refused_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "signing_key"
    file = KeyFile(path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("briefcase.edges.control_plane.key_file.write_private", _refuse)
        with pytest.raises(UnavailableError):
            file.change(lambda ring: with_next(ring, ring.held[0], 1, ()))
    assert path.read_bytes() == before
    assert KeyFile(path).ring == file.ring


def _refuse(*_: object) -> None:
    raise UnavailableError("the disk is full")


def test_no_text_of_a_ring_or_a_key_shows_a_secret(tmp_path):
    ring = KeyFile(tmp_path / "signing_key").ring
    for shown in (repr(ring), repr(ring.keys), str(ring)):
        assert ring.keys[0].seed_b64 not in shown
        assert ring.custody_b64 not in shown


def test_a_ring_that_cannot_sign_as_the_present_key_loses_nothing(tmp_path):
    ring = KeyFile(tmp_path / "signing_key").ring
    longer = with_next(ring, ring.held[0], 1, ())
    assert without_ended(longer, "A" * 43, longer.held) == longer
    assert without_ended(longer, longer.held[1], ()).held == longer.held[1:]
    assert without_ended(longer, longer.held[0], longer.held[1:]) == ring
    with pytest.raises(BriefcaseError, match="does not have the signing key"):
        with_next(KeyRing(ring.custody_b64, ring.keys), "A" * 43, 1, ())


# --- the commands -----------------------------------------------------------------------------------------------------


async def command(plane, *args: str) -> subprocess.CompletedProcess[str]:
    environ = {"BRIEFCASE_FLEET_URL": plane.address, "BRIEFCASE_FLEET_TOKEN": ADMIN_TOKEN, "COLUMNS": "200"}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "briefcase", "fleet", "keys", *args],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


async def test_the_commands_rotate_a_key_from_its_making_to_its_end(plane):
    (first,) = (await listed(plane))["present"]
    none = await command(plane, "rotate", "--switch")
    assert (none.returncode, "no key is prepared" in none.stderr) == (3, True)
    made = await command(plane, "rotate")
    assert (made.returncode, "prepared" in made.stdout, "--switch" in made.stderr) == (0, True, True)
    (second,) = (await listed(plane))["prepared"]
    assert second in made.stdout
    switched_to = await command(plane, "rotate", "--switch", "--json")
    states = {key["policy_signing_pubkey_b64"]: key["state"] for key in json.loads(switched_to.stdout)["keys"]}
    assert states == {first: "retired", second: "present"}
    shown = await command(plane, "list")
    assert "1 of 1" in shown.stdout
    both = await command(plane, "rotate", "--switch", "--replace")
    assert both.returncode == 2
