"""Every row of the table of forms: written by the standard library or by the definition, looked for by the product."""

import base64
import html
import itertools
import json
import quopri
import random
import re
import shlex
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briefcase._native import views
from briefcase._native.needles import Needles
from briefcase.core.redaction.redactor import SecretRedactor
from briefcase.core.redaction.secret_forms import FORMS
from support.redaction import KnownSecrets

README = Path(__file__).parent.parent.parent / "README.md"
SECRET = 'tk+live/4f9a"1c=77d0&e8<4b>6e\\x~'
RAW = SECRET.encode()
URI_SAFE = ";,/?:@&=+$-_.!~*'()#"
COMPONENT_SAFE = "-_.!~*'()"


def each(write, text: str = SECRET) -> str:
    return "".join(map(write, text))


def b64(data: bytes = RAW) -> str:
    return base64.b64encode(data).decode()


def in_json(text: str, **how) -> str:
    return json.dumps(text, **how)


def wrapped(text: str, width: int, end: str) -> str:
    return end.join(text[at : at + width] for at in range(0, len(text), width))


def broken_quoted_printable() -> str:
    written = quopri.encodestring(RAW).decode()
    return written[:12] + "=\r\n" + written[12:]


WRITERS = {
    "as it is": SECRET,
    "Latin-1 read into UTF-8": SECRET,
    "hexadecimal": RAW.hex(),
    "hexadecimal in capitals": RAW.hex().upper(),
    "hexadecimal with colons": RAW.hex(":"),
    "hexadecimal with hyphens": RAW.hex("-").upper(),
    "hexadecimal with spaces": RAW.hex(" "),
    "decimal bytes with commas": ",".join(map(str, RAW)),
    "decimal bytes with commas and spaces": str(list(RAW)),
    "decimal bytes with spaces": " ".join(map(str, RAW)),
    "base64": b64(b"user:" + RAW),
    "base64url": base64.urlsafe_b64encode(b"\xff" + RAW).decode(),
    "base64 of base64": b64(b64(b"u:" + RAW).encode()),
    "base64 of JSON": b64(in_json(f"key: {SECRET}").encode()),
    "base64 of UTF-16": b64(f"x{SECRET}".encode("utf-16-le")),
    "base32": base64.b32encode(b"abc" + RAW).decode(),
    "form encoding": quote_plus(SECRET),
    "JSON": in_json(SECRET, ensure_ascii=False),
    "JSON in ASCII": in_json(SECRET),
    "JSON with \\/": in_json(SECRET).replace("/", "\\/"),
    "JSON safe in HTML": in_json(SECRET).translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&"}),
    "JSON with all but letters and digits as \\u": each(lambda c: c if c.isalnum() else f"\\u{ord(c):04x}"),
    "JSON with every character as \\u": each(lambda c: f"\\u{ord(c):04X}"),
    "JSON within JSON": in_json(in_json(SECRET)),
    "JSON within JSON within JSON": in_json(in_json(in_json(SECRET))),
    "JavaScript \\x": each(lambda c: f"\\x{ord(c):02x}"),
    "JavaScript \\u{}": each(lambda c: f"\\u{{{ord(c):x}}}"),
    "\\U with eight digits": each(lambda c: f"\\U{ord(c):08x}"),
    "Python repr": repr(SECRET + "'"),
    "Python repr of bytes": repr(RAW + b"'"),
    "C octal": each(lambda c: f"\\{ord(c):03o}"),
    "shell quoting by backslashes": each(lambda c: c if shlex.quote(c) == c else f"\\{c}"),
    "regular expression quoting": re.escape(SECRET),
    "properties file": each(lambda c: f"\\{c}" if c in ":=\\ #!" else c),
    "percent encoding": quote(SECRET, safe=""),
    "percent encoding in small letters": re.sub("%..", lambda found: found[0].lower(), quote(SECRET, safe="")),
    "encodeURIComponent": quote(SECRET, safe=COMPONENT_SAFE),
    "encodeURI": quote(SECRET, safe=URI_SAFE),
    "every byte percent-encoded": each(lambda c: f"%{ord(c):02X}"),
    "percent encoding twice": quote(quote(SECRET, safe=""), safe=""),
    "percent encoding three times": quote(quote(quote(SECRET, safe=""), safe=""), safe=""),
    "%u": each(lambda c: c if c.isalnum() else f"%u{ord(c):04X}"),
    "HTML with named references": html.escape(SECRET).replace("+", "&plus;").replace("=", "&equals;"),
    "HTML with decimal references": each(lambda c: c if c.isalnum() else f"&#{ord(c)};"),
    "HTML with hexadecimal references": each(lambda c: c if c.isalnum() else f"&#x{ord(c):X};"),
    "HTML with padded references": each(lambda c: c if c.isalnum() else f"&#{ord(c):07d}"),
    "HTML with every character as a reference": each(lambda c: f"&#{ord(c)};"),
    "HTML twice": html.escape(html.escape(SECRET)),
    "HTML in JSON": in_json(html.escape(SECRET)),
    "percent encoding in JSON": in_json(quote(SECRET)),
    "JSON, percent-encoded": quote(in_json(SECRET)),
    "percent encoding in HTML": html.escape(quote(SECRET, safe=URI_SAFE)),
    "MIME base64 with CRLF": wrapped(b64(b"x" * 40 + RAW * 2), 76, "\r\n"),
    "base64 in lines of 64": wrapped(b64(b"x" * 40 + RAW * 2), 64, "\n"),
    "base64 in indented lines": wrapped(b64(RAW), 20, "\n    "),
    "base64 in lines, in JSON": in_json(wrapped(b64(RAW), 20, "\r\n")),
    "base64, percent-encoded": quote(b64(), safe=""),
    "base64 in HTML": b64().replace("+", "&#43;").replace("/", "&#x2F;").replace("=", "&#x3D;"),
    "base64 in JSON with \\/": b64().replace("/", "\\/"),
    "quoted-printable": broken_quoted_printable(),
    "quoted-printable with every byte encoded": each(lambda c: f"={ord(c):02X}"),
    "quoted-printable in JSON": in_json(broken_quoted_printable()),
    "UTF-16 read as bytes": SECRET.encode("utf-16-le").decode("latin-1"),
    "broken over lines": wrapped(SECRET, 10, "\r\n "),
}


