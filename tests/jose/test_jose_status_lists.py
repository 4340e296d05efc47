"""Bitstring status lists (W3C): what a list says of a credential, and every list that must not be believed."""

import gzip
import tracemalloc

import pytest

from briefcase.core.jose.base64url import JoseError, encode_base64url
from briefcase.core.jose.credentials import BitstringEntry, read_credential
from briefcase.core.jose.jws import Signer, did_of, generate_key
from briefcase.core.jose.status_lists import MIN_BITSTRING_BYTES, read_status_list

S = 1_000_000
NOW_S = 1_767_225_600  # 2026-01-01T00:00:00Z
KEY, OTHER_KEY = generate_key("EdDSA"), generate_key("EdDSA")
ISSUER, HOLDER = did_of(KEY.public), did_of(generate_key("EdDSA").public)
URI = "https://provider.example/vc/bitstring"
LATER, EARLIER = "2026-01-01T00:10:00Z", "2025-12-31T00:00:00Z"
ENTRY = {
    "id": f"{URI}#9",
    "type": "BitstringStatusListEntry",
    "statusPurpose": "revocation",
    "statusListIndex": "9",
    "statusListCredential": URI,
}


def credential(key=KEY, **changed):
    claims = {"iss": did_of(key.public), "sub": HOLDER, "exp": NOW_S + 600, "credentialStatus": ENTRY} | changed
    return Signer(key, "vc+jwt").sign(claims)


def encoded(data):
    return "u" + encode_base64url(gzip.compress(bytes(data)))


def bits(*ones, size=MIN_BITSTRING_BYTES):
    """A bit string with these indices set, index 0 at the left of the first byte."""
    data = bytearray(size)
    for index in ones:
        data[index // 8] |= 128 >> index % 8
    return encoded(data)


def status_list(key=KEY, *, subject=None, claims=None, typ="vc+jwt", **changed):
    document = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "id": URI,
        "type": ["VerifiableCredential", "BitstringStatusListCredential"],
        "issuer": did_of(key.public),
        "validFrom": EARLIER,
        "validUntil": LATER,
        "credentialSubject": {
            "id": f"{URI}#list",
            "type": "BitstringStatusList",
            "statusPurpose": "revocation",
            "encodedList": bits(),
        }
        | (subject or {}),
    } | changed
    given = {name: value for name, value in document.items() if value is not None}
    return Signer(key, typ).sign(given | (claims or {}))


def read(list_jwt, credential_jwt=None, now_s=NOW_S):
    about = read_credential(credential_jwt or credential(), HOLDER, NOW_S * S)
    (entry,) = about.status_entries
    assert isinstance(entry, BitstringEntry)
    return read_status_list(list_jwt, about, entry, now_s * S), entry


@pytest.mark.parametrize(("ones", "holds"), [((), True), ((9,), False), ((8, 10, 14), True), ((0, 9), False)])
def test_a_bit_that_is_set_ends_the_credential_at_its_index_from_the_left(ones, holds):
    found, entry = read(status_list(subject={"encodedList": bits(*ones)}))
    assert found.is_valid(entry.idx) is holds


def test_an_index_beyond_the_list_is_of_no_credential_that_holds():
    last = MIN_BITSTRING_BYTES * 8 - 1
    beyond = credential(credentialStatus=ENTRY | {"statusListIndex": str(last + 1)})
    at_the_end = credential(credentialStatus=ENTRY | {"statusListIndex": str(last)})
    for jwt, holds in ((at_the_end, True), (beyond, False)):
        found, entry = read(status_list(), jwt)
        assert found.is_valid(entry.idx) is holds


@pytest.mark.parametrize(
    ("changes", "expires_s"),
    [
        ({}, NOW_S + 300),  # as long as a list lives that says nothing
        ({"subject": {"ttl": 60_000}}, NOW_S + 60),
        ({"subject": {"ttl": 3_600_000}}, NOW_S + 600),
        ({"claims": {"exp": NOW_S + 90}}, NOW_S + 90),
        ({"validUntil": None}, NOW_S + 300),
        ({"subject": {"statusPurpose": ["suspension", "revocation"]}}, NOW_S + 300),
        ({"issuer": {"id": ISSUER}}, NOW_S + 300),
    ],
)
def test_a_list_is_of_use_until_the_first_of_its_ends(changes, expires_s):
    assert read(status_list(**changes))[0].expires_s == expires_s


def test_a_list_in_the_older_form_is_read_from_its_vc():
    whole = {"vc": {**_document(), "issuer": ISSUER}, "iss": ISSUER}
    assert read(Signer(KEY, "vc+jwt").sign(whole))[0].is_valid(9)


