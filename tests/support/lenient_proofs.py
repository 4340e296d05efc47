"""Servers that check proofs of possession with something left out, as patches of the module that checks them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from briefcase.core.jose.base64url import decode_base64url
from briefcase.core.jose.dpop import Proof, Refusal, check_proof, replay_key
from briefcase.core.jose.jws import parse_public_jwk

Patch: TypeAlias = Callable[[Any], None]
"""Takes pytest's `monkeypatch`."""


def lenient(owner: Any, **forced: Any) -> Patch:
    """A server that checks proofs with something left out.

    Args:
        owner: the module that imported `check_proof`.
        forced: `method`, `url` or `iat`, whatever the value, is taken from the proof; others replace arguments.
    """

    def check(values: Sequence[str], method: str, url: str, now_us: int, **kwargs: Any) -> Proof | Refusal:
        for name, value in forced.items():
            if name == "method":
                method = claims_of(values).get("htm", method)
            elif name == "url":
                url = claims_of(values).get("htu", url)
            elif name == "iat":
                claims = claims_of(values)
                if type(claims.get("iat")) is int:
                    now_us = claims["iat"] * 1_000_000
            else:
                kwargs[name] = value
        return check_proof(values, method, url, now_us, **kwargs)

    return lambda monkeypatch: monkeypatch.setattr(owner, "check_proof", check)


def believing(owner: Any, fits: Callable[[Sequence[str]], bool]) -> Patch:
    """A server that takes any proof that fits, without checking it at all.

    Args:
        owner: as `lenient`.
        fits: whether a request's proofs do.
    """

    def check(values: Sequence[str], method: str, url: str, now_us: int, **kwargs: Any) -> Proof | Refusal:
        answer = check_proof(values, method, url, now_us, **kwargs)
        if isinstance(answer, Proof) or not values or not fits(values):
            return answer
        jkt = kwargs.get("bound_jkt") or parse_public_jwk(claims_of(values, 0)["jwk"]).thumbprint
        return Proof(jkt, now_us // 1_000_000, replay_key(jkt, str(claims_of(values).get("jti", values[0]))))

    return lambda monkeypatch: monkeypatch.setattr(owner, "check_proof", check)


def claims_of(values: Sequence[str], part: int = 1) -> Any:
    """The claims of the first proof; its header is part 0."""
    return json.loads(decode_base64url(values[0].split(".")[part])) if values else {}
