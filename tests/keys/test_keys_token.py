"""Keys in a token of SoftHSM: made there, used there, and each fault a refusal that names it."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import AsyncExitStack

import pytest

from briefcase.adapters.keys.opening import KeySettings, check_proof_keys, open_places
from briefcase.adapters.keys.places import TokenKey, VaultKeys, kept_of
from briefcase.adapters.oauth.custody import Custody
from briefcase.adapters.vault.identity import KEY_NAME, verify_signature
from briefcase.core.jose.dpop import Proof, ProofSigner, check_proof
from briefcase.model.errors import ConfigError, StoreError
from support.daemons import RunningDaemon
from support.key_places import LABEL, PIN, make_token, softhsm_module
from support.secrets import FakeSecrets

URL = "https://provider.example/token"
NOW_US = 1_767_225_600_000_000


@pytest.fixture(scope="module")
def module():
    return softhsm_module()


@pytest.fixture(scope="module")
def configuration(module, tmp_path_factory):
    """SoftHSM reads its configuration once a process: all tests of this module have one directory of tokens."""
    del module
    directory = tmp_path_factory.mktemp("softhsm")
    made = make_token(directory)
    make_token(directory, "wrong-pins")
    for _ in range(2):
        make_token(directory, "twice")
    os.environ["SOFTHSM2_CONF"] = str(made)
    yield made
    del os.environ["SOFTHSM2_CONF"]


@pytest.fixture
async def opened(module, configuration):
    """Opens places; everything is closed at the end."""
    del configuration
    async with AsyncExitStack() as stack:

        async def opened(pin=PIN, token=LABEL, library=module, **settings):
            chosen = {"identity": "pkcs11", "proofs": "pkcs11", **settings}
            named = KeySettings(pkcs11_module=library, pkcs11_token=token, **chosen)
            return await open_places(named, pin, stack)

        yield opened


async def test_an_identity_is_made_in_the_token_once_and_signs_there(opened):
    places, secrets = await opened(), FakeSecrets()
    assert await places.read_identity(secrets) is None
    first = await places.load_identity(secrets)
    assert list(secrets.kept) == ["ed25519.kept"]
    assert isinstance(kept_of(secrets.kept["ed25519.kept"]), TokenKey)
    again = await places.load_identity(secrets)
    assert again.did == first.did
    assert verify_signature(first.did, b"message", again.sign(b"message"))
    proof = first.proof_signer().sign("POST", URL, "jti", NOW_US)
    assert isinstance(check_proof([proof], "POST", URL, NOW_US), Proof)
    assert LABEL in places.identity_place
    assert places.problem() is None


async def test_a_proof_key_is_made_used_and_ended_in_the_token(opened):
    places, secrets = await opened(), FakeSecrets()
    custody = Custody(secrets, lambda *_: None, keys=places.proofs)
    key = await custody.key("demo")
    proof = ProofSigner(await custody.key("demo")).sign("POST", URL, "jti", NOW_US)
    checked = check_proof([proof], "POST", URL, NOW_US)
    assert isinstance(checked, Proof)
    assert checked.jkt == key.public.thumbprint
    await check_proof_keys(places.proofs, secrets)
    kept = secrets.kept["demo.key"]
    await custody.forget("demo")
    assert secrets.kept == {}
    with pytest.raises(ConfigError, match="has no key"):
        places.proofs.load(kept)


async def test_the_private_half_cannot_be_read_out(opened):
    pkcs11 = pytest.importorskip("pkcs11")
    attribute = pkcs11.Attribute
    places, secrets = await opened(), FakeSecrets()
    await places.load_identity(secrets)
    await Custody(secrets, lambda *_: None, keys=places.proofs).key("demo")
    found = list(places._opened["pkcs11"]._session.get_objects({attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}))
    assert len(found) >= 2
    for private in found:
        assert (private[attribute.SENSITIVE], private[attribute.EXTRACTABLE]) == (True, False)
        with pytest.raises(pkcs11.PKCS11Error):
            private[attribute.VALUE]


# --- each fault -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"token": "another"}, f"expected a token `another`, got .*`{LABEL}`"),
        ({"token": "twice"}, "expected one token `twice`, got several"),
        ({"token": "wrong-pins", "pin": "0000-wrong"}, "its PIN is another"),
        ({"token": "wrong-pins", "pin": "1"}, "its PIN is another|of another length"),
    ],
)
async def test_a_token_that_does_not_open_is_refused_with_its_reason_and_never_the_pin(opened, changes, told):
    with pytest.raises(ConfigError, match=told) as refused:
        await opened(**changes)
    assert changes.get("pin", PIN) not in refused.value.message + refused.value.hint


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("PinLocked", "its PIN is locked after too many wrong ones"),
        ("PinExpired", "its PIN has expired"),
        ("UserPinNotInitialized", "it has no user PIN"),
        ("DeviceError", "does not open: DeviceError"),
    ],
)
async def test_a_pin_that_is_locked_or_was_never_set_is_said(opened, monkeypatch, problem, told):
    token = pytest.importorskip("briefcase.adapters.keys.token")
    raised = getattr(pytest.importorskip("pkcs11.exceptions"), problem)

    class Refusing:  # SoftHSM counts no wrong PINs
        def open(self, **_):
            raise raised

    monkeypatch.setattr(token, "_find", lambda *_: Refusing())
    with pytest.raises(ConfigError, match=f"the token `{LABEL}` does not open") as refused:
        await opened()
    assert told in refused.value.message
    assert PIN not in refused.value.message + refused.value.hint


async def test_a_module_that_is_none_is_named(opened, tmp_path):
    for path in (tmp_path / "away.so", tmp_path / "text.so"):
        (tmp_path / "text.so").write_text("no library")
        with pytest.raises(ConfigError, match=str(path)):
            await opened(library=path)


async def test_a_key_that_the_vault_names_and_the_token_has_not_stops_the_start(opened):
    places, secrets = await opened(), FakeSecrets()
    await places.load_identity(secrets)
    kept = kept_of(secrets.kept["ed25519.kept"])
    places._opened["pkcs11"].destroy(kept)
    for ask in (places.read_identity, places.load_identity):
        with pytest.raises(ConfigError, match=f"has no key `{kept.id_hex}`"):
            await ask(secrets)
    assert list(secrets.kept) == ["ed25519.kept"]


async def test_a_token_without_ed25519_keeps_no_identity_and_says_what_it_may_keep(opened, monkeypatch):
    places, secrets = await opened(), FakeSecrets()
    monkeypatch.setattr("briefcase.adapters.keys.token._ED25519_MECHANISMS", {"what no token has"})
    with pytest.raises(ConfigError, match="has no Ed25519") as refused:
        await places.load_identity(secrets)
    assert "BRIEFCASE_IDENTITY_KEY" in refused.value.hint
    assert secrets.kept == {}
    assert (await Custody(secrets, lambda *_: None, keys=places.proofs).key("demo")).sign(b"m")


async def test_keys_that_are_in_software_are_not_used_under_another_setting(opened):
    places, secrets = await opened(), FakeSecrets()
    secrets.kept[KEY_NAME] = bytes(32)
    with pytest.raises(ConfigError, match="the identity is kept by `software`"):
        await places.load_identity(secrets)
    secrets.kept["demo.key"] = VaultKeys().make()[1]
    with pytest.raises(ConfigError, match="a proof key is kept by `software`"):
        await check_proof_keys(places.proofs, secrets)


async def test_a_token_that_went_away_is_said_so_and_nothing_is_signed(module, configuration):
    del configuration
    async with AsyncExitStack() as stack:
        named = KeySettings(identity="pkcs11", pkcs11_module=module, pkcs11_token=LABEL)
        places = await open_places(named, PIN, stack)
        identity = await places.load_identity(FakeSecrets())
        places._opened["pkcs11"].close()
        assert "does not answer" in places.problem()
        with pytest.raises(StoreError, match="could not sign"):
            identity.sign(b"message")
        stack.pop_all()


# --- a daemon ---------------------------------------------------------------------------------------------------------


def run(command, environ):
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)


def test_a_daemon_keeps_its_keys_in_a_token_says_so_and_does_not_start_without_it(module, tmp_path):
    (tmp_path / "hsm").mkdir()
    configuration = make_token(tmp_path / "hsm")
    environ = {
        "SOFTHSM2_CONF": str(configuration),
        "BRIEFCASE_IDENTITY_KEY": "pkcs11",
        "BRIEFCASE_PROOF_KEYS": "pkcs11",
        "BRIEFCASE_PKCS11_MODULE": str(module),
        "BRIEFCASE_PKCS11_TOKEN": LABEL,
        "BRIEFCASE_PKCS11_PIN": PIN,
    }
    (tmp_path / "data").mkdir(mode=0o700)
    with RunningDaemon(tmp_path / "data", **environ) as daemon:
        told = daemon.request("GET", "/v1/identity")[1]
        assert LABEL in told["identity_key"]
        assert LABEL in told["proof_keys"]
        command = [sys.executable, "-m", "briefcase", "identity", "show", "--json"]
        shown = subprocess.run(command, env=daemon.env, capture_output=True, text=True, check=True)
        assert json.loads(shown.stdout)["identity_key"] == told["identity_key"]
        checks = daemon.request("GET", "/v1/diagnostics/security")[1]["checks"]
        assert [check["ok"] for check in checks if check["name"] == "keys"] == [True]
        daemon.stop()
        kept = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
        assert PIN.encode() not in kept
        shutil.rmtree(tmp_path / "hsm" / "tokens")
        (tmp_path / "hsm" / "tokens").mkdir()
        refused = subprocess.run(
            daemon.command, env=daemon.env, capture_output=True, text=True, check=False, timeout=60
        )
        assert (refused.returncode, f"expected a token `{LABEL}`" in refused.stderr) == (9, True), refused.stderr
        software = {name: value for name, value in daemon.env.items() if "PKCS11" not in name and "_KEY" not in name}
        refused = run(daemon.command, software)
        assert (refused.returncode, "kept by `pkcs11`" in refused.stderr) == (9, True), refused.stderr
