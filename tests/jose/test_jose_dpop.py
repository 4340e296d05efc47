"""Proofs of possession: the RFC's own examples, one bad proof for each step, and when two URLs are one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.jose.base64url import decode_base64url, encode_base64url
from briefcase.core.jose.dpop import Proof, ProofSigner, ProofWindow, Refusal, check_proof, replay_key, token_hash
from briefcase.core.jose.htu import normal_url
from briefcase.core.jose.jws import generate_key

NOW_S = 1_767_225_600
NOW_US = NOW_S * 1_000_000
URL = "https://provider.example/api/quote?symbol=A"
TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
KEY = generate_key("ES256")
OTHER = generate_key("EdDSA")

RFC9449_HEADER = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscE"
    "JoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
)
RFC9449_TOKEN_PROOF = (  # section 5, figure 4
    f"{RFC9449_HEADER}."
    "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwi"
    "aWF0IjoxNTYyMjYyNjE2fQ."
    "2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
)
RFC9449_RESOURCE_PROOF = (  # section 7.1, figure 12
    f"{RFC9449_HEADER}."
    "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0"
    "ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9."
    "2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
)
RFC9449_JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"  # section 6.1, figure 7


def proof(header=None, key=KEY, **claims):
    """A good proof for a GET of URL with TOKEN, but for what the test changes; None removes a claim."""
    good = {
        "jti": "j",
        "htm": "GET",
        "htu": "https://provider.example/api/quote",
        "iat": NOW_S,
        "ath": token_hash(TOKEN),
    }
    kept = {name: value for name, value in (good | claims).items() if value is not None}
    full = {"typ": "dpop+jwt", "alg": key.algorithm, "jwk": dict(key.public.jwk)} | (header or {})
    kept_header = {name: value for name, value in full.items() if value is not None}
    signing_input = ".".join(encode_base64url(json.dumps(part).encode()) for part in (kept_header, kept))
    return f"{signing_input}.{encode_base64url(key.sign(signing_input.encode()))}"


def check(*values, method="GET", url=URL, now_us=NOW_US, **kwargs):
    return check_proof(values, method, url, now_us, **({"access_token": TOKEN} | kwargs))


# --- the RFC's examples -----------------------------------------------------------------------------------------


def test_the_proof_of_section_5_holds_at_its_time_and_url():
    answer = check_proof([RFC9449_TOKEN_PROOF], "POST", "https://server.example.com/token", 1562262616_000_000)
    assert answer == Proof(RFC9449_JKT, 1562262616, replay_key(RFC9449_JKT, "-BwC3ESc6acc2lTc"))


def test_the_proof_of_section_7_1_holds_with_its_token_and_binding():
    answer = check_proof(
        [RFC9449_RESOURCE_PROOF],
        "GET",
        "https://resource.example.org/protectedresource",
        1562262618_000_000,
        access_token=TOKEN,
        bound_jkt=RFC9449_JKT,
    )
    assert isinstance(answer, Proof)
    assert token_hash(TOKEN) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


# --- one bad proof for each step --------------------------------------------------------------------------------


def test_a_good_proof_holds_with_either_algorithm():
    for key in (KEY, OTHER):
        answer = check(proof(key=key), bound_jkt=key.public.thumbprint)
        assert answer == Proof(key.public.thumbprint, NOW_S, replay_key(key.public.thumbprint, "j"))


@pytest.mark.parametrize("key", [KEY, OTHER], ids=["ES256", "EdDSA"])
def test_what_the_signer_makes_holds(key):
    signer = ProofSigner(key)
    made = signer.sign("GET", URL + "#part", "jti-1", NOW_US + 999_999, access_token=TOKEN, nonce="n")
    answer = check(made, bound_jkt=signer.jkt, nonces={"n"})
    assert answer == Proof(signer.jkt, NOW_S, replay_key(signer.jkt, "jti-1"))
    header, claims = (json.loads(decode_base64url(part)) for part in made.split(".")[:2])
    assert claims["htu"] == "https://provider.example/api/quote"
    assert "d" not in header["jwk"]


def swapped_signature(first, second):
    return first.rpartition(".")[0] + "." + second.rpartition(".")[2]


BAD = [
    (1, "no header", []),
    (1, "two headers", [proof(), proof(jti="k")]),
    (1, "the same header twice", [proof(), proof()]),
    (2, "two proofs in one header", [proof() + ", " + proof()]),
    (2, "not a JWT", ["nonsense"]),
    (2, "an empty value", [""]),
    (6, "a signature cut off", [proof().rpartition(".")[0] + "."]),
    (2, "typ JWT", [proof({"typ": "JWT"})]),
    (2, "no typ", [proof({"typ": None})]),
    (2, "alg none", [proof({"alg": "none"})]),
    (2, "alg HS256", [proof({"alg": "HS256"})]),
    (2, "jku", [proof({"jku": "https://attacker.example/keys"})]),
    (2, "x5u", [proof({"x5u": "https://attacker.example/cert"})]),
    (2, "crit", [proof({"crit": ["exp"]})]),
    *((3, f"no {claim}", [proof(**{claim: None})]) for claim in ("jti", "htm", "htu", "iat")),
    (3, "an empty jti", [proof(jti="")]),
    (3, "a jti of a million characters", [proof(jti="j" * 1_000)]),
    (3, "a numeric jti", [proof(jti=5)]),
    (3, "iat a string", [proof(iat=str(NOW_S))]),
    (3, "iat a float", [proof(iat=NOW_S + 0.5)]),
    (3, "iat true", [proof(iat=True)]),
    (2, "iat huge", [proof(iat=10**30)]),
    (2, "iat not a number", [proof(iat=float("nan"))]),
    (3, "htu a list", [proof(htu=[URL])]),
    (7, "no jwk", [proof({"jwk": None})]),
    (7, "a private key in the header", [proof({"jwk": json.loads(KEY.export())})]),
    (7, "a symmetric key in the header", [proof({"jwk": {"kty": "oct", "k": "AAAA"}})]),
    (7, "an RSA key", [proof({"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}})]),
    (6, "another key's signature", [swapped_signature(proof(), proof(jti="k"))]),
    (6, "another key in the header", [proof({"jwk": dict(generate_key("ES256").public.jwk)})]),
    (6, "the algorithm of another kind of key", [proof({"jwk": dict(OTHER.public.jwk)})]),
    (8, "htm POST", [proof(htm="POST")]),
    (8, "htm in lower case", [proof(htm="get")]),
    (9, "another path", [proof(htu="https://provider.example/api/quotes")]),
    (9, "another host", [proof(htu="https://provider.example.attacker.example/api/quote")]),
    (9, "another scheme", [proof(htu="http://provider.example/api/quote")]),
    (9, "another port", [proof(htu="https://provider.example:8443/api/quote")]),
    (9, "userinfo", [proof(htu="https://provider.example@attacker.example/api/quote")]),
    (9, "a path in other case", [proof(htu="https://provider.example/API/quote")]),
    (9, "no scheme", [proof(htu="/api/quote")]),
    (9, "a trailing slash", [proof(htu="https://provider.example/api/quote/")]),
    (9, "an encoded slash", [proof(htu="https://provider.example/api%2Fquote")]),
    (9, "a backslash", [proof(htu="https://provider.example\\api\\quote")]),
    (9, "nothing", [proof(htu="")]),
    (11, "61 s old", [proof(iat=NOW_S - 61)]),
    (11, "6 s in the future", [proof(iat=NOW_S + 6)]),
    (11, "the epoch", [proof(iat=0)]),
    (11, "before the epoch", [proof(iat=-NOW_S)]),
    (11, "milliseconds", [proof(iat=NOW_S * 1000)]),
    (12, "no ath", [proof(ath=None)]),
    (12, "ath of another token", [proof(ath=token_hash("other"))]),
    (3, "ath not ASCII", [proof(ath="é" * 43)]),
    (3, "ath the token itself", [proof(ath=TOKEN + "x")]),
]


@pytest.mark.parametrize(("step", "values"), [row[::2] for row in BAD], ids=[row[1] for row in BAD])
def test_a_bad_proof_is_refused_at_its_step(step, values):
    answer = check(*values)
    assert isinstance(answer, Refusal)
    assert (answer.error, answer.step) == ("invalid_dpop_proof", step)


def test_a_proof_by_another_key_than_the_tokens_is_an_invalid_token():
    answer = check(proof(key=OTHER), bound_jkt=KEY.public.thumbprint)
    assert isinstance(answer, Refusal)
    assert (answer.error, answer.step) == ("invalid_token", 12)


@pytest.mark.parametrize("nonce", [None, "", "old", 5])
def test_a_missing_or_old_nonce_asks_for_the_servers(nonce):
    answer = check(proof(nonce=nonce), nonces={"current", "previous"})
    assert isinstance(answer, Refusal)
    assert (answer.error, answer.step) in {("use_dpop_nonce", 10), ("invalid_dpop_proof", 3)}
    assert isinstance(check(proof(nonce="previous"), nonces={"current", "previous"}), Proof)


@pytest.mark.parametrize("age_s", [-5, 0, 60])
def test_the_window_is_closed_at_both_ends(age_s):
    assert isinstance(check(proof(iat=NOW_S - age_s)), Proof)
    assert isinstance(check(proof(iat=NOW_S - age_s), window=ProofWindow(max_age_s=age_s - 1, max_future_s=4)), Refusal)


def test_a_refusal_repeats_nothing_of_the_proof_but_the_word_that_was_wrong():
    answer = check(proof(htm="canary-91"))
    assert "canary-91" not in answer.problem


# --- when two URLs are one --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://a.example", "https://a.example/"),
        ("HTTPS://A.EXAMPLE:443/x?y#z", "https://a.example/x"),
        ("http://a.example:80/", "http://a.example/"),
        ("http://a.example:0080/", "http://a.example/"),
        ("http://a.example:/", "http://a.example/"),
        ("http://a.example:443/", "http://a.example:443/"),
        ("https://a.example/%7Euser/%2f%2F", "https://a.example/~user/%2F%2F"),
        ("https://a.example/a/./b/../c", "https://a.example/a/c"),
        ("https://a.example/../../a", "https://a.example/a"),
        ("https://a.example/a/..", "https://a.example/"),
        ("https://a.example/a/.", "https://a.example/a/"),
        ("https://a.example//a", "https://a.example//a"),
        ("https://[::1]:8443/a", "https://[::1]:8443/a"),
        ("https://a.example/a%2e%2e/b", "https://a.example/a../b"),
    ],
)
def test_a_url_has_one_spelling(url, normal):
    assert normal_url(url) == normal
    assert normal_url(normal) == normal


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example",
        "//a.example/",
        "ftp://a.example/",
        "javascript:alert(1)",
        "https://",
        "https:///a",
        "https://user@a.example/",
        "https://a.example\\@b.example/",
        "https://a.example/a b",
        "https://a.example/a\tb",
        "https://a.example/a\nb",
        "https://a.example/a\\b",
        "https://a.example/%",
        "https://a.example/%4",
        "https://a.example/%zz",
        "https://a.example/é",
        "https://\uff41.example/",
        "https://a.example:x/",
        "https://a.example:123456/",
        "https://a.example/" + "a" * 2048,
        " https://a.example/",
    ],
)
def test_a_url_that_can_be_read_in_two_ways_equals_nothing(url):
    assert normal_url(url) is None
    answer = check_proof([proof(htu=url, ath=None)], "GET", url, NOW_US)
    assert isinstance(answer, Refusal)
    assert answer.step == 9


@given(st.text(alphabet="/.%a2eE~", max_size=20))
def test_normalising_twice_changes_nothing(path):
    normal = normal_url("https://a.example/" + path)
    if normal is not None:
        assert normal_url(normal) == normal
        assert "/../" not in normal
        assert "/./" not in normal
