"""URLs and headers have one reading, and special-purpose addresses are known in every range."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.adapters.net.destinations import SPECIAL_RANGES, parse_listed, special_range
from briefcase.adapters.net.urls import check_headers, parse_url
from briefcase.model.errors import ConfigError

REFUSED_URLS = {
    "another scheme": "ftp://example.com/",
    "a file": "file:///etc/passwd",
    "javascript": "javascript:alert(1)",
    "upper case scheme": "HTTPS://example.com/",
    "no scheme": "//example.com/",
    "no host": "https:///path",
    "one slash": "https:/example.com/",
    "userinfo": "https://user:pass@example.com/",
    "empty userinfo": "https://@example.com/",
    "a host hidden in userinfo": "https://example.com@127.0.0.1/",
    "backslash in the authority": "https://example.com\\@127.0.0.1/",
    "backslash in the path": "https://example.com/a\\b",
    "tab": "https://exa\tmple.com/",
    "CR LF": "https://example.com/\r\nHost: evil",
    "LF in the query": "https://example.com/?a=\n",
    "space": "https://example.com/a b",
    "leading space": " https://example.com/",
    "NUL": "https://example.com/\0",
    "fragment": "https://example.com/#x",
    "fragment in the authority": "https://example.com#@127.0.0.1/",
    "beyond ASCII": "https://exämple.com/",
    "circled digits": "https://①②⑦.⓪.⓪.①/",
    "fullwidth dots": "https://127。0。0。1/",
    "beyond ASCII in the path": "https://example.com/ü",
    "percent-encoded host": "https://%31%32%37.0.0.1/",
    "half an escape": "https://example.com/%2",
    "bad escape": "https://example.com/%zz",
    "trailing dot": "https://example.com./",
    "trailing dot after an address": "https://127.0.0.1./",
    "empty label": "https://example..com/",
    "label beginning with a hyphen": "https://-example.com/",
    "long label": f"https://{'a' * 64}.com/",
    "long name": f"https://{'a.' * 127}com/",
    "decimal address": "https://2130706433/",
    "octal address": "https://0177.0.0.1/",
    "octal address without dots": "https://017700000001/",
    "hex address": "https://0x7f000001/",
    "hex parts": "https://0x7f.0x0.0x0.0x1/",
    "hex last part": "https://127.0.0.0x1/",
    "bare 0x": "https://127.0.0.0x/",
    "short address": "https://127.1/",
    "shorter address": "https://0/",
    "five parts": "https://127.0.0.0.1/",
    "leading zero": "https://127.0.0.01/",
    "part too large": "https://256.0.0.1/",
    "zone id": "https://[fe80::1%25eth0]/",
    "raw zone id": "https://[fe80::1%eth0]/",
    "IPv6 without brackets": "https://::1/",
    "half a bracket": "https://[::1/",
    "no IPv6": "https://[::zz]/",
    "two double colons": "https://[1::2::3]/",
    "port zero": "https://example.com:0/",
    "port too large": "https://example.com:65536/",
    "port with a sign": "https://example.com:+443/",
    "empty port": "https://example.com:/",
    "port of other digits": "https://example.com:\uff14\uff14\uff13/",
    "dot segments": "https://example.com/a/../b",
    "a dot segment at the end": "https://example.com/a/..",
    "single dot segment": "https://example.com/./a",
    "encoded dot segments": "https://example.com/a/%2e%2e/b",
    "half-encoded dot segments": "https://example.com/a/.%2E/b",
    "dot segments behind an encoded slash": "https://example.com/a%2f..%2fb",
    "dot segments behind an encoded backslash": "https://example.com/a%5c..%5cb",
    "braces": "https://example.com/{a}",
    "too long": f"https://example.com/{'a' * 8_192}",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_URLS)
def test_a_url_that_could_be_read_in_two_ways_is_refused_without_repeating_it(name):
    with pytest.raises(ValueError, match=r"expected") as refused:
        parse_url(REFUSED_URLS[name])
    assert REFUSED_URLS[name] not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "host", "port", "target"),
    [
        ("https://example.com", "example.com", 443, "/"),
        ("https://EXAMPLE.com:8443/A?b=c&d", "example.com", 8443, "/A?b=c&d"),
        ("http://a_b.internal/", "a_b.internal", 80, "/"),
        ("https://xn--bcher-kva.example/%C3%BC", "xn--bcher-kva.example", 443, "/%C3%BC"),
        ("https://8.8.8.8/", "8.8.8.8", 443, "/"),
        ("https://[2001:4860:4860:0:0:0:0:8888]/", "2001:4860:4860::8888", 443, "/"),
        ("https://1password.com/a..b/...", "1password.com", 443, "/a..b/..."),
        ("https://example.com?q=1", "example.com", 443, "/?q=1"),
        ("https://example.com?@127.0.0.1/", "example.com", 443, "/?@127.0.0.1/"),
        ("https://example.com/a%2Fb", "example.com", 443, "/a%2Fb"),
    ],
)
def test_a_plain_url_has_its_one_reading(text, host, port, target):
    url = parse_url(text)

    assert (url.host, url.port, url.target) == (host, port, target)


@given(st.text(max_size=40))
def test_whatever_is_read_holds_only_what_a_request_line_may(text):
    try:
        url = parse_url(f"https://{text}")
    except ValueError:
        return
    assert url.target.isascii()
    assert url.target.isprintable()
    assert " " not in url.target
    assert url.host == url.host.lower()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Key", "a\r\nX-Other: b"),
        ("X-Key", "a\nb"),
        ("X-Key", "a\tb"),
        ("X-Key", "a\0b"),
        ("X-Key", " a"),
        ("X-Key", "a "),
        ("X-Key", "ü"),
        ("X Key", "a"),
        ("X-Key:", "a"),
        ("", "a"),
        ("X-Kéy", "a"),
        ("Host", "evil.example"),
        ("CONTENT-LENGTH", "3"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("Upgrade", "h2c"),
        ("Expect", "100-continue"),
        ("Proxy-Authorization", "x"),
        ("Accept-Encoding", "br"),
    ],
)
def test_a_header_that_would_change_the_framing_is_refused_without_repeating_its_value(name, value):
    with pytest.raises(ValueError, match=r"header") as refused:
        check_headers({name: value})
    assert len(value) < 5 or value not in str(refused.value)


def test_plain_headers_pass():
    check_headers({"Authorization": "Bearer a.b-c_d==", "X-Empty": "", "Accept": "a/b; q=0.5, */*"})


@pytest.mark.parametrize("known", SPECIAL_RANGES, ids=lambda known: str(known.network))
def test_both_ends_of_every_special_range_are_special(known):
    assert special_range(known.network[0]) is not None
    assert special_range(known.network[-1]) is not None


@pytest.mark.parametrize(
    "address",
    [
        # those that the standard library calls global, or has called so
        "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1", "192.0.0.9", "224.0.0.1", "239.255.255.250",
        "64:ff9b::7f00:1", "64:ff9b:1::a9fe:a9fe", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "3ffe::1",
        "3fff::1", "5f00::1", "2620:4f:8000::1", "2001:1::1", "2001:4:112::1", "2001:20::1", "::127.0.0.1", "fec0::1",
        "::ffff:8.8.8.8", "::ffff:127.0.0.1", "100::1", "100:0:0:1::1", "ff02::1", "ff0e::1", "4000::1", "8000::1",
        # and the plain ones
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.255", "169.254.169.254", "172.31.0.1",
        "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "240.0.0.1",
        "255.255.255.255", "::", "::1", "fc00::1", "fd00:ec2::254", "fe80::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_an_address_that_is_no_public_unicast_address_is_special(address):
    assert special_range(ipaddress.ip_address(address)) is not None


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
     "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
     "2000::1", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700::1111", "2a00::1", "3ffd::1"],
)  # fmt: skip
def test_a_public_unicast_address_is_not_special(address):
    assert special_range(ipaddress.ip_address(address)) is None


def test_no_address_the_standard_library_calls_private_is_public_here():
    networks = [
        *ipaddress.IPv4Address._constants._private_networks,
        *ipaddress.IPv6Address._constants._private_networks,
    ]

    assert all(special_range(network[0]) and special_range(network[-1]) for network in networks)


@pytest.mark.parametrize("entry", ["", "127.1", "10.0.0.0/8", "*", "http://127.0.0.1", "localhost:99999", "::1", "a b"])
def test_an_allow_entry_of_another_form_is_refused_by_name(entry):
    with pytest.raises(ConfigError) as refused:
        parse_listed(entry)
    assert f"got `{entry}`" in refused.value.message
