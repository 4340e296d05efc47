"""The vault: what is put is there after a restart, what is sealed opens with its own key only, nothing prints."""

import asyncio
import base64
import copy
import json
import logging
import os
import pickle
import secrets
import stat
import subprocess
import sys
import threading
import traceback
import uuid

import keyring.backend
import keyring.errors
import msgspec
import orjson
import pytest

from briefcase.adapters.disk import files
from briefcase.adapters.vault import os_keyring
from briefcase.adapters.vault import vault as vault_module
from briefcase.adapters.vault.opening import open_vault
from briefcase.adapters.vault.os_keyring import OsKeyring, find_keyring
from briefcase.adapters.vault.sealed_file import SealedFile
from briefcase.adapters.vault.secret import Secret
from briefcase.adapters.vault.vault import MemoryBackend, Vault
from briefcase.model.errors import CallerError, ConfigError, StoreError, UpstreamError

TOKEN = b"tZ4mQ9bX1cV7nK2pR8sW%d"

CHEAP_N = 1 << 4
CANARY = b"canary-4c8f2d"


class DictKeyring(keyring.backend.KeyringBackend):
    """A keyring as `keyring` knows them, in a dictionary that outlives the daemon."""

    priority = 5
    name = "dictionary"

    def __init__(self):
        super().__init__()
        self.kept = {}

    def get_password(self, service, username):
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password

    def delete_password(self, service, username):
        if self.kept.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError("not found")


async def opened(backend, data_dir, passphrase=None):
    return await open_vault(backend, data_dir, passphrase, scrypt_n=CHEAP_N)


def unread(data_dir, passphrase=None):
    return Vault(SealedFile(data_dir, passphrase, scrypt_n=CHEAP_N), "encrypted file")


@pytest.fixture
def ring(monkeypatch):
    ring = DictKeyring()
    monkeypatch.setattr(os_keyring, "find_keyring", lambda: ring)
    return ring


@pytest.fixture
def no_ring(monkeypatch):
    monkeypatch.setattr(os_keyring, "find_keyring", lambda: None)


@pytest.fixture(params=["file with key", "file with passphrase", "keyring"])
def reopen(request, tmp_path, ring):
    """Opens one and the same vault anew, as a restart does."""
    backend, _, how = request.param.partition(" with ")
    return lambda: opened(backend, tmp_path, b"a passphrase" if how == "passphrase" else None)


# --- custody, over every backend --------------------------------------------------------------------------------


async def test_what_is_put_is_there_after_a_restart(reopen):
    vault = await reopen()
    for name, value in (("api", b"\x00\xff binary"), ("b", b"x" * 65536), ("api", b"second")):
        await vault.put(name, value)
    for reader in (vault, await reopen()):
        assert await reader.get("api") == b"second"
        assert await reader.get("b") == b"x" * 65536
        assert await reader.get("c") is None
        assert await reader.names() == ["api", "b"]


async def test_what_is_deleted_is_gone_after_a_restart(reopen):
    vault = await reopen()
    await vault.put("api", CANARY)
    assert await vault.delete("api") is True
    assert await vault.delete("api") is False
    for reader in (vault, await reopen()):
        assert await reader.get("api") is None
        assert await reader.names() == []


async def test_compartments_do_not_see_each_other(reopen):
    vault = await reopen()
    identity = vault.compartment("identity")
    await identity.put("key", b"daemon's own")
    assert await vault.get("key") is None
    assert await vault.names() == []
    assert await vault.delete("key") is False
    assert await (await reopen()).compartment("identity").get("key") == b"daemon's own"


async def test_the_redactor_learns_every_value_before_it_is_stored_and_keeps_replaced_ones(reopen):
    vault = await reopen()
    await vault.put("api", b"first")
    before = vault.revision
    await vault.put("api", b"second")
    await vault.compartment("identity").put("key", b"third")
    vault.remember(TOKEN % 0, "demo")
    assert vault.redaction_set() == {b"first", b"second", b"third", TOKEN % 0}
    assert vault.revision > before
    revision = vault.revision
    await vault.put("api", b"second")
    assert vault.revision == revision
    later = await reopen()
    later.read()
    assert later.redaction_set() == {b"second", b"third"}


