"""The identity key: one key for ever, named by its did:key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.adapters.keys.opening import KeySettings, Places
from briefcase.adapters.vault.identity import Identity, verify_signature
from briefcase.adapters.vault.vault import MemoryBackend, Vault
from briefcase.core.jose.did import decode_did_key, encode_did_key
from briefcase.model.errors import ConfigError

# did:key Method v0.9, test vectors, ed25519-x25519.json: seed, DID (https://w3c-ccg.github.io/did-key-spec/)
DID_VECTORS = [
    ("00" * 32, "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"),
    ("00" * 31 + "01", "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"),
    ("00" * 31 + "02", "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"),
]
# RFC 8032 section 7.1, TEST 2: seed, public key, message, signature
RFC8032_TEST_2 = (
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
)


@pytest.mark.parametrize(("seed", "did"), DID_VECTORS)
def test_a_did_is_that_of_the_did_key_specification(seed, did):
    assert Identity(bytes.fromhex(seed)).did == did


def test_a_signature_is_that_of_rfc_8032():
    seed, public_key, message, signature = map(bytes.fromhex, RFC8032_TEST_2)
    identity = Identity(seed)
    assert identity.public_key == public_key
    assert identity.sign(message) == signature
    assert verify_signature(identity.did, message, signature)
    assert not verify_signature(identity.did, message + b"x", signature)
    assert not verify_signature(identity.did, message, signature[:-1])


async def test_the_identity_is_made_once_and_survives_a_restart():
    backend, places = MemoryBackend(), Places(KeySettings(), {})

    first, second = [await places.load_identity(Vault(backend, "memory").compartment("identity")) for _ in range(2)]
    assert first.did == second.did
    assert verify_signature(first.did, b"message", second.sign(b"message"))


@pytest.mark.parametrize("length", [1, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length):
    with pytest.raises(ConfigError, match=f"of 32 bytes in the vault, got {length}"):
        Identity(b"x" * length)


@given(st.binary(min_size=32, max_size=32))
def test_each_public_key_has_one_did(public_key):
    did = encode_did_key(public_key)
    assert did.startswith("did:key:z6Mk")
    assert decode_did_key(did) == public_key


@pytest.mark.parametrize(
    "did",
    [
        "",
        "did:key:z",
        "did:web:example.com",
        "did:key:u" + "6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
        "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW",  # one character short
        "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp1",  # one too many
        "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW0",  # not base58
        "did:key:zDnaeTiq1PdzvZXUaMdezchcMJQpBdH2VN4pgrrEhMCCbmwSb",  # a P-256 key
        "did:key:z" + "6" * 1_000_000,
    ],
)
def test_a_did_that_names_no_ed25519_key_is_none_and_verifies_nothing(did):
    assert decode_did_key(did) is None
    assert not verify_signature(did, b"message", b"\0" * 64)
