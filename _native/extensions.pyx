"""The extension types of Cedar: decimal, ip address, datetime and duration, with their constructors and methods.

Each function takes values and gives a value, or a `Fault` where Cedar reports an error: a wrong argument type, a text that
is no such value, an overflow of 64 bits. Formats follow the Cedar language reference (decimal: four fractional digits;
ip: an address or a CIDR range; datetime: RFC 3339 with at most milliseconds; duration: `1d2h3m4s5ms`).
"""

import re

cimport cython

from briefcase._native.values cimport Extension, Fault, is_long, kind_of

DECIMAL = re.compile(r"(-?[0-9]+)\.([0-9]{1,4})")
DATETIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{3}))?(?:Z|([+-])([0-9]{2})([0-9]{2})))?"
)
DURATION = re.compile(r"(-?)(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m(?!s))?(?:([0-9]+)s)?(?:([0-9]+)ms)?")

cdef int MAX_TEXT = 128                # no decimal, datetime or duration is longer, leading zeros aside
cdef int MAX_IP_TEXT = 43              # eight groups of four, seven colons, `/128`
cdef long long MS_PER_DAY = 86_400_000
cdef tuple MS_OF_UNIT = (86_400_000, 3_600_000, 60_000, 1000, 1)  # d h m s ms
cdef tuple DAYS_IN_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


# --- the types --------------------------------------------------------------------------------------------------


cdef class Decimal(Extension):
    """A fixed-point number with four fractional digits in 64 bits."""

    def __hash__(self):
        return hash((Decimal, self.scaled))

    def __eq__(self, other):
        return type(other) is Decimal and self.scaled == (<Decimal>other).scaled


cdef class Datetime(Extension):
    """A moment: milliseconds since the Unix epoch in 64 bits."""

    def __hash__(self):
        return hash((Datetime, self.epoch_ms))

    def __eq__(self, other):
        return type(other) is Datetime and self.epoch_ms == (<Datetime>other).epoch_ms


cdef class Duration(Extension):
    """A signed span of milliseconds in 64 bits."""

    def __hash__(self):
        return hash((Duration, self.length_ms))

    def __eq__(self, other):
        return type(other) is Duration and self.length_ms == (<Duration>other).length_ms


cdef class Ipaddr(Extension):
    """An IPv4 or IPv6 address with the length of its network prefix."""

    def __hash__(self):
        return hash((Ipaddr, self.octets[:16], self.prefix, self.is_v6))

    def __eq__(self, other):
        if type(other) is not Ipaddr:
            return False
        cdef Ipaddr that = <Ipaddr>other
        return (
            self.is_v6 == that.is_v6 and self.prefix == that.prefix and shared_bits(self, that) == address_bits(self)
        )


cdef Ipaddr LOOPBACK_V6 = Ipaddr.__new__(Ipaddr)
LOOPBACK_V6.octets[15] = 1
LOOPBACK_V6.is_v6 = True


cdef int address_bits(Ipaddr address) noexcept:
    return 128 if address.is_v6 else 32