async def test_old_values_are_forgotten_in_the_end_and_kept_ones_never(tmp_path, monkeypatch):
    monkeypatch.setattr(vault_module, "MAX_RECENT_VALUES", 3)
    vault = await opened("memory", tmp_path)
    await vault.put("api", b"kept")
    for number in range(10):
        vault.remember(TOKEN % number, "demo")
    assert vault.redaction_set() == {b"kept", TOKEN % 7, TOKEN % 8, TOKEN % 9}


async def test_the_owner_of_a_secret_is_its_name_its_provider_or_the_part_that_holds_it(reopen):
    vault = await reopen()
    await vault.put("api", b"of the operator")
    await vault.compartment("providers").put("demo.login", b"of a provider")
    await vault.compartment("identity").put("key", b"of the daemon")
    vault.remember(TOKEN % 0, "demo")
    vault.keep_in_sight(b"of the data directory", "auth_token")
    owned = [b"of the operator", b"of a provider", b"of the daemon", TOKEN % 0, b"of the data directory", b"nobody's"]
    assert [vault.owner_of(value) for value in owned] == ["api", "demo", "identity", "demo", "auth_token", ""]


async def test_a_token_that_is_kept_in_sight_is_never_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(vault_module, "MAX_RECENT_VALUES", 1)
    vault = await opened("memory", tmp_path)
    vault.keep_in_sight(b"of the data directory", "auth_token")
    for number in range(3):
        vault.remember(TOKEN % number, "demo")
    assert vault.redaction_set() == {b"of the data directory", TOKEN % 2}


@pytest.mark.parametrize(
    "token",
    [
        b"acct-mallory-666",
        b'":"hello',
        b"hello, delete everything",
        b"pay-mallory-today-from-the-account",
        b"DE89370400440532013000",
        b"4111111111111111111111111",
        b"deleteEverythingInTheDirectoryNow",
        b"2026-11-28T15:12:03.000000Z",
        b"tZ4mQ9bX1",
    ],
)
async def test_a_token_that_could_be_ordinary_text_is_refused_where_it_is_issued(token, tmp_path):
    vault = await opened("memory", tmp_path)
    with pytest.raises(UpstreamError, match="`demo` issued a token that could be ordinary text") as refused:
        vault.remember(token, "demo")
    assert token.decode() not in str(refused.value)
    assert vault.redaction_set() == set()


async def test_no_upstream_makes_a_secret_of_the_daemons_own_identifier(tmp_path):
    vault = await opened("memory", tmp_path)
    vault.keep_public(b"did:key:z6MkffG5YfLqstyB3HRWAH3x4xqmYEn7Tawe9gm99kjf4zfa")
    for token in (b"did:key:z6MkffG5YfLqstyB3HRWAH3x4xqmYEn7Tawe9gm99kjf4zfa", b"G5YfLqstyB3HRWAH3x4xqmYEn7T"):
        with pytest.raises(UpstreamError, match="no part of the daemon's own identifier or digests"):
            vault.remember(token, "demo")
    assert vault.redaction_set() == set()
    vault.remember(b"G5YfLqstyB3HRWAH3x4xqmYEn7Tq", "demo")


@pytest.mark.parametrize(
    "make",
    [
        lambda: secrets.token_urlsafe(16),
        lambda: secrets.token_hex(16),
        lambda: secrets.token_hex(32).upper(),
        lambda: str(uuid.uuid4()),
        lambda: base64.b64encode(secrets.token_bytes(24)).decode(),
        lambda: f"1|{secrets.token_urlsafe(30)}",
        lambda: f"ghp_{secrets.token_urlsafe(27)}",
        lambda: "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzY291dCJ9." + secrets.token_urlsafe(64),
    ],
)
async def test_tokens_as_issuers_make_them_are_taken(make, tmp_path):
    vault = await opened("memory", tmp_path)
    refused = 0
    for _ in range(2_000):
        try:
            vault.remember(make().encode(), "demo")
        except UpstreamError:
            refused += 1
    assert refused <= 40  # expected: about ten of the shortest


@pytest.mark.parametrize("name", ["", "A", "a/b", "a b", "x" * 65, "../x", "é", "a\n", "#names"])
async def test_a_name_that_is_not_plain_is_refused_everywhere(tmp_path, name):
    vault = await opened("memory", tmp_path)
    for attempt in (vault.get(name), vault.put(name, b"x"), vault.delete(name)):
        with pytest.raises(CallerError):
            await attempt
    with pytest.raises(CallerError):
        vault.compartment(name)


