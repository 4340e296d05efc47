"""The oracle of strict JSON: the standard library's scanner with hooks for what it lets pass."""

import json
import re

MAX_SAFE_INTEGER = 2**53 - 1
LONE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


class RefusedError(Exception):
    """Not strict JSON."""


def read(data: bytes):
    """The value of a text, or RefusedError; nesting is not bounded."""
    try:
        text = data.decode()
        value = DECODER.decode(text)
    except ValueError as error:
        raise RefusedError from error
    if text.startswith("\ufeff") or any(escape["lone"] for escape in LONE.finditer(text)):
        raise RefusedError
    return value


def _object(pairs):
    if len(dict(pairs)) != len(pairs):
        raise RefusedError
    return dict(pairs)


def _integer(text):
    if not -MAX_SAFE_INTEGER <= int(text) <= MAX_SAFE_INTEGER:
        raise RefusedError
    return int(text)


def _float(text):
    value = float(text)
    inexact_zero = value == 0 and re.search("[1-9]", text.lower().partition("e")[0])
    if len(text) > 128 or abs(value) == float("inf") or inexact_zero or MAX_SAFE_INTEGER < abs(value) < 1e21:
        raise RefusedError
    return int(value) if value.is_integer() and abs(value) < 1e21 else value


def _constant(_text):
    raise RefusedError


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