cdef int shared_bits(Ipaddr left, Ipaddr right) noexcept:
    """How many leading bits two addresses of one family have in common."""
    cdef int index, differing, count
    for index in range(address_bits(left) // 8):
        differing = left.octets[index] ^ right.octets[index]
        if differing:
            count = 8 * index
            while not differing & 0x80:
                differing <<= 1
                count += 1
            return count
    return address_bits(left)


# --- constructors -----------------------------------------------------------------------------------------------


cdef Fault malformed(str kind, str text):
    shown = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"
    return Fault(f"`{shown}` is not a well-formed {kind} value")


cdef object decimal(tuple arguments):
    cdef Decimal made
    cdef str text = arguments[0]
    found = DECIMAL.fullmatch(text)
    if found is None:
        return malformed("decimal", text)
    whole, fraction = found.groups()
    if len(whole) > MAX_TEXT:
        return Fault("overflow when converting to decimal")
    tail = int(fraction.ljust(4, "0"))
    scaled = int(whole) * 10_000 + (-tail if whole.startswith("-") else tail)
    if not is_long(scaled):
        return Fault("overflow when converting to decimal")
    made = Decimal.__new__(Decimal)
    made.scaled = scaled
    return made


cdef object datetime(tuple arguments):
    cdef str text = arguments[0]
    found = DATETIME.fullmatch(text)
    if found is None:
        return malformed("datetime", text)
    year, month, day = (int(part) for part in found.groups()[:3])
    hour, minute, second, ms = (int(part or 0) for part in found.groups()[3:7])
    away_h, away_m = (int(part or 0) for part in found.groups()[8:])
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not (1 <= month <= 12 and 1 <= day <= DAYS_IN_MONTH[month - 1] + leap):
        return malformed("datetime", text)
    if hour > 23 or minute > 59 or second > 59 or away_h > 23 or away_m > 59:
        return malformed("datetime", text)
    local_s = days_from_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
    away_s = (away_h * 3600 + away_m * 60) * (-1 if found.group(8) == "-" else 1)
    return moment((local_s - away_s) * 1000 + ms)


cdef long long days_from_epoch(long long year, long long month, long long day) noexcept:
    """Days from 1970-01-01 in the proleptic Gregorian calendar; years are counted from March, so that leap days end them."""
    cdef long long y = year - (1 if month <= 2 else 0) + 400  # year 0 stays positive
    cdef long long day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return 365 * y + y // 4 - y // 100 + y // 400 + day_of_year - 719468 - 146097


cdef object duration(tuple arguments):
    cdef str text = arguments[0]
    found = DURATION.fullmatch(text)
    if found is None or not any(found.groups()[1:]):
        return malformed("duration", text)
    total = 0
    for count, unit in zip(found.groups()[1:], MS_OF_UNIT):
        if count is not None:
            if len(count.lstrip("0")) > 20:
                return Fault("overflow when converting to duration")
            total += int(count.lstrip("0") or "0") * unit
    return span(-total if found.group(1) else total)


cdef object ip(tuple arguments):
    cdef str text = arguments[0], address, prefix
    cdef Ipaddr made = Ipaddr.__new__(Ipaddr)
    cdef bint well_formed
    if len(text) > MAX_IP_TEXT or not text.isascii():
        return malformed("ip", text)
    address, slash, prefix = text.partition("/")
    made.is_v6 = ":" in address
    well_formed = parse_v6(made, address) if made.is_v6 else parse_v4(made, address)
    made.prefix = address_bits(made)
    if slash:
        if not prefix.isdigit() or len(prefix) > 3 or (prefix[0] == "0" and prefix != "0"):
            return malformed("ip", text)
        if int(prefix) > made.prefix:
            return malformed("ip", text)
        made.prefix = int(prefix)
    return made if well_formed else malformed("ip", text)


cdef bint parse_v4(Ipaddr made, str address) except -1:
    cdef list parts = address.split(".")
    cdef int index
    if len(parts) != 4:
        return False
    for index in range(4):
        part = parts[index]
        if not part.isdigit() or len(part) > 3 or (part[0] == "0" and part != "0") or int(part) > 255:
            return False
        made.octets[index] = int(part)
    return True


cdef bint parse_v6(Ipaddr made, str address) except -1:
    cdef list head, tail
    cdef int index, gap
    before, compressed, after = address.partition("::")
    head = groups_of(before)
    tail = groups_of(after)
    if head is None or tail is None:
        return False
    gap = 8 - len(head) - len(tail)
    if (gap < 1) if compressed else (gap != 0):
        return False
    groups = head + [0] * gap + tail
    for index in range(8):
        made.octets[2 * index] = groups[index] >> 8
        made.octets[2 * index + 1] = groups[index] & 0xFF
    return True


cdef list groups_of(str text):
    """The 16-bit groups of a part of an IPv6 address, or None where one is malformed."""
    cdef list groups = []
    if not text:
        return groups
    for group in text.split(":"):
        if not 1 <= len(group) <= 4 or group.strip("0123456789abcdefABCDEF"):
            return None
        groups.append(int(group, 16))
    return groups


cdef object moment(object epoch_ms):
    cdef Datetime made = Datetime.__new__(Datetime)
    if not is_long(epoch_ms):
        return Fault("overflows when computing a datetime")
    made.epoch_ms = epoch_ms
    return made


cdef object span(object length_ms):
    cdef Duration made = Duration.__new__(Duration)
    if not is_long(length_ms):
        return Fault("overflows when computing a duration")
    made.length_ms = length_ms
    return made


# --- methods ----------------------------------------------------------------------------------------------------


cdef object less_than(tuple arguments):
    return (<Decimal>arguments[0]).scaled < (<Decimal>arguments[1]).scaled


cdef object less_than_or_equal(tuple arguments):
    return (<Decimal>arguments[0]).scaled <= (<Decimal>arguments[1]).scaled


cdef object greater_than(tuple arguments):
    return (<Decimal>arguments[0]).scaled > (<Decimal>arguments[1]).scaled


cdef object greater_than_or_equal(tuple arguments):
    return (<Decimal>arguments[0]).scaled >= (<Decimal>arguments[1]).scaled


cdef object is_ipv4(tuple arguments):
    return not (<Ipaddr>arguments[0]).is_v6


cdef object is_ipv6(tuple arguments):
    return (<Ipaddr>arguments[0]).is_v6


cdef object is_loopback(tuple arguments):
    cdef Ipaddr address = <Ipaddr>arguments[0]
    if address.is_v6:
        return bool(shared_bits(address, LOOPBACK_V6) == 128 and address.prefix == 128)
    return address.octets[0] == 127 and address.prefix >= 8


cdef object is_multicast(tuple arguments):
    cdef Ipaddr address = <Ipaddr>arguments[0]
    if address.is_v6:
        return address.octets[0] == 0xFF and address.prefix >= 8
    return address.octets[0] >> 4 == 0xE and address.prefix >= 4


cdef object is_in_range(tuple arguments):
    cdef Ipaddr inner = <Ipaddr>arguments[0], outer = <Ipaddr>arguments[1]
    return bool(
        inner.is_v6 == outer.is_v6 and outer.prefix <= inner.prefix and shared_bits(inner, outer) >= outer.prefix
    )


cdef object offset(tuple arguments):
    return moment(<object>(<Datetime>arguments[0]).epoch_ms + <object>(<Duration>arguments[1]).length_ms)


cdef object duration_since(tuple arguments):
    return span(<object>(<Datetime>arguments[0]).epoch_ms - <object>(<Datetime>arguments[1]).epoch_ms)


cdef object to_date(tuple arguments):
    epoch_ms = (<Datetime>arguments[0]).epoch_ms
    return moment(epoch_ms - <object>epoch_ms % <object>MS_PER_DAY)


cdef object to_time(tuple arguments):
    return span(<object>(<Datetime>arguments[0]).epoch_ms % <object>MS_PER_DAY)


@cython.cdivision(True)  # towards zero, as Cedar divides; no unit is -1, so nothing overflows
cdef object whole_units(object value, long long unit):
    return (<Duration>value).length_ms / unit


cdef object to_milliseconds(tuple arguments):
    return whole_units(arguments[0], 1)


cdef object to_seconds(tuple arguments):
    return whole_units(arguments[0], 1000)


cdef object to_minutes(tuple arguments):
    return whole_units(arguments[0], 60_000)


cdef object to_hours(tuple arguments):
    return whole_units(arguments[0], 3_600_000)


cdef object to_days(tuple arguments):
    return whole_units(arguments[0], MS_PER_DAY)


cdef object moment_order(object left, object right):
    """Cedar's `<` beyond longs: -1, 0 or 1 for two datetimes or two durations, else None."""
    if type(left) is Datetime and type(right) is Datetime:
        return order((<Datetime>left).epoch_ms, (<Datetime>right).epoch_ms)
    if type(left) is Duration and type(right) is Duration:
        return order((<Duration>left).length_ms, (<Duration>right).length_ms)
    return None


cdef int order(long long left, long long right) noexcept:
    return (left > right) - (left < right)


# --- the table --------------------------------------------------------------------------------------------------


cdef class ExtensionFunction:
    """A named function: its parameter types are checked here, so that the functions above need not."""

    cdef object apply(self, tuple arguments):
        if len(arguments) != self.arity:
            return Fault(f"wrong number of arguments to `{self.name}`: expected {self.arity}, got {len(arguments)}")
        for argument, parameter in zip(arguments, self.parameters):
            if type(argument) is not parameter:
                expected = "string" if parameter is str else parameter.__name__.lower()
                return Fault(f"type error: expected {expected}, got {kind_of(argument)}")
        return self.call(arguments)


cdef dict FUNCTIONS = {}


cdef void register(str name, ExtensionCall call, tuple parameters, bint gives_bool) except *:
    cdef ExtensionFunction function = ExtensionFunction.__new__(ExtensionFunction)
    function.name = name
    function.call = call
    function.parameters = parameters
    function.arity = len(parameters)
    function.gives_bool = gives_bool
    FUNCTIONS[name] = function


cdef ExtensionFunction extension_named(str name):
    """The function of that name, or None."""
    return FUNCTIONS.get(name)


register("decimal", decimal, (str,), False)
register("lessThan", less_than, (Decimal, Decimal), True)
register("lessThanOrEqual", less_than_or_equal, (Decimal, Decimal), True)
register("greaterThan", greater_than, (Decimal, Decimal), True)
register("greaterThanOrEqual", greater_than_or_equal, (Decimal, Decimal), True)
register("ip", ip, (str,), False)
register("isIpv4", is_ipv4, (Ipaddr,), True)
register("isIpv6", is_ipv6, (Ipaddr,), True)
register("isLoopback", is_loopback, (Ipaddr,), True)
register("isMulticast", is_multicast, (Ipaddr,), True)
register("isInRange", is_in_range, (Ipaddr, Ipaddr), True)
register("datetime", datetime, (str,), False)
register("offset", offset, (Datetime, Duration), False)
register("durationSince", duration_since, (Datetime, Datetime), False)
register("toDate", to_date, (Datetime,), False)
register("toTime", to_time, (Datetime,), False)
register("duration", duration, (str,), False)
register("toMilliseconds", to_milliseconds, (Duration,), False)
register("toSeconds", to_seconds, (Duration,), False)
register("toMinutes", to_minutes, (Duration,), False)
register("toHours", to_hours, (Duration,), False)
register("toDays", to_days, (Duration,), False)