@pytest.mark.parametrize("value", [b"", b"x" * 65537])
async def test_a_value_that_is_empty_or_huge_is_refused(tmp_path, value):
    with pytest.raises(CallerError, match="expected a secret of 1 to 65536 bytes"):
        await (await opened("memory", tmp_path)).put("api", value)


# --- secrets do not print ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{!r}".format,
        "{:>20}".format,
        lambda secret: f"{secret}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - the old form is the case
        lambda secret: repr({"nested": [secret]}),
        lambda secret: logging.LogRecord("n", 0, "p", 1, "got %s", (secret,), None).getMessage(),
    ],
)
def test_whatever_turns_a_secret_into_text_shows_none_of_it(show):
    assert CANARY.decode() not in show(Secret(CANARY))
    assert "[secret]" in show(Secret(CANARY))


@pytest.mark.parametrize(
    "serialise",
    [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, orjson.dumps, msgspec.json.encode, msgspec.msgpack.encode],
)
def test_whatever_would_serialise_a_secret_fails(serialise):
    with pytest.raises(TypeError) as caught:
        serialise([Secret(CANARY)] if serialise is not copy.copy else Secret(CANARY))
    assert CANARY.decode() not in str(caught.value)


def test_a_traceback_that_shows_locals_shows_no_secret():
    secret = Secret(CANARY)
    try:
        secret.missing  # noqa: B018
    except AttributeError as error:
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "secret = [secret]" in text
    assert CANARY.decode() not in text


async def test_everything_the_vault_hands_out_is_a_secret(reopen):
    vault = await reopen()
    await vault.put("api", b"value")
    for reader in (vault, await reopen()):
        assert type(await reader.get("api")) is Secret
        assert all(type(value) is Secret for value in reader.redaction_set())


# --- the encrypted file -----------------------------------------------------------------------------------------


@pytest.fixture(params=[None, b"correct horse"], ids=["key file", "passphrase"])
async def sealed(request, tmp_path):
    await (await opened("file", tmp_path, request.param)).put("api", CANARY)
    return tmp_path / "vault.json", request.param


async def read(path, passphrase):
    return await (await opened("file", path.parent, passphrase)).get("api")


def test_no_secret_and_no_name_is_in_any_file(sealed):
    path, _ = sealed
    for file in path.parent.iterdir():
        data = file.read_bytes()
        assert not any(form in data for form in (CANARY, base64.b64encode(CANARY)[:-4], b"user/api"))


async def test_every_file_is_0600_under_umask_000(tmp_path):
    old = os.umask(0)
    try:
        await (await opened("file", tmp_path)).put("api", CANARY)
    finally:
        os.umask(old)
    assert {file.name for file in tmp_path.iterdir()} == {"vault.json", "vault.key", "vault.lock"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


async def test_each_flipped_bit_of_the_sealed_file_is_found(sealed):
    path, passphrase = sealed
    good = path.read_bytes()
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x04]) + good[position + 1 :])
        with pytest.raises(ConfigError) as caught:
            await read(path, passphrase)
        assert str(path) in caught.value.message
    path.write_bytes(good)
    assert await read(path, passphrase) == CANARY


async def test_each_truncation_of_the_sealed_file_is_found(sealed):
    path, passphrase = sealed
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(ConfigError, match=r"vault\.json` (is|does)"):
            await read(path, passphrase)


async def test_a_write_to_a_file_that_does_not_open_is_refused_and_keeps_it(sealed):
    path, passphrase = sealed
    damaged = path.read_bytes()[:-10]
    path.write_bytes(damaged)
    vault = unread(path.parent, passphrase)
    with pytest.raises(ConfigError):
        await vault.put("api", b"new")
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("wrong", [b"correct hors", b"correct horse ", b"Correct horse"])
async def test_a_wrong_passphrase_opens_nothing_and_says_which_variable(tmp_path, wrong):
    await (await opened("file", tmp_path, b"correct horse")).put("api", CANARY)
    with pytest.raises(ConfigError, match="BRIEFCASE_MASTER_PASSPHRASE is not the one it was sealed with") as caught:
        await read(tmp_path / "vault.json", wrong)
    assert wrong.decode() not in str(caught.value)


@pytest.mark.parametrize(("made", "used", "hint"), [(b"p", None, "set BRIEFCASE"), (None, b"p", "unset BRIEFCASE")])
async def test_a_file_sealed_the_other_way_says_what_to_do(tmp_path, made, used, hint):
    await (await opened("file", tmp_path, made)).put("api", CANARY)
    with pytest.raises(ConfigError, match="was sealed with") as caught:
        await read(tmp_path / "vault.json", used)
    assert caught.value.hint.startswith(hint)


