"""The forms in which a secret is looked for: `FORMS` is the table that README shows and the tests read.

- a pattern: the form is a byte pattern made of the secret (`patterns_of`), looked for in the text and in its views
- a view: the text is read as its writer meant it (escapes decoded, folded lines joined), and the patterns are looked
  for in what it says then
- nothing: the form is not looked for: a policy, or an `allow_paths` firewall, must keep it in

Every view is decoded up to `redaction.MAX_DEPTH` times, so views may be nested in one another, around a pattern, and
repeated. Nothing is decoded within a pattern.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from briefcase._native import views

_URL_ALPHABET: Final = bytes.maketrans(b"+/", b"-_")
_BASE64_BITS: Final = 6
_BASE32_BITS: Final = 5
_MAX_DECODED: Final = 3


class Form(NamedTuple):
    """One form: what it is, who writes it, and what finds it."""

    name: str
    written_by: str
    found_by: Literal["a pattern", "a view", "nothing"]


FORMS: Final = (
    Form("as it is", "everything", "a pattern"),
    Form("Latin-1 read into UTF-8", "libraries that guess a charset", "a pattern"),
    Form("hexadecimal", "dumps, debuggers", "a pattern"),
    Form("hexadecimal in capitals", "dumps, Java", "a pattern"),
    Form("hexadecimal with colons", "OpenSSL, packet dumps", "a pattern"),
    Form("hexadecimal with hyphens", ".NET's BitConverter", "a pattern"),
    Form("hexadecimal with spaces", "hex viewers", "a pattern"),
    Form("decimal bytes with commas", "JSON of a byte array", "a pattern"),
    Form("decimal bytes with commas and spaces", "Python, JavaScript", "a pattern"),
    Form("decimal bytes with spaces", "Go's %v", "a pattern"),
    Form("base64", "everything, behind 0, 1 or 2 other bytes (Basic authentication)", "a pattern"),
    Form("base64url", "JOSE, URLs", "a pattern"),
    Form("base64 of base64", "Kubernetes, nested configuration", "a pattern"),
    Form("base64 of JSON", "MCP's binary resources, key files in APIs", "a pattern"),
    Form("base64 of UTF-16", "PowerShell", "a pattern"),
    Form("base32", "one-time password tools", "a pattern"),
    Form("form encoding", "browsers, curl --data-urlencode", "a pattern"),
    Form("JSON", "every JSON writer", "a view"),
    Form("JSON in ASCII", "Python's json, PHP", "a view"),
    Form("JSON with \\/", "PHP, Ruby on Rails", "a view"),
    Form("JSON safe in HTML", "Go, Gson", "a view"),
    Form("JSON with all but letters and digits as \\u", "Gson, OWASP encoders", "a view"),
    Form("JSON with every character as \\u", "JavaScript escapers", "a view"),
    Form("JSON within JSON", "APIs that wrap one another", "a view"),
    Form("JSON within JSON within JSON", "queues, webhooks", "a view"),
    Form("JavaScript \\x", "template engines", "a view"),
    Form("JavaScript \\u{}", "Rust, JavaScript, PHP", "a view"),
    Form("\\U with eight digits", "TOML, YAML, Python", "a view"),
    Form("Python repr", "tracebacks, logs", "a view"),
    Form("Python repr of bytes", "tracebacks, logs", "a view"),
    Form("C octal", "C, git, cookies", "a view"),
    Form("shell quoting by backslashes", "printf %q", "a view"),
    Form("regular expression quoting", "re.escape", "a view"),
    Form("properties file", "Java", "a view"),
    Form("percent encoding", "RFC 3986", "a view"),
    Form("percent encoding in small letters", ".NET", "a view"),
    Form("encodeURIComponent", "JavaScript", "a view"),
    Form("encodeURI", "JavaScript", "a view"),
    Form("every byte percent-encoded", "filters, scanners", "a view"),
    Form("percent encoding twice", "redirects", "a view"),
    Form("percent encoding three times", "redirects of redirects", "a view"),
    Form("%u", "JavaScript's escape, IIS", "a view"),
    Form("HTML with named references", "html.escape, templates", "a view"),
    Form("HTML with decimal references", "Jinja, Go templates", "a view"),
    Form("HTML with hexadecimal references", "React, OWASP encoders", "a view"),
    Form("HTML with padded references", "PHP filters", "a view"),
    Form("HTML with every character as a reference", "address obfuscators", "a view"),
    Form("HTML twice", "feeds within pages", "a view"),
    Form("HTML in JSON", "APIs that answer pages", "a view"),
    Form("percent encoding in JSON", "links in APIs", "a view"),
    Form("JSON, percent-encoded", "links with state", "a view"),
    Form("percent encoding in HTML", "links in pages", "a view"),
    Form("MIME base64 with CRLF", "mail, Java's MIME encoder", "a view"),
    Form("base64 in lines of 64", "PEM, OpenSSL", "a view"),
    Form("base64 in indented lines", "YAML, LDIF, folded headers", "a view"),
    Form("base64 in lines, in JSON", "APIs that carry mail or keys", "a view"),
    Form("base64, percent-encoded", "SAML, links", "a view"),
    Form("base64 in HTML", "hidden form fields", "a view"),
    Form("base64 in JSON with \\/", "PHP", "a view"),
    Form("quoted-printable", "mail", "a view"),
    Form("quoted-printable with every byte encoded", "mail filters", "a view"),
    Form("quoted-printable in JSON", "mail APIs", "a view"),
    Form("UTF-16 read as bytes", "Windows tools", "a view"),
    Form("broken over lines", "terminals, mail", "a view"),
    Form("gzip, deflate, Brotli, Zstandard", "HTTP, files", "nothing"),
    Form("encrypted or hashed", "", "nothing"),
    Form("reversed, rotated, in another case", "somebody who hides it", "nothing"),
    Form("spread over fields, or with other characters between", "somebody who hides it", "nothing"),
    Form("base58, base62, base85, uuencode, yEnc, UTF-7, Punycode", "few", "nothing"),
    Form("base64, base32 or hexadecimal of any other form", "few", "nothing"),
    Form("base32 in small letters, bytes as 0x00", "few", "nothing"),
    Form("a part of it: a URL's password, a key's single line", "servers that take it apart", "nothing"),
    Form("quotes doubled", "CSV, SQL", "nothing"),
    Form("more than four encodings deep", "", "nothing"),
)


def patterns_of(secret: bytes) -> set[bytes]:
    """The byte patterns of one secret, longest forms whole.

    Args:
        secret: at least `redaction.MIN_SECRET_BYTES` bytes.
    """
    secret = bytes(secret)  # not the vault's own kind of bytes, which the views do not take
    found = {secret, secret.decode("latin-1").encode(), secret.replace(b" ", b"+"), *_as_views_read_it(secret)}
    found.update(_base64_forms(secret))
    found.update(_number_forms(secret))
    return found


def _as_views_read_it(secret: bytes) -> Iterator[bytes]:
    """What the views make of a secret that holds escapes of its own: where its text is escaped, both are read."""
    for read in (views.decode, views.unquote, views.unfold):
        once = secret
        for _ in range(_MAX_DECODED):
            once = read(once)
            yield once


def _base64_forms(secret: bytes) -> Iterator[bytes]:
    """RFC 4648 sections 4, 5 and 6: of what is encoded behind unknown bytes, the characters that are known."""
    for known in _known_parts(secret, base64.b64encode, _BASE64_BITS, 3):
        yield known
        yield known.translate(_URL_ALPHABET)
        yield from _known_parts(known, base64.b64encode, _BASE64_BITS, 3)
    yield from _known_parts(secret, base64.b32encode, _BASE32_BITS, 5)
    try:
        wide = secret.decode().encode("utf-16-le")
    except UnicodeDecodeError:
        return
    yield from _known_parts(wide, base64.b64encode, _BASE64_BITS, 3)
    for is_ascii in (True, False):
        written = json.dumps(secret.decode(), ensure_ascii=is_ascii)[1:-1].encode()
        if written != secret:
            yield from _known_parts(written, base64.b64encode, _BASE64_BITS, 3)


def _known_parts(secret: bytes, encode: Callable[[bytes], bytes], bits: int, group: int) -> Iterator[bytes]:
    for before in range(group):
        encoded = encode(bytes(before) + secret).rstrip(b"=")
        first = -(-before * 8 // bits)  # characters that also depend on the bytes before
        last = (before + len(secret)) * 8 // bits  # and from here on those that depend on what comes after
        yield encoded[first:last]


def _number_forms(secret: bytes) -> Iterator[bytes]:
    for digits in (secret.hex(), secret.hex().upper()):
        yield digits.encode()
    for separator in ":- ":
        yield secret.hex(separator).encode()
        yield secret.hex(separator).upper().encode()
    for between in (b",", b", ", b" "):
        yield between.join(b"%d" % byte for byte in secret)
