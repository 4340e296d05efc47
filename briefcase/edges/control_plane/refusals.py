"""What the control plane refuses, and the one table from its words to HTTP statuses (`aacp_v1`, "Control plane")."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from briefcase.core.fleet import words

INVALID_REQUEST: Final = "invalid_request"
INVALID_KEY_ID: Final = "invalid_key_id"
INVALID_MESSAGE: Final = "invalid_msg_b64"
INVALID_MESSAGE_SIZE: Final = "invalid_msg_size"
NOT_FOUND: Final = "not_found"
METHOD_NOT_ALLOWED: Final = "method_not_allowed"
PAYLOAD_TOO_LARGE: Final = "payload_too_large"
INVALID_MANDATORY: Final = "invalid_mandatory"
FORBIDDEN: Final = "forbidden"
CONFLICT: Final = "conflict"
GATE_SHUT: Final = "gate_shut"

_STATUSES: Final = {
    words.MISSING_TOKEN: HTTPStatus.UNAUTHORIZED,
    words.INVALID_TOKEN: HTTPStatus.UNAUTHORIZED,
    words.UNKNOWN_DEVICE: HTTPStatus.UNAUTHORIZED,
    words.MISSING_DPOP: HTTPStatus.UNAUTHORIZED,
    words.INVALID_DPOP: HTTPStatus.UNAUTHORIZED,
    words.REPLAY_DETECTED: HTTPStatus.CONFLICT,
    words.FORK: HTTPStatus.CONFLICT,
    CONFLICT: HTTPStatus.CONFLICT,
    GATE_SHUT: HTTPStatus.CONFLICT,
    FORBIDDEN: HTTPStatus.FORBIDDEN,
    NOT_FOUND: HTTPStatus.NOT_FOUND,
    METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    PAYLOAD_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}


class RefusedError(Exception):
    """A request that is refused.

    Args:
        word: the contract's.
        message: a sentence about it that is safe to show.
        last_receipt_id: of an upload: the last receipt that is stored, from which the device goes on.
    """

    def __init__(self, word: str, message: str, *, last_receipt_id: int | None = None) -> None:
        super().__init__(word)
        self.word = word
        self.message = message
        self.last_receipt_id = last_receipt_id

    @property
    def status(self) -> HTTPStatus:
        """Its HTTP status; a word that is in no table is the caller's fault."""
        return _STATUSES.get(self.word, HTTPStatus.BAD_REQUEST)