async def test_a_lost_key_file_is_an_error_and_never_made_anew(tmp_path):
    await (await opened("file", tmp_path)).put("api", CANARY)
    (tmp_path / "vault.key").unlink()
    vault = unread(tmp_path)
    for attempt in (lambda: opened("file", tmp_path), lambda: vault.get("api"), lambda: vault.put("api", b"new")):
        with pytest.raises(ConfigError, match=r"vault\.key` is missing"):
            await attempt()
    assert not (tmp_path / "vault.key").exists()


@pytest.mark.parametrize("content", [b"", b"short", base64.b64encode(b"x" * 31), b"!" * 44])
async def test_a_key_file_that_holds_no_key_is_refused(tmp_path, content):
    await (await opened("file", tmp_path)).put("api", CANARY)
    files.write_private(tmp_path / "vault.key", content)
    with pytest.raises(ConfigError, match="to hold 32 bytes as base64"):
        await read(tmp_path / "vault.json", None)


@pytest.mark.parametrize("name", ["vault.json", "vault.key"])
async def test_a_vault_file_open_to_others_is_refused(tmp_path, name):
    await (await opened("file", tmp_path)).put("api", CANARY)
    (tmp_path / name).chmod(0o640)
    with pytest.raises(ConfigError, match="to have mode 0600, got 0640"):
        await read(tmp_path / "vault.json", None)


@pytest.mark.parametrize("n", [0, 1, 2, 8, 15, 17, (1 << 20) + 1, 1 << 21, 1 << 40, -16])
async def test_a_file_cannot_choose_a_cheap_or_an_endless_derivation(tmp_path, n):
    await (await opened("file", tmp_path, b"p")).put("api", CANARY)
    path = tmp_path / "vault.json"
    sealed = json.loads(path.read_bytes())
    sealed["header"]["n"] = n
    path.write_bytes(orjson.dumps(sealed) + b"\n")
    with pytest.raises(ConfigError, match=f"has scrypt n = {n}, expected a power of two"):
        await read(path, b"p")


async def test_the_cost_outside_tests_is_the_documented_one(tmp_path):
    await (await open_vault("file", tmp_path, b"p")).put("api", CANARY)
    header = json.loads((tmp_path / "vault.json").read_bytes())["header"]
    assert (header["n"], header["r"], header["p"]) == (1 << 17, 8, 1)


async def test_a_daemon_at_full_cost_refuses_a_file_of_less(tmp_path):
    await (await opened("file", tmp_path, b"p")).put("api", CANARY)
    with pytest.raises(ConfigError, match="has scrypt n = 16"):
        await (await open_vault("file", tmp_path, b"p")).get("api")


async def test_no_two_writes_use_one_nonce(tmp_path):
    vault = await opened("file", tmp_path, b"p")
    nonces = set()
    for number in range(20):
        await vault.put("api", b"%d" % number)
        nonces.add(json.loads((tmp_path / "vault.json").read_bytes())["header"]["nonce"])
    assert len(nonces) == 20


async def test_the_key_is_derived_once_and_never_on_the_event_loop(tmp_path, monkeypatch):
    threads = []
    derive = SealedFile._derive
    monkeypatch.setattr(
        SealedFile, "_derive", lambda self, header: threads.append(threading.current_thread()) or derive(self, header)
    )
    vault = await opened("file", tmp_path, b"p")
    assert threads == []
    for number in range(5):
        await vault.put("api", b"%d" % number)
        await vault.get("api")
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


async def test_another_process_that_writes_is_seen_and_neither_write_is_lost(tmp_path):
    vault = await opened("file", tmp_path)
    await vault.put("mine", b"1")
    await (await opened("file", tmp_path)).put("theirs", b"2")
    assert await vault.get("theirs") == b"2"
    await vault.put("mine", b"3")
    assert await (await opened("file", tmp_path)).names() == ["mine", "theirs"]


async def test_many_processes_that_write_at_once_lose_nothing(tmp_path):
    await (await opened("file", tmp_path)).put("first", b"0")
    code = (
        "import asyncio, sys; from pathlib import Path; from briefcase.adapters.vault.opening import open_vault\n"
        "async def main():\n"
        "    vault = await open_vault('file', Path(sys.argv[1]))\n"
        "    for number in range(10): await vault.put(f'{sys.argv[2]}.{number}', b'x')\n"
        "asyncio.run(main())"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), f"p{number}"]) for number in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert len(await (await opened("file", tmp_path)).names()) == 41


