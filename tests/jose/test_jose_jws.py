"""Compact JWS: the RFCs' own vectors, a second library's opinion, and tokens that must not be read."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.jose.base64url import JoseError, decode_base64url, encode_base64url
from briefcase.core.jose.jws import (
    Signer,
    check_signature,
    generate_key,
    load_private_key,
    parse_compact,
    parse_public_jwk,
)

# RFC 7515 appendix A.3: an ES256 key, what it signed, the signature
ES256_JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
ES256_D = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
ES256_INPUT = (
    b"eyJhbGciOiJFUzI1NiJ9."
    b"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
ES256_SIGNATURE = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

# RFC 8037 appendix A.1 to A.5: an Ed25519 key, its thumbprint, what it signed, the signature
ED25519_JWK = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
ED25519_D = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
ED25519_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
ED25519_INPUT = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
ED25519_SIGNATURE = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"


def encoded(value):
    return encode_base64url(value if isinstance(value, bytes) else json.dumps(value).encode())


def token(header, claims=None, signature=b"\0" * 64):
    return ".".join(map(encoded, (header, {} if claims is None else claims, signature)))


# --- vectors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jwk", "signing_input", "signature"),
    [(ES256_JWK, ES256_INPUT, ES256_SIGNATURE), (ED25519_JWK, ED25519_INPUT, ED25519_SIGNATURE)],
    ids=["RFC 7515 A.3", "RFC 8037 A.5"],
)
def test_a_signature_of_the_rfc_verifies_and_with_one_bit_changed_does_not(jwk, signing_input, signature):
    key = parse_public_jwk(jwk)
    raw = decode_base64url(signature)
    assert key.is_signature(signing_input, raw)
    assert not key.is_signature(signing_input + b"x", raw)
    for position in range(64):
        assert not key.is_signature(signing_input, raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :])
    assert not key.is_signature(signing_input, raw[:-1])
    assert not key.is_signature(signing_input, raw + b"\0")
    assert not key.is_signature(signing_input, b"")


def test_signing_with_the_key_of_rfc_8037_gives_its_signature_and_thumbprint():
    key = load_private_key(json.dumps(ED25519_JWK | {"d": ED25519_D}).encode())
    assert encode_base64url(key.sign(ED25519_INPUT)) == ED25519_SIGNATURE
    assert key.public.thumbprint == ED25519_THUMBPRINT


def test_the_all_zero_ecdsa_signature_verifies_nothing():
    """CVE-2022-21449: r = s = 0 verified for every message."""
    assert not parse_public_jwk(ES256_JWK).is_signature(ES256_INPUT, b"\0" * 64)


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
def test_a_second_library_reads_what_we_sign_and_we_read_what_it_signs(algorithm):
    jwcrypto_jwk = pytest.importorskip("jwcrypto.jwk", reason="the second JOSE library is not installed")
    jwcrypto_jws = pytest.importorskip("jwcrypto.jws")
    key = generate_key(algorithm)
    theirs = jwcrypto_jwk.JWK.from_json(key.export().decode())
    assert theirs.thumbprint() == key.public.thumbprint

    reader = jwcrypto_jws.JWS()
    reader.allowed_algs = [algorithm]
    reader.deserialize(Signer(key, "x+jwt", kid="k").sign({"n": 1}), theirs)
    assert json.loads(reader.payload) == {"n": 1}
    assert json.loads(reader.objects["protected"]) == {"typ": "x+jwt", "alg": algorithm, "kid": "k"}

    writer = jwcrypto_jws.JWS(b'{"n": 2}')
    writer.allowed_algs = [algorithm]
    writer.add_signature(theirs, alg=algorithm, protected=json.dumps({"typ": "x+jwt", "alg": algorithm}))
    jws = parse_compact(writer.serialize(compact=True), "x+jwt")
    check_signature(jws, key.public)
    assert jws.claims == {"n": 2}


# --- keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
def test_a_key_survives_export_and_its_public_form_holds_nothing_private(algorithm):
    key = generate_key(algorithm)
    again = load_private_key(key.export())
    assert again.public.thumbprint == key.public.thumbprint
    assert key.public.is_signature(b"message", again.sign(b"message"))
    assert "d" not in key.public.jwk
    assert parse_public_jwk(dict(key.public.jwk)).thumbprint == key.public.thumbprint


@pytest.mark.parametrize(
    "exported",
    [
        b"",
        b"{}",
        b"[]",
        b"nonsense",
        json.dumps(ED25519_JWK).encode(),
        json.dumps(ES256_JWK).encode(),
        json.dumps(ED25519_JWK | {"d": "short"}).encode(),
        b'{"kty":"oct","k":"AAAA"}',
    ],
)
def test_what_is_no_private_key_is_refused(exported):
    with pytest.raises(JoseError):
        load_private_key(exported)


@pytest.mark.parametrize(
    ("jwk", "problem"),
    [
        (None, "to be an object"),
        ("x", "to be an object"),
        ([], "to be an object"),
        ({}, "a key of Ed25519 or P-256"),
        (ED25519_JWK | {"d": ED25519_D}, "private member"),
        (ES256_JWK | {"d": ES256_D}, "private member"),
        (ES256_JWK | {"d": None}, "private member"),
        ({"kty": "oct", "k": "AAAA"}, "private member"),
        ({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "a key of Ed25519 or P-256"),
        (ED25519_JWK | {"crv": "X25519"}, "a key of Ed25519 or P-256"),
        (ES256_JWK | {"crv": "P-384"}, "a key of Ed25519 or P-256"),
        (ED25519_JWK | {"kty": "EC"}, "a key of Ed25519 or P-256"),
        (ED25519_JWK | {"x": "AAAA"}, "32 bytes"),
        (ED25519_JWK | {"x": ED25519_JWK["x"] + "="}, "without padding"),
        (ED25519_JWK | {"x": ED25519_JWK["x"][:-1] + "p"}, "stray bits"),
        (ED25519_JWK | {"x": 5}, "32 bytes"),
        (ES256_JWK | {"y": ES256_JWK["x"]}, "a point on its curve"),
        (ES256_JWK | {"x": "A" * 43, "y": "A" * 43}, "a point on its curve"),
        ({key: value for key, value in ES256_JWK.items() if key != "y"}, "32 bytes"),
    ],
)
def test_a_jwk_that_is_no_public_key_on_its_curve_is_refused(jwk, problem):
    with pytest.raises(JoseError, match=problem):
        parse_public_jwk(jwk)


# --- tokens that must not be read -------------------------------------------------------------------------------

GOOD = {"typ": "x+jwt", "alg": "EdDSA"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "three parts, got 1"),
        ("a.b", "three parts, got 2"),
        ("a.b.c.d", "three parts, got 4"),
        (token(GOOD) + "\n", "base64url"),
        (" " + token(GOOD), "base64url"),
        (token(GOOD).replace(".", "=."), "without padding"),
        ("a" * 8193, "at most 8192 characters"),
        (token([]), "expected a JSON object"),
        (token(GOOD, []), "expected a JSON object"),
        (token(b'{"typ":"x+jwt","alg":"EdDSA","alg":"ES256"}'), "each key once"),
        (token(GOOD, b'{"jti":1,"jti":2}'), "each key once"),
        (token(GOOD, b'{"a":NaN}'), "must be finite"),
        (token(GOOD, b'{"a":' + b"[" * 9 + b"]" * 9 + b"}"), "nested"),
        (token(GOOD, b"\xff"), "UTF-8"),
        (token({"alg": "EdDSA"}), "`typ` to be `x\\+jwt`"),
        (token(GOOD | {"typ": "JWT"}), "`typ` to be `x\\+jwt`"),
        (token(GOOD | {"typ": ["x+jwt"]}), "`typ` to be `x\\+jwt`"),
        (token({"typ": "x+jwt"}), "`alg` to be one of"),
        (token(GOOD | {"alg": "none"}), "`alg` to be one of"),
        (token(GOOD | {"alg": "None"}), "`alg` to be one of"),
        (token(GOOD | {"alg": "HS256"}), "`alg` to be one of"),
        (token(GOOD | {"alg": "RS256"}), "`alg` to be one of"),
        (token(GOOD | {"alg": ["EdDSA"]}), "`alg` to be one of"),
        (token(GOOD | {"alg": "eddsa"}), "`alg` to be one of"),
        *(
            (token(GOOD | {member: "x"}), f"no header member `{member}`")
            for member in ("crit", "jku", "x5u", "x5c", "x5t", "x5t#S256")
        ),
    ],
)
def test_a_token_that_could_be_read_in_two_ways_is_refused(text, problem):
    with pytest.raises(JoseError, match=problem):
        parse_compact(text, "x+jwt")


@pytest.mark.parametrize("typ", ["x+jwt", "X+JWT", "application/x+jwt"])
def test_the_typ_is_compared_as_a_media_type(typ):
    parse_compact(token(GOOD | {"typ": typ}), "x+jwt")


def test_an_algorithm_other_than_the_keys_own_never_verifies():
    key, other = generate_key("EdDSA"), generate_key("ES256")
    jws = parse_compact(Signer(other, "x+jwt").sign({}), "x+jwt")
    with pytest.raises(JoseError, match="to be the key's own, `EdDSA`"):
        check_signature(jws, key.public)


def test_an_hmac_keyed_with_the_public_key_never_verifies():
    """The classic confusion: HS256 with the public key's bytes as the shared secret."""
    with pytest.raises(JoseError):
        parse_compact(token({"typ": "x+jwt", "alg": "HS256"}, {}, b"\0" * 32), "x+jwt")


@given(st.binary(max_size=70))
def test_base64url_has_one_spelling(data):
    text = encode_base64url(data)
    assert decode_base64url(text) == data
    assert base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text


@given(st.text(alphabet="ABCDwxyz0189-_=+/ \n", max_size=12))
def test_what_is_read_as_base64url_is_spelt_that_way(text):
    try:
        data = decode_base64url(text)
    except JoseError:
        return
    assert encode_base64url(data) == text
