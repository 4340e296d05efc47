"""Where the daemon's keys are: as the settings say, as the vault remembers, and never elsewhere in silence."""

import subprocess
import sys
from contextlib import AsyncExitStack

import msgspec
import pytest

from briefcase.adapters.keys.opening import ELSEWHERE_NAME, KeySettings, check_proof_keys, open_places
from briefcase.adapters.keys.places import TokenKey, TpmKey, VaultKeys
from briefcase.adapters.oauth.custody import Custody
from briefcase.adapters.vault.identity import KEY_NAME
from briefcase.daemon.settings import parse_settings
from briefcase.model.errors import ConfigError
from support.secrets import FakeSecrets

IN_TOKEN = msgspec.json.encode(TokenKey("01" * 16, "04"))
OF_TPM = msgspec.json.encode(TpmKey("01", "02"))
TOKEN = {"BRIEFCASE_PKCS11_MODULE": "/m.so", "BRIEFCASE_PKCS11_TOKEN": "t", "BRIEFCASE_PKCS11_PIN": "1"}
TPM = {"BRIEFCASE_TPM_TCTI": "device:/dev/tpmrm0"}


async def opened(settings=None, pin=""):
    return await open_places(settings or KeySettings(), pin, AsyncExitStack())


# --- the settings -----------------------------------------------------------------------------------------------------


def test_by_default_both_are_in_the_vault():
    assert parse_settings({"BRIEFCASE_DATA_DIR": "/data"}).keys == KeySettings()


def test_each_has_a_place_of_its_own():
    environ = {"BRIEFCASE_DATA_DIR": "/data", "BRIEFCASE_IDENTITY_KEY": "tpm", "BRIEFCASE_PROOF_KEYS": "pkcs11"}
    keys = parse_settings(environ | TOKEN | TPM).keys
    assert (keys.identity, keys.proofs, str(keys.pkcs11_module), keys.pkcs11_token, keys.tpm_tcti) == (
        "tpm", "pkcs11", "/m.so", "t", "device:/dev/tpmrm0",
    )  # fmt: skip
    assert "4711" not in repr(parse_settings(environ | TOKEN | TPM | {"BRIEFCASE_PKCS11_PIN": "4711"}))


@pytest.mark.parametrize("name", TOKEN)
def test_a_place_that_is_named_by_halves_is_refused(name):
    environ = {"BRIEFCASE_DATA_DIR": "/data", "BRIEFCASE_PROOF_KEYS": "pkcs11"} | TOKEN
    with pytest.raises(ConfigError, match=f"`{name}`: expected it to be set"):
        parse_settings({key: value for key, value in environ.items() if key != name})


@pytest.mark.parametrize("given", [TOKEN, TPM, {"BRIEFCASE_PKCS11_TOKEN": "t"}])
def test_a_place_that_is_set_up_and_keeps_nothing_is_refused(given):
    with pytest.raises(ConfigError, match="no key is kept by"):
        parse_settings({"BRIEFCASE_DATA_DIR": "/data"} | given)


def test_a_place_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="BRIEFCASE_IDENTITY_KEY"):
        parse_settings({"BRIEFCASE_DATA_DIR": "/data", "BRIEFCASE_IDENTITY_KEY": "yubikey"})


# --- what the vault remembers -----------------------------------------------------------------------------------------


async def test_an_identity_in_the_vault_is_made_once_and_stays():
    secrets, places = FakeSecrets(), await opened()
    assert await places.read_identity(secrets) is None
    first = await places.load_identity(secrets)
    assert (await places.load_identity(secrets)).did == first.did
    assert list(secrets.kept) == [KEY_NAME]
    assert "the vault" in places.identity_place
    assert places.problem() is None


@pytest.mark.parametrize(("kept", "place"), [(IN_TOKEN, "pkcs11"), (OF_TPM, "tpm")])
async def test_an_identity_that_is_kept_elsewhere_is_not_made_anew_in_software(kept, place):
    secrets, places = FakeSecrets(), await opened()
    secrets.kept[ELSEWHERE_NAME] = kept
    for ask in (places.read_identity, places.load_identity):
        with pytest.raises(ConfigError, match=f"the identity is kept by `{place}`") as refused:
            await ask(secrets)
        assert f"BRIEFCASE_IDENTITY_KEY={place}" in refused.value.hint
    assert list(secrets.kept) == [ELSEWHERE_NAME]


@pytest.mark.parametrize(("kept", "place"), [(IN_TOKEN, "pkcs11"), (OF_TPM, "tpm")])
async def test_a_proof_key_that_is_kept_elsewhere_stops_the_start_and_is_not_made_anew(kept, place):
    secrets = FakeSecrets()
    secrets.kept["demo.key"] = kept
    for ask in (check_proof_keys(VaultKeys(), secrets), Custody(secrets, lambda *_: None).key("demo")):
        with pytest.raises(ConfigError, match=f"a proof key is kept by `{place}`"):
            await ask
    assert secrets.kept == {"demo.key": kept}


async def test_a_proof_key_in_the_vault_is_made_at_its_first_use_and_forgotten_with_its_provider():
    secrets = FakeSecrets()
    custody = Custody(secrets, lambda *_: None)
    key = await custody.key("demo")
    assert (await custody.key("demo")).public.jwk == key.public.jwk
    assert key.public.is_signature(b"m", key.sign(b"m"))
    await check_proof_keys(VaultKeys(), secrets)
    await custody.forget("demo")
    assert secrets.kept == {}


async def test_a_damaged_proof_key_is_named():
    secrets = FakeSecrets()
    secrets.kept["demo.key"] = b"{"
    with pytest.raises(ConfigError, match="damaged"):
        await Custody(secrets, lambda *_: None).key("demo")


@pytest.mark.parametrize("place", ["pkcs11", "tpm"])
async def test_a_place_whose_modules_are_not_installed_says_how_they_are(monkeypatch, place):
    for name in ("pkcs11", "tpm2_pytss", "briefcase.adapters.keys.token", "briefcase.adapters.keys.tpm"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match="not installed") as refused:
        await opened(KeySettings(proofs=place))
    assert f"[{place}]" in refused.value.hint


def test_no_module_of_a_token_or_a_tpm_is_loaded_unless_one_is_named():
    code = (
        "import sys, briefcase.daemon.composition, briefcase.adapters.keys.opening;"
        "sys.exit(any(name.startswith(('pkcs11', 'tpm2_pytss', 'asn1crypto')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