def body_of(text: str) -> bytes:
    return json.dumps({"body": f"before {text} after"}).encode()


def test_the_table_and_the_writers_are_the_same_rows():
    assert {form.name for form in FORMS if form.found_by != "nothing"} == set(WRITERS)
    assert len({form.name for form in FORMS}) == len(FORMS)


@pytest.mark.parametrize("name", WRITERS)
def test_every_form_of_the_table_is_found_and_its_surroundings_stay(name):
    redacted = json.loads(SecretRedactor(KnownSecrets(RAW)).redact(body_of(WRITERS[name])))["body"]

    assert "[redacted]" in redacted
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    assert SECRET[8:20] not in redacted


@pytest.mark.parametrize("name", WRITERS)
def test_without_the_secret_in_the_set_the_same_text_stays_as_it_is(name):
    assert SecretRedactor(KnownSecrets(b"another-secret")).redact(body_of(WRITERS[name])) == body_of(WRITERS[name])


def test_readme_shows_the_table():
    text = README.read_text()
    for form in FORMS:
        assert form.name.replace("|", "\\|") in text, form.name


def test_a_value_behind_an_equals_sign_is_not_taken_for_quoted_printable():
    body = body_of("https://x/?token=ab12\\/cdefgh34567")

    assert b"cdefgh" not in SecretRedactor(KnownSecrets(b"ab12/cdefgh34567")).redact(body)


WORST = {
    "escapes of JSON": b"\\u0026",
    "backslashes": b"\\",
    "percent signs": b"%25",
    "percent signs, one in another": b"25",  # behind a percent sign, as each of them is
    "references": b"&amp;",
    "names that are none": b"&zz;",
    "equals signs": b"=3D=\r\n",
    "line ends": b"\r\n ",
    "all of them": b"\\u0026%25&amp;=3D\\r\\n",
    "almost the secret": RAW[:-1],
    "the secret, escaped": b"".join(b"%%%02x" % byte for byte in RAW),
}


