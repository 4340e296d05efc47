"""Trials of what was built last, as one who did not build it: seals, continuations' digests, redaction in views.

Each row is one thing that was tried; what holds is asked of the code itself, without a daemon. Trials that found
something have their own tests by now (docs/attacks.md); these are the others, so that they go on being tried.
"""

import base64
import json
from urllib.parse import quote

import msgspec
import pytest

from briefcase.adapters.servers.flows import Continuation
from briefcase.core.jose.base64url import decode_base64url, encode_base64url
from briefcase.core.mcp.sealing import MAX_SEALED_CHARS, Sealer, derive_key
from briefcase.core.operator.approvals import SHOWN_DIGEST, shown_digest_of
from briefcase.core.redaction.redactor import SecretRedactor, excerpt_of
from support.canaries import found_in
from support.redaction import KnownSecrets

KEY = derive_key(b"k" * 32, "flows")
FOUND = Continuation("nonce", "agent-1", b"d" * 32, 1_000, 7, "server's own", is_suspended=False, question="{}")
SEALED = Sealer(KEY).seal(FOUND)
RAW = decode_base64url(SEALED)
BODY = RAW[32:]


def flipped(at: int) -> str:
    changed = bytearray(RAW)
    changed[at] ^= 1
    return encode_base64url(bytes(changed))


FORGED = {
    "nothing": "",
    "no text": None,
    "bytes": SEALED.encode(),
    "a number": 7,
    "the MAC's first bit": flipped(0),
    "the MAC's last bit": flipped(31),
    "the body's first bit": flipped(32),
    "the body's last bit": flipped(len(RAW) - 1),
    "the MAC alone": encode_base64url(RAW[:32]),
    "the body alone": encode_base64url(BODY),
    "the body without its end": encode_base64url(RAW[:-1]),
    "a byte more": encode_base64url(RAW + b"\0"),
    "two bodies": encode_base64url(RAW + BODY),
    "an empty body under an empty MAC": encode_base64url(b"\0" * 32),
    "under another purpose's key": Sealer(derive_key(b"k" * 32, "other")).seal(FOUND),
    "under another ledger's key": Sealer(derive_key(b"j" * 32, "flows")).seal(FOUND),
    "in base64 of another alphabet": base64.b64encode(RAW).decode().replace("-", "+") + "!",
    "with a line in it": f"{SEALED[:20]}\n{SEALED[20:]}",
    "with a space before it": f" {SEALED}",
    "with NUL after it": f"{SEALED}\0",
    "in letters that look alike": SEALED.replace("a", "\u0430") + "\u0430",
    "longer than any": SEALED + "A" * MAX_SEALED_CHARS,
    "JSON of it": json.dumps(SEALED),
}


@pytest.mark.parametrize("state", FORGED.values(), ids=FORGED)
def test_a_state_that_we_did_not_seal_byte_for_byte_opens_nothing(state):
    assert Sealer(KEY).open(state, Continuation) is None


def test_a_sealed_state_of_another_kind_is_none_of_this_kind():
    class Other(msgspec.Struct, frozen=True, array_like=True):
        nonce: str
        principal: str
        digest: int

    assert Sealer(KEY).open(Sealer(KEY).seal(Other("n", "agent-1", 1)), Continuation) is None
    assert Sealer(KEY).open(SEALED, Continuation) == FOUND


DOCUMENT = {
    "id": "a1", "args_text": '{"to":"alice"}', "cost_microusd": 5, "reasons": ["policy"], "redacted_places": 0,
    "tool": {"name": "pay", "destination": "https://bank"}, "question": "", "status": "pending",
}  # fmt: skip
CHANGED = {
    "the arguments": {"args_text": '{"to":"mallory"}'},
    "a blank in them": {"args_text": '{"to": "alice"}'},
    "the cost": {"cost_microusd": 6},
    "the cost as text": {"cost_microusd": "5"},
    "the cost as a fraction": {"cost_microusd": 5.5},
    "a reason more": {"reasons": ["policy", "risk"]},
    "the reasons' order": {"reasons": ["risk", "policy"]},
    "what was cut out": {"redacted_places": 1},
    "the place": {"tool": {"name": "pay", "destination": "https://bank.example"}},
    "a fact of the tool more": {"tool": {"name": "pay", "destination": "https://bank", "host": ""}},
    "the question": {"question": "{}"},
    "the status": {"status": "approved"},
    "a field more": {"": ""},
    "no field but null": {"question": None},
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_document_that_differs_in_anything_has_another_digest(change):
    assert shown_digest_of(DOCUMENT | change) != shown_digest_of(DOCUMENT)


def test_the_digest_of_a_document_is_none_of_its_order_and_none_of_itself():
    assert shown_digest_of(dict(reversed(DOCUMENT.items()))) == shown_digest_of(DOCUMENT)
    assert shown_digest_of(DOCUMENT | {SHOWN_DIGEST: "0" * 64}) == shown_digest_of(DOCUMENT)


SECRET = b'tk+live/4f9a"1c=77d0&e8'


def around(written: str) -> str:
    return f"before {written} after"


HIDDEN = {
    "at the very beginning": SECRET.decode(),
    "twice, overlapping": SECRET.decode() + SECRET.decode()[1:],
    "behind half of itself": SECRET.decode()[:12] + SECRET.decode(),
    "JSON in percent in JSON": json.dumps(quote(json.dumps(SECRET.decode()))),
    "percent of which one digit is percent": quote(SECRET, safe="").replace("%2B", "%%32B"),
    "folded in the middle of an escape's text": quote(SECRET, safe="").replace("%2F", "%2F\n "),
    "soft breaks between escapes": "".join(f"={byte:02X}=\r\n" for byte in SECRET),
    "behind an escape that is cut": "\\u00" + SECRET.decode(),
    "behind a percent that is none": "%zz%" + SECRET.decode(),
    "behind an entity that never ends": "&#" + "9" * 40 + SECRET.decode(),
    "between marks of our own": f"[redacted]{SECRET.decode()}[redacted]",
    "base64 behind a mark": "[redacted]" + base64.b64encode(SECRET).decode(),
    "beside a lone surrogate": "\ud800" + SECRET.decode() + "\udfff",
}


@pytest.mark.parametrize("written", HIDDEN.values(), ids=HIDDEN)
def test_a_secret_beside_what_breaks_a_reader_is_found_and_not_found_again(written):
    redactor = SecretRedactor(KnownSecrets(SECRET))
    told = redactor.redact_text(around(written))
    assert "[redacted" in told
    assert redactor.redact_text(told) == told
    assert found_in(told.encode("utf-8", "replace"), SECRET.decode()) == set()
    assert len(excerpt_of(redactor, around(written), 20)) <= 20
