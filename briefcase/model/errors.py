"""The error tree, split by whose fault it is, and the one table from code to HTTP status and exit code.

A verdict (denied, approval required) is a value and never one of these. Each error carries
`code` (stable word), `message` (lower case, input in backticks, safe to show), `hint` (what to do next)
and `detail` (for the log only: it may hold what the caller must not see).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple


class Outcome(NamedTuple):
    """Where a code surfaces: the HTTP status of the daemon, the exit code of the CLI."""

    http_status: int
    exit_code: int


# Exit codes: 0 success, 1 internal, 2 usage (click's own), 3 refused, 4 not found, 5 unavailable, 6 unauthorized,
# 7 integrity, 8 upstream, 9 configuration, 11 a daemon of another version. The command line adds 10 (waits for
# approval), 130 and 141 (signals).
CODES: Final[dict[str, Outcome]] = {
    "bad_request": Outcome(HTTPStatus.BAD_REQUEST, 2),
    "invalid_args": Outcome(HTTPStatus.BAD_REQUEST, 2),
    "invalid_policy": Outcome(HTTPStatus.BAD_REQUEST, 2),
    "invalid_manifest": Outcome(HTTPStatus.BAD_REQUEST, 2),
    "unauthorized": Outcome(HTTPStatus.UNAUTHORIZED, 6),
    "forbidden": Outcome(HTTPStatus.FORBIDDEN, 6),
    "signer_required": Outcome(HTTPStatus.FORBIDDEN, 6),
    "invalid_noise_msg1": Outcome(HTTPStatus.BAD_REQUEST, 2),
    "invalid_msg1_b64": Outcome(HTTPStatus.BAD_REQUEST, 2),
    "invalid_signer_pubkey": Outcome(HTTPStatus.BAD_REQUEST, 2),
    "invalid_signer_pubkey_len": Outcome(HTTPStatus.BAD_REQUEST, 2),
    "pairing_not_found": Outcome(HTTPStatus.NOT_FOUND, 4),
    "unknown_signer": Outcome(HTTPStatus.NOT_FOUND, 4),
    "timestamp_skew": Outcome(HTTPStatus.BAD_REQUEST, 3),
    "replay": Outcome(HTTPStatus.BAD_REQUEST, 3),
    "invalid_ts": Outcome(HTTPStatus.BAD_REQUEST, 2),
    "invalid_sig": Outcome(HTTPStatus.BAD_REQUEST, 2),
    "invalid_signature": Outcome(HTTPStatus.BAD_REQUEST, 6),
    "loopback_only": Outcome(HTTPStatus.FORBIDDEN, 6),
    "sandbox_violation": Outcome(HTTPStatus.FORBIDDEN, 3),
    "not_found": Outcome(HTTPStatus.NOT_FOUND, 4),
    "unknown_tool": Outcome(HTTPStatus.NOT_FOUND, 4),
    "method_not_allowed": Outcome(HTTPStatus.METHOD_NOT_ALLOWED, 2),
    "request_timeout": Outcome(HTTPStatus.REQUEST_TIMEOUT, 5),
    "conflict": Outcome(HTTPStatus.CONFLICT, 3),
    "managed_by_control_plane": Outcome(HTTPStatus.CONFLICT, 3),
    "replay_detected": Outcome(HTTPStatus.CONFLICT, 3),
    "payload_too_large": Outcome(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 2),
    "unsupported_media_type": Outcome(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, 2),
    "rate_limited": Outcome(HTTPStatus.TOO_MANY_REQUESTS, 3),
    "headers_too_large": Outcome(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, 2),
    "internal": Outcome(HTTPStatus.INTERNAL_SERVER_ERROR, 1),
    "upstream_failed": Outcome(HTTPStatus.BAD_GATEWAY, 8),
    "upstream_refused": Outcome(HTTPStatus.BAD_GATEWAY, 8),
    "upstream_timeout": Outcome(HTTPStatus.GATEWAY_TIMEOUT, 8),
    "outcome_unknown": Outcome(HTTPStatus.BAD_GATEWAY, 8),
    "receipts_unavailable": Outcome(HTTPStatus.SERVICE_UNAVAILABLE, 5),
    "not_ready": Outcome(HTTPStatus.SERVICE_UNAVAILABLE, 5),
    "daemon_unreachable": Outcome(HTTPStatus.SERVICE_UNAVAILABLE, 5),
    "secret_unavailable": Outcome(HTTPStatus.SERVICE_UNAVAILABLE, 5),
    "untrusted_daemon": Outcome(HTTPStatus.SERVICE_UNAVAILABLE, 6),
    "unexpected_answer": Outcome(HTTPStatus.BAD_GATEWAY, 11),
    "receipt_chain_broken": Outcome(HTTPStatus.INTERNAL_SERVER_ERROR, 7),
    "store_mismatch": Outcome(HTTPStatus.INTERNAL_SERVER_ERROR, 7),
    "backup_damaged": Outcome(HTTPStatus.INTERNAL_SERVER_ERROR, 7),
    "proof_invalid": Outcome(HTTPStatus.BAD_REQUEST, 7),
    "configuration": Outcome(HTTPStatus.INTERNAL_SERVER_ERROR, 9),
    "insecure_host": Outcome(HTTPStatus.INTERNAL_SERVER_ERROR, 9),
    "already_running": Outcome(HTTPStatus.INTERNAL_SERVER_ERROR, 9),
}


class BriefcaseError(Exception):
    """The root: every fault the product itself raises.

    Args:
        message: what happened, safe to show to the caller.
        code: a key of `CODES`.
        hint: what to do next, safe to show.
        detail: what only the log may see.
    """

    default_code = "internal"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint
        self.detail = detail
        self.receipt_id: int | None = None
        """The receipt that records this fault, where one does."""

    @property
    def http_status(self) -> int:
        """The daemon's HTTP status for this error."""
        return CODES[self.code].http_status

    @property
    def exit_code(self) -> int:
        """The CLI's exit code for this error."""
        return CODES[self.code].exit_code


class CallerError(BriefcaseError):
    """The caller sent something wrong; sending it again unchanged fails again."""

    default_code = "bad_request"


class UpstreamError(BriefcaseError):
    """A tool's upstream failed, refused or answered something unusable.

    `sent` tells whether the request may have reached it: then the effect is unknown, not absent.
    """

    default_code = "upstream_failed"

    def __init__(
        self, message: str, *, code: str | None = None, hint: str = "", detail: str = "", sent: bool = True
    ) -> None:
        super().__init__(message, code=code, hint=hint, detail=detail)
        self.sent = sent


class StoreError(BriefcaseError):
    """The daemon's own storage failed: nothing is allowed until it is sound again."""

    default_code = "receipts_unavailable"


class ConfigError(BriefcaseError):
    """A setting, a file or the host is not as it must be; the daemon does not start with it."""

    default_code = "configuration"


class InternalError(BriefcaseError):
    """A broken promise inside the product itself."""
