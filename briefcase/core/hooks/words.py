"""What an agent reads of a ruling: the stable reason word first, and what it can do about it."""

from __future__ import annotations

from briefcase.model.reasons import next_step_of


def told_of_denial(reason: str, advice: str = "", receipt_id: int = 0) -> str:
    """What an agent reads of a call that may not run.

    Args:
        reason: the reason, with its detail.
        advice: what the policy says to it.
        receipt_id: the receipt; 0 where none is told.
    """
    receipt = f"Receipt {receipt_id}" if receipt_id else ""
    parts = (f"briefcase: {reason}", advice, next_step_of(reason), receipt)
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


def told_of_waiting(approval_id: str, reason: str) -> str:
    """What an agent reads of a call that waits for a person."""
    return (
        f"briefcase: approval_required: {reason}. A person must approve exactly this call: ask the user to run"
        f" `briefcase approvals approve {approval_id}`, then make the same call again."
    )


def told_of_asking(reason: str) -> str:
    """What a user reads in the client's own prompt."""
    return f"briefcase: {reason}."


def told_of_fault(code: str, message: str) -> str:
    """What an agent reads where a request was no question at all, or nothing could be decided."""
    return f"briefcase: {code}: {message}. Nothing was decided, so the call may not run: tell the user."