@pytest.mark.parametrize("name", WORST)
def test_the_bytes_that_all_views_read_grow_with_the_text_and_no_faster(name, monkeypatch):
    """Every pass is one loop over its text (`views.pyx`), so the bytes handed to passes are the work."""

    def work(size: int) -> int:
        read = 0

        def counted(function):
            def call(text):
                nonlocal read
                read += len(text)
                return function(text)

            return call

        class Counted(Needles):
            def find(self, text, most):
                nonlocal read
                read += len(text)
                return super().find(text, most)

        with monkeypatch.context() as patch:
            patch.setattr("briefcase.core.redaction.redactor.Needles", Counted)
            for view in ("decode", "unquote", "unfold"):
                patch.setattr(views, view, counted(getattr(views, view)))
            SecretRedactor(KnownSecrets(RAW)).find(b"%" + WORST[name] * (size // len(WORST[name])))
        return read

    small, large = work(1 << 14), work(1 << 15)
    assert large <= 2.1 * small + 1_000


# --- the native passes against what they are by definition ------------------------------------------------------------

NAMES = {name: value for name, value in html.entities.html5.items() if name.endswith(";") and len(value) == 1}
ESCAPE = re.compile(
    rb"\\u(?P<hi>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<lo>[dD][c-fC-F][0-9a-fA-F]{2})|\\u(?P<u>[0-9a-fA-F]{4})"
    rb"|\\u\{(?P<b>[0-9a-fA-F]{1,6})\}|\\U(?P<U>[0-9a-fA-F]{8})|\\x(?P<x>[0-9a-fA-F]{2})|\\(?P<o>[0-3][0-7]{2})"
    rb"|\\(?P<c>[nrtbfv0])|\\(?P<l>\r\n|\n|\r)|\\(?P<p>[\x20-\x7f])"
    rb"|%u(?P<pu>[0-9a-fA-F]{4})|%(?P<pp>[0-9a-fA-F]{2})"
    rb"|&#(?P<d>[0-9]{1,7});?|&#[xX](?P<h>[0-9a-fA-F]{1,6});?|&(?P<n>[A-Za-z]{1,16};)",
    re.DOTALL,
)


def utf8(code: int) -> bytes | None:
    return chr(code).encode("utf-8", "surrogatepass") if code <= 0x10FFFF else None


def read_escape(found: re.Match) -> bytes:
    kind, text = found.lastgroup, found[found.lastgroup]
    match kind:
        case "lo":
            return utf8(0x10000 + ((int(found["hi"], 16) - 0xD800) << 10) + int(text, 16) - 0xDC00)
        case "u" | "b" | "U" | "pu" | "h":
            read = utf8(int(text, 16))
        case "d":
            read = utf8(int(text))
        case "x" | "pp":
            read = bytes((int(text, 16),))
        case "o":
            read = bytes((int(text, 8),))
        case "c":
            read = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"0": b"\0"}[text]
        case "l":
            read = b""
        case "p":
            read = None if text.isalnum() else text
        case "n":
            value = NAMES.get(text.decode(), "é")
            read = value.encode() if value.isascii() else None
    return found[0] if read is None else read


TEXTS = (
    *(bytes((byte,)) for byte in b"\\uUx{}%&#;=017nz/ \r\n\t\0"),
    *(b"41", b"d83d", b"\\ud83d\\ude00", b"0000", b"110000", b"amp", b"lt", b"quot"),
)
PIECES = st.lists(st.sampled_from(TEXTS), max_size=24).map(b"".join)


@settings(max_examples=600, deadline=None)
@given(PIECES)
def test_the_native_passes_are_their_definitions_and_their_maps_lead_back(text):
    passes = {
        "decode": lambda data: ESCAPE.sub(read_escape, data),
        "unquote": lambda data: re.sub(
            rb"=([0-9a-fA-F]{2})|=\r\n|=\n", lambda found: bytes.fromhex((found[1] or b"").decode()), data
        ),
        "unfold": lambda data: re.sub(rb"\0|[\r\n][\r\n \t]*", b"", data),
    }
    for name, define in passes.items():
        view = getattr(views, name)(text)
        assert view == define(text), name
        assert view is text or view != text or name != "unfold"
        mapped, starts, ends = getattr(views, f"{name}_mapped")(text)
        assert mapped == view
        assert all(starts[at] < ends[at] <= len(text) for at in range(len(view)))
        assert all(starts[at] <= starts[at + 1] for at in range(len(view) - 1))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([4, 8, 16, 32]))
def test_needles_are_found_at_every_place_that_a_naive_search_finds(seed, stride):
    chance = random.Random(seed)
    needles, patterns = Needles(stride), []
    for _ in range(chance.randint(1, 30)):
        patterns.append(bytes(chance.choices(b"ab", k=chance.randint(stride + 3, 80))))
        needles.add(patterns[-1])
    parts = [
        chance.choice(patterns) if chance.random() < 0.5 else bytes(chance.choices(b"abc", k=40)) for _ in range(12)
    ]
    text = b"".join(parts)

    expected = {
        (at, at + len(pattern)) for pattern, at in itertools.product(patterns, range(len(text)))
        if text.startswith(pattern, at)
    }  # fmt: skip
    assert {(start, end) for start, end, _ in needles.find(text, len(text))} == expected
