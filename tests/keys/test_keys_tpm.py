"""Keys of a TPM (swtpm): proof keys that sign in it, an identity that it seals, and each fault a refusal."""

from contextlib import AsyncExitStack

import pytest

from briefcase.adapters.keys.opening import KeySettings, check_proof_keys, open_places
from briefcase.adapters.keys.places import TpmKey, kept_of
from briefcase.adapters.oauth.custody import Custody
from briefcase.adapters.vault.identity import KEY_NAME, verify_signature
from briefcase.core.jose.dpop import Proof, ProofSigner, check_proof
from briefcase.model.errors import ConfigError, StoreError
from support.key_places import check_swtpm, running_tpm
from support.secrets import FakeSecrets

URL = "https://provider.example/token"
NOW_US = 1_767_225_600_000_000


@pytest.fixture(autouse=True)
def _needs_swtpm():
    check_swtpm()


@pytest.fixture
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("t")  # the path of a socket must be short


async def opened(stack, tcti):
    return await open_places(KeySettings(identity="tpm", proofs="tpm", tpm_tcti=tcti), "", stack)


async def test_keys_outlive_the_daemon_and_the_tpms_own_restart(directory):
    secrets, dids, keys = FakeSecrets(), [], []
    for _ in range(2):
        with running_tpm(directory) as tcti:
            async with AsyncExitStack() as stack:
                places = await opened(stack, tcti)
                custody = Custody(secrets, lambda *_: None, keys=places.proofs)
                identity = await places.load_identity(secrets)
                key = await custody.key("demo")
                await check_proof_keys(places.proofs, secrets)
                proof = ProofSigner(key).sign("POST", URL, "jti", NOW_US)
                assert isinstance(check_proof([proof], "POST", URL, NOW_US), Proof)
                assert verify_signature(identity.did, b"message", identity.sign(b"message"))
                assert (places.problem(), "memory" in places.identity_place) == (None, True)
                dids.append(identity.did)
                keys.append(key.public.thumbprint)
    assert dids[0] == dids[1]
    assert keys[0] == keys[1]
    assert KEY_NAME not in secrets.kept
    assert all(isinstance(kept_of(kept), TpmKey) for kept in secrets.kept.values())


async def test_more_keys_than_a_tpm_holds_at_once_sign_in_turn(directory):
    with running_tpm(directory) as tcti:
        async with AsyncExitStack() as stack:
            places = await opened(stack, tcti)
            custody = Custody(FakeSecrets(), lambda *_: None, keys=places.proofs)
            keys = [await custody.key(f"provider-{number}") for number in range(6)]
            for key in (*keys, *keys):
                assert key.public.is_signature(b"message", key.sign(b"message"))


async def test_another_tpm_takes_none_of_the_keys(directory, tmp_path_factory):
    secrets = FakeSecrets()
    with running_tpm(directory) as tcti:
        async with AsyncExitStack() as stack:
            places = await opened(stack, tcti)
            await places.load_identity(secrets)
            await Custody(secrets, lambda *_: None, keys=places.proofs).key("demo")
    with running_tpm(tmp_path_factory.mktemp("t")) as tcti:
        async with AsyncExitStack() as stack:
            places = await opened(stack, tcti)
            with pytest.raises(ConfigError, match="another TPM's, or it was cleared"):
                await places.load_identity(secrets)
            with pytest.raises(ConfigError, match="another TPM's, or it was cleared"):
                await check_proof_keys(places.proofs, secrets)


async def test_a_tpm_that_is_not_there_is_refused(directory):
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match="cannot be used") as refused:
            await opened(stack, f"swtpm:path={directory}/away")
    assert "BRIEFCASE_TPM_TCTI" in refused.value.hint


async def test_a_tpm_that_went_away_is_said_so_and_nothing_is_signed(directory):
    async with AsyncExitStack() as stack:
        with running_tpm(directory) as tcti:
            places = await opened(stack, tcti)
            key = await Custody(FakeSecrets(), lambda *_: None, keys=places.proofs).key("demo")
        assert "does not answer" in places.problem()
        with pytest.raises(StoreError, match="the TPM could not"):
            key.sign(b"message")
        stack.pop_all()


async def test_what_the_vault_keeps_of_software_is_not_used_under_this_setting(directory):
    secrets = FakeSecrets()
    secrets.kept[KEY_NAME] = bytes(32)
    with running_tpm(directory) as tcti:
        async with AsyncExitStack() as stack:
            places = await opened(stack, tcti)
            with pytest.raises(ConfigError, match="the identity is kept by `software`"):
                await places.load_identity(secrets)
