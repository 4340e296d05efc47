"""The payment helper: the operator's own program that holds the wallet, run once for each payment and asked one thing.

One JSON object goes in on its standard input, which then ends; one comes out on its standard output, and it exits with
0. No shell, no arguments, no secret of ours: it gets the variables that a server of ours inherits, and runs confined as
such a server does (`children.confinement`), without the data directory and the sockets. What it holds its wallet by is
its own affair: a file of its user, a key store, another machine.

| rail | in, beside `rail` and `provider_base_url` | out, beside `rail` |
|---|---|---|
| `x402_v2` | `payment_required`, with the one offer that is to be paid | `payment_signature_b64` |
| `x402` | `payment_id`, `payment_url`, `amount_microusd` | `proof` |
| `l402` | `invoice`, `amount_microusd` | `preimage` |

A helper that exits with another code, that is not done in `TIMEOUT_S`, that writes more than `MAX_ANSWER_BYTES`, or
anything but such an object, has failed, and what it did by then is not known. Its whole process group ends with it.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.children.confinement import Confinement
from briefcase.adapters.children.once import ask_once, inherited
from briefcase.adapters.disk.checks import way_problem
from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError, ConfigError, UpstreamError
from briefcase.model.types import JsonObject

TIMEOUT_S: Final = 30.0
MAX_ANSWER_BYTES: Final = 64 << 10
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class PaymentHelper:
    """Runs the helper.

    Args:
        program: an absolute path.
        confinement: what it is kept from.
        environ: the daemon's environment, for the inherited variables.
        timeout_s: how long one payment may take.

    Raises:
        ConfigError: there is no such program, or another user could put another in its place.
    """

    def __init__(
        self, program: Path, confinement: Confinement, environ: Mapping[str, str], *, timeout_s: float = TIMEOUT_S
    ) -> None:
        check_program(program)
        self._program = program
        self._confinement = confinement
        self._env = inherited(environ)
        self._timeout_s = timeout_s

    async def ask(self, request: JsonObject) -> JsonObject:
        """Have one payment made.

        Raises:
            UpstreamError: it was not started (`sent=False`), or it failed, and may have paid (`sent=True`).

        Returns:
            The object that it answered, its `rail` that of the request.
        """
        try:
            check_program(self._program)  # it is not the daemon's file: whoever owns it may have changed it since
        except ConfigError as error:
            raise UpstreamError(error.message, code="upstream_refused", hint=error.hint, sent=False) from None
        try:
            command = await asyncio.to_thread(self._confinement.command, (str(self._program),), "", self._env)
        except UpstreamError as error:
            raise _failed(error.message, error.detail or "", sent=False) from None
        try:
            answer = await ask_once(command, self._env, msgspec.json.encode(request), self._timeout_s, MAX_ANSWER_BYTES)
        except UpstreamError as error:
            raise _failed(error.message, error.detail, sent=error.sent) from None
        return _answer_of(answer, request)


def check_program(program: Path) -> None:
    """Check that a program is the operator's: a file that runs, and that no other user can write or replace.

    Raises:
        ConfigError: naming the variable and what was found.
    """
    try:
        found = program.stat()
        problem = way_problem(program.parent)
    except OSError as error:
        raise _wrong(f"`{program}` cannot be looked at: {os.strerror(error.errno or 0).lower()}") from None
    if not stat.S_ISREG(found.st_mode) or not os.access(program, os.X_OK):
        raise _wrong(f"expected a program that this user may run, got `{program}`")
    if found.st_uid not in {0, os.geteuid()}:
        raise _wrong(f"expected `{program}` to belong to uid {os.geteuid()} or root, got uid {found.st_uid}")
    if stat.S_IMODE(found.st_mode) & OTHERS_WRITE:
        raise _wrong(f"expected `{program}` not to be writable by others, got mode {stat.S_IMODE(found.st_mode):04o}")
    if problem is not None:
        raise _wrong(problem.message)


def _wrong(problem: str) -> ConfigError:
    return ConfigError(f"`BRIEFCASE_PAYMENT_HELPER`: {problem}", hint="it moves money: only its owner may change it")


def _answer_of(data: bytes, request: JsonObject) -> JsonObject:
    try:
        answer = parse_json(data)
    except CallerError as error:
        raise _failed("it answered no JSON", error.message) from None
    if not isinstance(answer, dict) or answer.get("rail") != request["rail"]:
        raise _failed("it answered for another rail, or no object")
    return answer


def _failed(problem: str, detail: str = "", *, sent: bool = True) -> UpstreamError:
    return UpstreamError(f"the payment helper failed: {problem}", code="upstream_failed", detail=detail, sent=sent)
