"""A policy bundle: what a control plane signs, and the checks of a device, in their order.

A device applies a bundle when each of these holds; the first that does not is the reason word of the refusal.

 1. it is a bundle at all                                                        `malformed_bundle`
 2. the pinned key signed exactly these bytes                                    `invalid_signature`
 3. it is for this profile, where the daemon needs that                          `incompatible_profile`
 4. its id is none below the floor, the highest that was ever applied            `bundle_id_fell`
 5. one with the id of the running bundle is the running bundle                  `bundle_changed`
 6. a signed word that it is the present one came with it, where any ever did    `no_freshness`, `not_fresh`
 7. its id is above the running one                                              (else there is nothing to do)
 8. its text has 1 to 200,000 bytes                                              `invalid_policy_text`
 9. each budget is 0 or more, for a category                                     `invalid_budget`
10. its text is Cedar and fits the schema: the operator's to check               `invalid_policy`

What is signed is the bundle's compact JSON, its members in the order of `PolicyBundle`, `budgets` sorted by category.
Everything here is a function of its arguments.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias

import msgspec

from briefcase.core.fleet.words import (
    BUNDLE_CHANGED,
    BUNDLE_FELL,
    INCOMPATIBLE_PROFILE,
    INVALID_BUDGET,
    INVALID_POLICY_TEXT,
    INVALID_SIGNATURE,
    MALFORMED,
    NO_FRESHNESS,
    NOT_FRESH,
)
from briefcase.core.jose.base64url import JoseError, decode_base64url
from briefcase.core.jose.jws import parse_public_jwk
from briefcase.model.types import COMPATIBILITY_PROFILE, MAX_SAFE_INTEGER, JsonValue

MAX_POLICY_BYTES: Final = 200_000
MAX_BUDGETS: Final = 256
MAX_CATEGORY_CHARS: Final = 64
MAX_WORD_CHARS: Final = 64

PolicyKey: TypeAlias = str
"""A control plane's Ed25519 public key, 32 bytes in base64url without padding."""


class BundleError(ValueError):
    """What was sent is not to be applied: the reason word, and a sentence about it."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason
        self.problem = problem


class PolicyBundle(msgspec.Struct, frozen=True):
    """A policy and budgets under a growing id. The order of these members is the order in which they are signed."""

    bundle_id: int
    compatibility_profile: str
    policy_text: str
    budgets: dict[str, int]
    updated_at_rfc3339: str


class SignedBundle(msgspec.Struct, frozen=True):
    """A bundle and its Ed25519 signature (base64url without padding)."""

    bundle: PolicyBundle
    signature_b64: str


class MandatoryPart(msgspec.Struct, frozen=True):
    """What an organisation forbids on each of its devices; an empty text says that it forbids nothing more."""

    id: int
    policy_text: str


class Standing(msgspec.Struct, frozen=True):
    """What a device knows before a bundle comes.

    `floor` is the highest id that was ever applied, `running_id` and `running_digest_hex` are of the bundle that runs;
    0 and empty where there is none. `expects_freshness` is set once a bundle came with a word of its freshness.
    """

    key_b64: PolicyKey
    floor: int = 0
    running_id: int = 0
    running_digest_hex: str = ""
    needs_profile: bool = False
    expects_freshness: bool = False


class Fresh(msgspec.Struct, frozen=True):
    """A signed word, already verified, that a bundle is the present one until a time (microseconds)."""

    bundle_id: int
    expires_us: int


class Apply(msgspec.Struct, frozen=True):
    """The bundle is to be applied. `digest_hex` is the SHA-256 of its signed bytes."""

    bundle: PolicyBundle
    digest_hex: str


class Unchanged(msgspec.Struct, frozen=True):
    """The bundle is the one that runs."""

    bundle_id: int


class Refused(msgspec.Struct, frozen=True):
    """The bundle is not to be applied. `bundle_id` is 0 where nobody vouches for its id."""

    reason: str
    problem: str
    bundle_id: int = 0
    profile: str = ""


Judgement: TypeAlias = Apply | Unchanged | Refused


def signed_bytes(bundle: PolicyBundle) -> bytes:
    """The bytes that a bundle's signature is over."""
    return msgspec.json.encode(msgspec.structs.replace(bundle, budgets=dict(sorted(bundle.budgets.items()))))


def digest_of(bundle: PolicyBundle) -> str:
    """What tells a bundle from every other: SHA-256 of its signed bytes, in hex."""
    return hashlib.sha256(signed_bytes(bundle)).hexdigest()


def check_key(key_b64: PolicyKey) -> None:
    """Check that a control plane's key is one.

    Raises:
        BundleError: it is no Ed25519 public key in base64url (`malformed_bundle`).
    """
    try:
        parse_public_jwk({"kty": "OKP", "crv": "Ed25519", "x": key_b64})
    except JoseError:
        raise BundleError(MALFORMED, "expected an Ed25519 key of 32 bytes in base64url without padding") from None