def _document():
    return {
        "id": URI,
        "type": ["BitstringStatusListCredential"],
        "credentialSubject": {"type": "BitstringStatusList", "statusPurpose": "revocation", "encodedList": bits()},
    }


BOMB = encoded(bytes(9 << 20))
TWO_MEMBERS = "u" + encode_base64url(gzip.compress(bytes(MIN_BITSTRING_BYTES)) * 2)
CUT = "u" + encode_base64url(gzip.compress(bytes(range(256)) * 256)[:-9])


@pytest.mark.parametrize(
    ("list_jwt", "problem"),
    [
        ("", "three parts"),
        ("a" * (2 << 20), "at most"),
        (status_list(typ="statuslist+jwt"), "`typ`"),
        (status_list(key=OTHER_KEY), "not the one"),
        (status_list(key=OTHER_KEY, issuer=ISSUER), "signature"),
        (status_list(claims={"iss": did_of(OTHER_KEY.public)}), "not the one"),
        (status_list(claims={"iss": [ISSUER]}), "not the one"),
        (status_list(id="https://provider.example/vc/other"), "not the one"),
        (status_list(type=["VerifiableCredential"]), "Bitstring Status List"),
        (status_list(subject={"type": "StatusList2021"}), "invalid"),
        (status_list(subject={"statusPurpose": "suspension"}), "purpose"),
        (status_list(subject={"statusPurpose": []}), "purpose"),
        (status_list(validUntil=EARLIER), "expired"),
        (status_list(validUntil="2026-01-01T00:00:00Z"), "expired"),
        (status_list(claims={"exp": NOW_S}), "expired"),
        (status_list(validFrom=LATER), "not valid yet"),
        (status_list(claims={"nbf": NOW_S + 1}), "not valid yet"),
        (status_list(validUntil="soon"), "times"),
        (status_list(subject={"ttl": -1}), "ttl"),
        (status_list(subject={"encodedList": bits()[1:]}), "Multibase"),
        (status_list(subject={"encodedList": "uAAAA"}), "compressed"),
        (status_list(subject={"encodedList": "u="}), "base64url"),
        (status_list(subject={"encodedList": bits(size=MIN_BITSTRING_BYTES - 1)}), "at least"),
        (status_list(subject={"encodedList": BOMB}), "at most"),
        (status_list(subject={"encodedList": TWO_MEMBERS}), "one whole"),
        (status_list(subject={"encodedList": CUT}), "one whole"),
        (credential(), "id"),
    ],
)
def test_a_list_that_is_wrong_in_one_thing_is_refused_for_it(list_jwt, problem):
    with pytest.raises(JoseError) as caught:
        read(list_jwt)
    assert problem.lower() in str(caught.value).lower()


def test_a_bomb_costs_no_more_than_a_list_may():
    jwt = status_list(subject={"encodedList": encoded(bytes(256 << 20))})
    tracemalloc.start()
    with pytest.raises(JoseError):
        read(jwt)
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "StatusList2021Entry"},
        {"statusPurpose": "message"},
        {"statusListIndex": "-1"},
        {"statusListIndex": "09"},
        {"statusListIndex": 9},
        {"statusListIndex": "9999999999"},
        {"statusSize": 2},
        {"statusListCredential": ""},
    ],
)
@pytest.mark.parametrize("is_listed", [False, True])
def test_a_credential_whose_status_nobody_here_can_look_up_is_refused(changed, is_listed):
    entry = ENTRY | changed
    with pytest.raises(JoseError):
        read_credential(credential(credentialStatus=[ENTRY, entry] if is_listed else entry), HOLDER, NOW_S * S)


def test_every_status_that_a_credential_names_is_one_to_look_up():
    suspended = ENTRY | {"statusPurpose": "suspension", "statusListCredential": f"{URI}/suspended"}
    named = credential(
        status={"status_list": {"idx": 3, "uri": "https://provider.example/vc/status"}},
        credentialStatus=[ENTRY, suspended],
        vc={"type": ["VerifiableCredential"]},
    )
    entries = read_credential(named, HOLDER, NOW_S * S).status_entries
    assert [entry.idx for entry in entries] == [3, 9, 9]
    within = credential(credentialStatus=[], vc={"credentialStatus": ENTRY})
    assert [entry.uri for entry in read_credential(within, HOLDER, NOW_S * S).status_entries] == [URI]
    with pytest.raises(JoseError, match="at most"):
        read_credential(credential(credentialStatus=[ENTRY] * 5), HOLDER, NOW_S * S)