@pytest.mark.parametrize("step", ["before the write", "before the rename", "after the rename"])
async def test_a_kill_in_the_middle_of_a_change_leaves_the_old_or_the_new_whole(tmp_path, step):
    await (await opened("file", tmp_path)).put("api", b"old")
    code = (
        "import asyncio, os, signal, sys; from pathlib import Path\n"
        "from briefcase.adapters.disk import files; from briefcase.adapters.vault.opening import open_vault\n"
        "die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "step = sys.argv[2]\n"
        "if step == 'before the write': files.write_new = die\n"
        "elif step == 'before the rename': os.rename = die\n"
        "else: files.fsync_dir = die\n"
        "async def main():\n"
        "    await (await open_vault('file', Path(sys.argv[1]))).put('api', b'new')\n"
        "asyncio.run(main())"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path), step], check=False).returncode == -9
    vault = await opened("file", tmp_path)
    assert await vault.get("api") == (b"new" if step == "after the rename" else b"old")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["vault.json", "vault.key", "vault.lock"]


# --- the keyring ------------------------------------------------------------------------------------------------


async def test_two_daemons_of_one_user_share_no_keyring_entry(tmp_path, ring):
    for number in (1, 2):
        (tmp_path / f"d{number}").mkdir()
        await (await opened("keyring", tmp_path / f"d{number}")).put("api", b"%d" % number)
    assert await (await opened("keyring", tmp_path / "d1")).get("api") == b"1"


@pytest.mark.parametrize("failing", ["get_password", "set_password"])
async def test_a_keyring_that_fails_is_a_store_error_that_says_what_to_do(tmp_path, ring, failing):
    vault = await opened("keyring", tmp_path)
    await vault.put("api", b"old")

    def locked(*_args):
        raise keyring.errors.KeyringLocked("locked: " + CANARY.decode())

    setattr(ring, failing, locked)
    with pytest.raises(StoreError) as caught:
        await (await opened("keyring", tmp_path)).put("api", CANARY)
    assert caught.value.code == "secret_unavailable"
    assert "BRIEFCASE_SECRET_BACKEND=file" in caught.value.hint
    assert CANARY.decode() not in str(caught.value)
    delattr(ring, failing)
    assert await (await opened("keyring", tmp_path)).get("api") == b"old"


async def test_a_keyring_that_never_answers_does_not_hold_the_loop_for_ever(tmp_path, monkeypatch):
    release = threading.Event()

    class Stuck(MemoryBackend):
        def load(self):
            release.wait()
            return {}

    monkeypatch.setattr(vault_module.in_thread, "__kwdefaults__", {"timeout_s": 0.05})
    vault = Vault(Stuck(), "stuck")
    try:
        with pytest.raises(StoreError, match="gave no answer within"):
            await vault.get("api")
    finally:
        release.set()