def is_signed_by(key_b64: PolicyKey, message: bytes, signature: bytes) -> bool:
    """Whether a key made this Ed25519 signature over a message."""
    return parse_public_jwk({"kty": "OKP", "crv": "Ed25519", "x": key_b64}).is_signature(message, signature)


def judge_bundle(value: JsonValue, standing: Standing, fresh: Fresh | None, now_us: int) -> Judgement:
    """Take a bundle through the checks 1 to 9 of this module.

    Args:
        value: the member `policy_bundle` as it came, parsed strictly.
        standing: what the device knows.
        fresh: the sibling `freshness`, verified with the pinned key; None where none came.
        now_us: the time, microseconds.
    """
    # 1. and 2. what was signed
    bundle = _signed_bundle(value, standing.key_b64)
    if isinstance(bundle, Refused):
        return bundle

    # 3. to 6. whether it may take the place of the running one
    digest_hex = digest_of(bundle)
    refused = _succession(bundle, digest_hex, standing) or _staleness(bundle.bundle_id, standing, fresh, now_us)
    if refused is not None:
        return refused

    # 7. nothing to do
    if bundle.bundle_id == standing.running_id:
        return Unchanged(bundle.bundle_id)

    # 8. and 9. what it says
    return _content(bundle) or Apply(bundle, digest_hex)


def _signed_bundle(value: JsonValue, key_b64: PolicyKey) -> PolicyBundle | Refused:
    # 1. a bundle
    try:
        signed = msgspec.convert(value, SignedBundle)
        signature = decode_base64url(signed.signature_b64)
    except (msgspec.ValidationError, JoseError) as error:
        return Refused(MALFORMED, f"expected a signed bundle: {str(error).lower()}")
    if not 0 < signed.bundle.bundle_id <= MAX_SAFE_INTEGER:
        return Refused(MALFORMED, "expected a `bundle_id` from 1 to 2^53 - 1")

    # 2. the signature
    if not is_signed_by(key_b64, signed_bytes(signed.bundle), signature):
        return Refused(INVALID_SIGNATURE, "the bundle is not signed by the pinned key")
    return signed.bundle


def _succession(bundle: PolicyBundle, digest_hex: str, standing: Standing) -> Refused | None:
    bundle_id, lowest = bundle.bundle_id, max(standing.floor, standing.running_id)

    # 3. the profile
    if standing.needs_profile and bundle.compatibility_profile != COMPATIBILITY_PROFILE:
        problem = f"expected a bundle for `{COMPATIBILITY_PROFILE}`, got one for another profile"
        return Refused(INCOMPATIBLE_PROFILE, problem, bundle_id, bundle.compatibility_profile[:MAX_WORD_CHARS])

    # 4. the floor
    if bundle_id < lowest:
        return Refused(BUNDLE_FELL, f"expected a bundle of at least {lowest}, got {bundle_id}", bundle_id)

    # 5. the running bundle
    if bundle_id == standing.running_id and digest_hex != standing.running_digest_hex:
        return Refused(BUNDLE_CHANGED, f"bundle {bundle_id} was signed twice, differently", bundle_id)
    return None


def _staleness(bundle_id: int, standing: Standing, fresh: Fresh | None, now_us: int) -> Refused | None:
    # 6. freshness
    if fresh is None:
        if not standing.expects_freshness:
            return None
        return Refused(NO_FRESHNESS, "expected a signed word of freshness beside the bundle", bundle_id)
    if fresh.bundle_id != bundle_id:
        problem = f"expected bundle {fresh.bundle_id}, which is said to be the present one, got {bundle_id}"
        return Refused(NOT_FRESH, problem, bundle_id)
    if fresh.expires_us <= now_us:
        return Refused(NOT_FRESH, f"the word that bundle {bundle_id} is the present one has expired", bundle_id)
    return None


def _content(bundle: PolicyBundle) -> Refused | None:
    # 8. the text
    if not bundle.policy_text.strip() or len(bundle.policy_text.encode()) > MAX_POLICY_BYTES:
        problem = f"expected a policy text of 1 to {MAX_POLICY_BYTES} bytes"
        return Refused(INVALID_POLICY_TEXT, problem, bundle.bundle_id)

    # 9. the budgets
    problem = _budget_problem(bundle.budgets)
    return Refused(INVALID_BUDGET, problem, bundle.bundle_id) if problem else None


def _budget_problem(budgets: dict[str, int]) -> str:
    if len(budgets) > MAX_BUDGETS:
        return f"expected at most {MAX_BUDGETS} budgets, got {len(budgets)}"
    for category, limit in budgets.items():
        if not 0 < len(category) <= MAX_CATEGORY_CHARS or not category.isprintable():
            return f"expected categories of 1 to {MAX_CATEGORY_CHARS} visible characters"
        if not 0 <= limit <= MAX_SAFE_INTEGER:
            return f"expected a daily limit of 0 or more for `{category}`"
    return ""
