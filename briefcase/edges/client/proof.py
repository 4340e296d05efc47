"""The proof over TCP: the daemon signs a nonce of ours and the address that we are connected to.

 1. without a did to hold the answer against, the token of the user's own choice goes with a warning, another stays
 2. ask `POST /v1/identity/proof` with a fresh nonce, on the connection that the token would take
 3. the did must be the expected one, and its key's signature must cover the nonce and this very address

A stranger who passes the nonce on to the daemon gets a signature over the daemon's address and not over the stranger's.
"""

from __future__ import annotations

import secrets
from typing import Final

import orjson

from briefcase.adapters.vault.identity import verify_signature
from briefcase.core.jose.base64url import JoseError, decode_base64url
from briefcase.core.jose.identity_proof import identity_proof_text
from briefcase.core.wire.identity import ProofAnswer
from briefcase.core.wire.reading import read_answer
from briefcase.edges.client.expected import ExpectedDaemon, untrusted, warn_unproven
from briefcase.model.errors import BriefcaseError

PROOF_PATH: Final = "/v1/identity/proof"
NONCE_BYTES: Final = 32


class Proof:
    """One proof that is asked for on one connection.

    Args:
        expected: who may answer.
        authority: `host:port` of the listener that the connection leads to.

    Raises:
        BriefcaseError: the file that names the daemon's did cannot be read (`ExpectedDaemon.fault`).
    """

    def __init__(self, expected: ExpectedDaemon, authority: str) -> None:
        if expected.fault is not None:
            raise expected.fault
        self._expected = expected
        self._authority = authority
        self._nonce = secrets.token_urlsafe(NONCE_BYTES)

    @property
    def body(self) -> bytes:
        """The request's body, for `PROOF_PATH`."""
        return orjson.dumps({"nonce": self._nonce})

    def check(self, answer: bytes) -> None:
        """Check the body of the answer, empty where there was none; warn where the user takes an unproven daemon.

        Raises:
            BriefcaseError: no token may go there (`untrusted_daemon`).
        """
        problem = self._problem(answer)
        if not problem:
            return
        expected = self._expected
        if expected.takes_unproven and not expected.is_pinned:
            warn_unproven(f"http://{self._authority}", problem)
            return
        raise _refusal(problem, expected)

    def _problem(self, answer: bytes) -> str:
        """Why the answer proves nothing; empty where it proves who answers."""
        wanted = self._expected.did
        if wanted is None:
            return f"nothing here tells which daemon to expect at `http://{self._authority}`"
        try:
            found = read_answer(answer, ProofAnswer, f"POST {PROOF_PATH}")
            did, signature = found.did, decode_base64url(found.sig_b64)
        except (BriefcaseError, JoseError):
            return f"expected the daemon `{wanted}` at `http://{self._authority}`, got no proof"
        if did != wanted:
            return f"expected the daemon `{wanted}` at `http://{self._authority}`, got another one"
        if not verify_signature(wanted, identity_proof_text(wanted, self._authority, self._nonce), signature):
            return f"expected a signature of `{wanted}` over `{self._authority}`, got one over something else"
        return ""


def _refusal(problem: str, expected: ExpectedDaemon) -> BriefcaseError:
    if expected.did is None:
        hint = "connect over the Unix socket, or set BRIEFCASE_DAEMON_DID to what `briefcase identity show` prints"
        return untrusted(problem, hint)
    return untrusted(problem, "see who listens there; where the key is new, set BRIEFCASE_DAEMON_DID to its did")
