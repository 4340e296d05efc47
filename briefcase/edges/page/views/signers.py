"""Signers: the devices and passkeys whose signature is a yes, and a new passkey of whoever is logged in.

The exchanges with the browser's authenticator are the page's script's, over these forms; what is signed, and whether it
counts, is the daemon's alone (`core.operator.passkeys`).
"""

from __future__ import annotations

from typing import Final

import orjson

from briefcase.core.wire.passkeys import (
    PasskeyRegistered,
    PasskeyRegistrationOptions,
    PasskeyRuled,
    PasskeyRulingOptions,
)
from briefcase.core.wire.signers import PairingStarted, SignerList, SignerRevoked
from briefcase.edges.api.in_process import path_of
from briefcase.edges.page.asking import Asked, Moved, Shown, Told, View
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject

HOME: Final = "/signers"
LIST: Final = "/v1/signers"
PASSKEYS: Final = "/v1/signers/passkeys"
PAIR: Final = "/v1/signer/pair/start"


async def list_signers(asked: Asked) -> Shown:
    """`GET /signers`."""
    signers = (await asked.get(LIST, SignerList)).signers if asked.may("GET", LIST) else []
    values = {"signers": signers, "may_list": asked.may("GET", LIST), "may_pair": asked.may("POST", PAIR)}
    return Shown("signers", "Signers", {**values, "may_register": asked.may("POST", PASSKEYS)})


async def start_pairing(asked: Asked) -> Shown:
    """`POST /signers/pair`: a device may be paired, or a person register a passkey, for some minutes."""
    owner = asked.form.get("owner", "")
    started = await asked.post(PAIR, PairingStarted, **({"owner": owner} if owner else {}))
    return Shown("pairing", "Pair", {"started": started, "owner": owner})


async def revoke_signer(asked: Asked) -> Moved:
    """`POST /signers/revoke`."""
    await asked.post(path_of("v1", "signers", asked.form.get("id", ""), "revoke"), SignerRevoked)
    return Moved(HOME)


async def begin_registration(asked: Asked) -> Told:
    """`POST /passkeys/registration`: what the browser is asked for a new passkey."""
    wanted = {"origin": asked.origin, "name": asked.form.get("name", "")}
    wanted["pairing_code"] = asked.form.get("pairing_code", "").strip()
    return Told(await asked.post(f"{PASSKEYS}/registration", PasskeyRegistrationOptions, **wanted))


async def register(asked: Asked) -> Told:
    """`POST /passkeys/register`: what the browser gave."""
    registration_id = asked.form.get("registration_id", "")
    sent = {"registration_id": registration_id, "credential": _credential(asked)}
    return Told(await asked.post(PASSKEYS, PasskeyRegistered, **sent))


async def begin_ruling(asked: Asked) -> Told:
    """`POST /passkeys/ruling`: what a passkey is asked to sign, of the document that the page shows."""
    wanted = {name: asked.form.get(name, "") for name in ("approval_id", "to", "shown_digest_hex")}
    return Told(await asked.post(f"{PASSKEYS}/ruling", PasskeyRulingOptions, **wanted, origin=asked.origin))


async def rule(asked: Asked) -> Told:
    """`POST /passkeys/rule`: the signature."""
    sent = {"assertion_id": asked.form.get("assertion_id", ""), "reason": asked.form.get("reason", "")}
    ruled = await asked.post(f"{PASSKEYS}/rule", PasskeyRuled, **sent, credential=_credential(asked))
    return Told({"status": ruled.status})  # no token: a page has no use for it


def _credential(asked: Asked) -> JsonObject:
    try:
        credential = orjson.loads(asked.form.get("credential", ""))
    except orjson.JSONDecodeError:
        credential = None
    if not isinstance(credential, dict):
        raise CallerError("expected what the browser gave as `credential`")
    return credential


VIEWS: Final = (
    View("GET", HOME, list_signers),
    View("POST", "/signers/pair", start_pairing),
    View("POST", "/signers/revoke", revoke_signer),
    View("POST", "/passkeys/registration", begin_registration),
    View("POST", "/passkeys/register", register),
    View("POST", "/passkeys/ruling", begin_ruling),
    View("POST", "/passkeys/rule", rule),
)
