"""decimal, ip, datetime and duration: constructors and methods, value by value (Cedar's language reference), and with
Cedar itself asked each time."""

import pytest
from cedar_oracle import judged

VECTORS = {
    # decimal: at most four fractional digits, 64 bits of ten-thousandths
    'decimal("1.0") == decimal("1.0000")': "true",
    'decimal("-0.0") == decimal("0.0")': "true",
    'decimal("-0.5").lessThan(decimal("-0.4999"))': "true",
    'decimal("1.2345").greaterThanOrEqual(decimal("1.2345"))': "true",
    'decimal("1.2").lessThanOrEqual(decimal("1.1999"))': "false",
    'decimal("922337203685477.5807").greaterThan(decimal("-922337203685477.5808"))': "true",
    'decimal("922337203685477.5808") == decimal("0.0")': "error",
    'decimal("1.23456") == decimal("0.0")': "error",
    'decimal("1") == decimal("1.0")': "error",
    'decimal("1.0") < decimal("2.0")': "error",
    'decimal("1.0") == "1.0"': "false",
    "decimal(1) == 1": "error",
    # ip: an address, or a range with a prefix; the prefix is part of the value
    'ip("10.0.0.1").isInRange(ip("10.0.0.0/8"))': "true",
    'ip("10.0.0.0/8").isInRange(ip("10.0.0.1"))': "false",
    'ip("10.0.0.0/8").isInRange(ip("10.9.9.9/8"))': "true",
    'ip("::1").isInRange(ip("0.0.0.0/0"))': "false",
    'ip("10.0.0.0/8") == ip("10.0.0.1/8")': "false",
    'ip("1.2.3.4") == ip("1.2.3.4/32")': "true",
    'ip("1:2:3:4:5:6:7:8") == ip("1:2:3:4:5:6:7:8/128")': "true",
    'ip("::FFFF") == ip("0:0:0:0:0:0:0:ffff")': "true",
    'ip("127.255.0.1/8").isLoopback()': "true",
    'ip("127.0.0.0/7").isLoopback()': "false",
    'ip("::1").isLoopback()': "true",
    'ip("::1/127").isLoopback()': "false",
    'ip("239.0.0.1").isMulticast()': "true",
    'ip("224.0.0.0/3").isMulticast()': "false",
    'ip("ff02::1").isMulticast()': "true",
    'ip("1.2.3.4").isIpv4() && ip("::").isIpv6()': "true",
    'ip("1.2.3.04").isIpv4()': "error",
    'ip("1.2.3.4/33").isIpv4()': "error",
    'ip("::ffff:1.2.3.4").isIpv6()': "error",
    'ip("fe80::1%eth0").isIpv6()': "error",
    # datetime: RFC 3339 with at most milliseconds, shifted to UTC
    'datetime("1970-01-01").toTime() == duration("0ms")': "true",
    'datetime("2024-02-29") < datetime("2024-03-01")': "true",
    'datetime("2024-10-15T11:38:02+0500") == datetime("2024-10-15T06:38:02Z")': "true",
    'datetime("1969-12-31T23:00:00Z").toDate() == datetime("1969-12-31")': "true",
    'datetime("1969-12-31T23:00:00Z").toTime() == duration("23h")': "true",
    'datetime("2024-01-01").offset(duration("-1ms")) >= datetime("2024-01-01")': "false",
    'datetime("2024-01-02").durationSince(datetime("2024-01-01")) == duration("1d")': "true",
    'datetime("1900-02-29") == datetime("1900-03-01")': "error",
    'datetime("2024-10-15T11:38:60Z") == datetime("2024-10-15")': "error",
    'datetime("9999-12-31").offset(duration("9223372036854775807ms")) == datetime("1970-01-01")': "error",
    'datetime("1970-01-01").offset(duration("-9223372036854775808ms")).toDate() == datetime("1970-01-01")': "error",
    'datetime("2024-01-01") < duration("1d")': "error",
    # duration: days, hours, minutes, seconds, milliseconds, in that order, each at most once
    'duration("1d2h3m4s5ms").toMilliseconds() == 93784005': "true",
    'duration("-90s").toMinutes() == -1': "true",
    'duration("3m") > duration("3ms")': "true",
    'duration("48h").toDays() == 2 && duration("119m").toHours() == 1 && duration("1999ms").toSeconds() == 1': "true",
    'duration("-9223372036854775808ms").toMilliseconds() == -9223372036854775808': "true",
    'duration("-9223372036854775808ms").toSeconds() == -9223372036854775': "true",
    'duration("9223372036854775808ms") == duration("0ms")': "error",
    'duration("1s1m") == duration("0ms")': "error",
    'duration("") == duration("0ms")': "error",
    'duration("-") == duration("0ms")': "error",
    # a call of the wrong arity is an error when it is reached, and not before
    'ip("1.2.3.4", 1).isIpv4()': "error",
    'false && ip("1.2.3.4", 1).isIpv4()': "false",
    'ip("1.2.3.4").isInRange()': "error",
}


@pytest.mark.parametrize("expression", VECTORS)
def test_an_extension_value_is_what_the_language_says(expression):
    cedar, ours = judged(expression)
    assert cedar == VECTORS[expression], "the vector is wrong"
    assert ours == cedar
