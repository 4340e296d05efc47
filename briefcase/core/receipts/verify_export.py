#!/usr/bin/env python3
"""Verify an export of receipts with the standard library alone: `python verify_export.py FILE [--filtered] [ID:HASH]`.

A copy of this file lies beside every export, so that whoever holds the two needs to trust no installation. Each line
of the export is one receipt, `{"id", "ts", "prev_hash_hex", "hash_hex", "event"}`, oldest first, and

    hash_hex = SHA-256( ascii(prev_hash_hex) || canonical(event) )

where `canonical` is RFC 8785 JSON (an event holds strings, integers, booleans, nulls, lists and objects only). A line
must be exactly the one form that its receipt has: a name twice, another spelling or a member more is refused. An export
that does not begin with receipt 1 verifies from where it begins, and this says so (`begins after N`). The
optional ID:HASH is a receipt noted elsewhere; without one, a cut-off end cannot be excluded, and this says so.
`--filtered` is for an export that was made with a filter: receipts may be missing, and how many places is said; each
receipt's own hash and the links between neighbours are checked.

Exit code 0: every line verifies. 7: one does not; its id, and what was expected and found, are printed. 2: no export.
"""

import hashlib
import json
import sys

MAX_LINE_BYTES = 4 << 20


def canonical(value):
    """RFC 8785 text of a value without floats: no space, keys sorted by their UTF-16 code units."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float):
        raise ValueError("an event holds no floating-point number")
    return json.dumps(value, ensure_ascii=False)


def shown(value):
    """A value for the terminal: nothing of an export may write more than itself there."""
    return "".join(char if " " <= char <= "~" else "?" for char in str(value))


def line_of(receipt):
    """The only form a receipt's line has."""
    texts = ",".join(f'"{name}":{canonical(receipt[name])}' for name in ("id", "ts", "prev_hash_hex", "hash_hex"))
    return f'{{{texts},"event":{canonical(receipt["event"])}}}\n'.encode()


def problem_of(receipt, previous, is_filtered):
    """What is wrong with a receipt after the previous one (None for the first line), or None."""
    event = receipt["event"]
    if type(receipt["id"]) is not int or not isinstance(receipt["hash_hex"], str):
        raise ValueError("expected an id that is a number and a hash that is text")
    expected = hashlib.sha256(receipt["prev_hash_hex"].encode() + canonical(event).encode()).hexdigest()
    if (event["id"], event["ts"]) != (receipt["id"], receipt["ts"]):
        return "its event repeats another id or time", receipt["hash_hex"], expected
    if receipt["hash_hex"] != expected:
        return "its hash is not that of its event", receipt["hash_hex"], expected
    if previous is None:
        genesis = "0" * 64
        if receipt["id"] == 1 and receipt["prev_hash_hex"] != genesis:
            return "the first receipt links to something", receipt["prev_hash_hex"], genesis
        return None
    if receipt["id"] != previous["id"] + 1:
        if is_filtered and receipt["id"] > previous["id"]:
            return None
        return "a receipt is missing before it", str(receipt["id"]), str(previous["id"] + 1)
    if receipt["prev_hash_hex"] != previous["hash_hex"]:
        return "it does not link to the one before it", receipt["prev_hash_hex"], previous["hash_hex"]
    return None


def not_checked(first, gaps, anchor):
    """What a good export leaves open, line by line."""
    if first["id"] != 1:
        yield f"begins after {first['id'] - 1}:{first['prev_hash_hex']}"
        yield f"not checked: receipts 1 to {first['id'] - 1}, which are not in this export"
    if gaps:
        yield f"not checked: what lies in {gaps} gaps, and so whether the receipts around them are of one chain"
    if anchor is None:
        yield "not checked: whether receipts were cut off the end (give ID:HASH of one noted elsewhere)"


def main(arguments):
    """Verify one file; gives the exit code."""
    is_filtered = "--filtered" in arguments
    arguments = [argument for argument in arguments if argument != "--filtered"]
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    anchor = arguments[1] if len(arguments) == 2 else None
    previous, first, count, gaps, anchored = None, None, 0, 0, False
    try:
        with open(arguments[0], "rb") as lines:
            for line in iter(lambda: lines.readline(MAX_LINE_BYTES + 1), b""):
                receipt = json.loads(line.decode("utf-8"))
                problem = problem_of(receipt, previous, is_filtered)
                if problem is not None:
                    what, found, expected = problem
                    print(f"receipt {receipt['id']}: {what}\n  expected {shown(expected)}\n  found    {shown(found)}")
                    return 7
                if line != line_of(receipt):
                    print(f"`{arguments[0]}` line {count + 1} is not the line of a receipt: it was written otherwise")
                    return 7
                anchored = anchored or f"{receipt['id']}:{receipt['hash_hex']}" == anchor
                gaps += previous is not None and receipt["id"] != previous["id"] + 1
                previous, first, count = receipt, first or receipt, count + 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        print(f"`{arguments[0]}` line {count + 1} is no receipt: {shown(error)}", file=sys.stderr)
        return 7 if count else 2  # an export that is damaged, or none
    if previous is None:
        print(f"`{arguments[0]}` holds no receipt", file=sys.stderr)
        return 2
    if anchor is not None and not anchored:
        print(f"the noted receipt {anchor} is not in this export")
        return 7
    print(f"{count} receipts verify, up to {previous['id']}:{previous['hash_hex']}")
    for left in not_checked(first, gaps, anchor):
        print(left)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