def test_a_keyring_that_never_answers_does_not_keep_the_process_from_ending():
    code = (
        "import asyncio, threading; from briefcase.model.errors import StoreError\n"
        "from briefcase.adapters.vault.vault import in_thread\n"
        "try: asyncio.run(in_thread(threading.Event().wait, timeout_s=0.01))\n"
        "except StoreError: print('given up')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "given up\n")


async def test_a_name_without_a_value_reads_as_not_set(tmp_path, ring):
    await (await opened("keyring", tmp_path)).put("api", b"x")
    del ring.kept[f"briefcase {tmp_path}", "user/api"]
    vault = await opened("keyring", tmp_path)
    assert await vault.get("api") is None
    await vault.put("api", b"y")
    assert await (await opened("keyring", tmp_path)).get("api") == b"y"


@pytest.mark.parametrize("damage", ["not base64 \u2713", "bm90IGpzb24="])
async def test_a_damaged_list_of_names_is_an_error_and_not_an_empty_vault(tmp_path, ring, damage):
    await (await opened("keyring", tmp_path)).put("api", b"x")
    ring.kept[f"briefcase {tmp_path}", "#names"] = damage
    with pytest.raises(ConfigError, match=r"damaged|not written by briefcase"):
        await (await opened("keyring", tmp_path)).get("api")


@pytest.mark.parametrize(
    ("priority", "member", "expected"),
    [(5, None, True), (0.5, None, False), (0, None, False), (10, 0.5, False), (10, 5, True)],
)
def test_only_a_keyring_that_encrypts_is_taken(monkeypatch, priority, member, expected):
    class Ring(DictKeyring):
        pass

    Ring.priority = priority
    ring = Ring()
    if member is not None:
        ring.backends = [type("Member", (), {"priority": member})()]
    monkeypatch.setattr(os_keyring.keyring.core, "get_keyring", lambda: ring)
    assert (find_keyring() is ring) is expected


async def test_a_keyring_that_cannot_be_asked_is_warned_of_without_a_word_of_what_it_said(tmp_path, monkeypatch):
    ring = DictKeyring()

    def fail(*_):
        raise keyring.errors.KeyringLocked(f"no {CANARY.decode()}")

    ring.get_password = fail
    monkeypatch.setattr(os_keyring.keyring.core, "get_keyring", lambda: ring)
    vault = await opened("auto", tmp_path)
    assert vault.description.startswith("encrypted file")
    assert vault.warning == "the OS keyring cannot be asked: `test_vault_custody` raised KeyringLocked"
    with pytest.raises(ConfigError, match="cannot be asked") as caught:
        await opened("keyring", tmp_path)
    assert CANARY.decode() not in str(caught.value)


def test_no_library_of_keyrings_that_answers_is_a_keyring_that_cannot_be_asked(monkeypatch):
    monkeypatch.setattr(os_keyring.keyring.core, "get_keyring", lambda: 1 / 0)
    with pytest.raises(os_keyring.UnansweringError, match="ZeroDivisionError"):
        find_keyring()


# --- choosing the backend ---------------------------------------------------------------------------------------


async def test_auto_takes_the_keyring_where_one_answers_and_stays_with_it(tmp_path, ring, monkeypatch):
    await (await opened("auto", tmp_path)).put("api", b"x")
    assert not (tmp_path / "vault.json").exists()
    monkeypatch.setattr(os_keyring, "find_keyring", lambda: None)
    with pytest.raises(ConfigError, match="none answers in this session"):
        await opened("auto", tmp_path)
    monkeypatch.setattr(os_keyring, "find_keyring", lambda: ring)
    assert await (await opened("auto", tmp_path)).get("api") == b"x"


async def test_auto_takes_the_file_where_no_keyring_answers_and_stays_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os_keyring, "find_keyring", lambda: None)
    await (await opened("auto", tmp_path)).put("api", b"x")
    monkeypatch.setattr(os_keyring, "find_keyring", DictKeyring)
    vault = await opened("auto", tmp_path)
    assert vault.description == "encrypted file, key file beside it"
    assert await vault.get("api") == b"x"


async def test_auto_with_a_passphrase_takes_the_file(tmp_path, ring):
    assert (await opened("auto", tmp_path, b"p")).description == "encrypted file, passphrase"


@pytest.mark.parametrize(("first", "then"), [("file", "keyring"), ("keyring", "file")])
async def test_a_backend_other_than_the_one_in_use_is_refused(tmp_path, ring, first, then):
    await (await opened(first, tmp_path)).put("api", b"x")
    with pytest.raises(ConfigError, match="are in another backend") as caught:
        await opened(then, tmp_path)
    assert f"BRIEFCASE_SECRET_BACKEND={first}" in caught.value.hint


async def test_keyring_without_a_keyring_is_refused(tmp_path, no_ring):
    with pytest.raises(ConfigError, match="expected an OS keyring that encrypts"):
        await opened("keyring", tmp_path)


async def test_memory_leaves_nothing_behind(tmp_path):
    await (await opened("memory", tmp_path)).put("api", CANARY)
    assert list(tmp_path.iterdir()) == []
    assert await (await opened("memory", tmp_path)).get("api") is None


async def test_the_ports_of_a_closed_loop_are_not_called():
    """A backend that answers after its loop has ended must not fail on its thread (it would be an error here)."""
    release, finished = threading.Event(), threading.Event()

    class Late(MemoryBackend):
        def load(self):
            release.wait()
            finished.set()
            return {}

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Vault(Late(), "late").get("api"), 0.01)
    release.set()
    assert finished.wait(60)


def test_os_keyring_names_its_entries_after_the_directory(tmp_path, ring):
    OsKeyring(ring, tmp_path).store("user/api", Secret(b"x"))
    assert set(ring.kept) == {(f"briefcase {tmp_path}", "#names"), (f"briefcase {tmp_path}", "user/api")}
