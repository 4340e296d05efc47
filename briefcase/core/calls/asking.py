"""The same call made twice at once asks one person once: while an approval is written, that very call waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from briefcase.core.approvals.lifecycle import summary_of
from briefcase.core.calls.admission import Checked
from briefcase.model.ports import Event
from briefcase.model.types import Approval, ApprovalKind, ApprovalStatus, NeedsApproval, ShownCall


class Asking:
    """The approvals that are being written, by the call they are for.

    Args:
        new_event: makes a signal that many may await.
    """

    def __init__(self, new_event: Callable[[], Event]) -> None:
        self._new_event = new_event
        self._written: dict[str, Event] = {}

    async def settled(self, binding_hex: str) -> None:
        """Return once no approval of this call is being written. Whoever was first may have failed: look again."""
        while (written := self._written.get(binding_hex)) is not None:
            await written.wait()

    @contextmanager
    def writing(self, binding_hex: str, *, is_new: bool) -> Iterator[None]:
        """Write an approval of this call, where it is a new one; none is, as `settled` said without a pause since."""
        if not is_new:
            yield
            return
        written = self._written[binding_hex] = self._new_event()
        try:
            yield
        finally:
            del self._written[binding_hex]
            written.set()


def new_approval(
    approval_id: str,
    checked: Checked,
    verdict: NeedsApproval,
    *,
    shown: ShownCall,
    times_us: tuple[int, int],
    who: tuple[ApprovalKind, str],
) -> Approval:
    """An approval of a call that waits.

    Args:
        approval_id: a UUID.
        checked: the call.
        verdict: why it waits.
        shown: the call as its approver reads it.
        times_us: when it is made, and when it ends.
        who: who must approve, and whom they stand in for.
    """
    facts, spec = checked.facts, checked.tool.spec
    return Approval(
        id=approval_id,
        status=ApprovalStatus.PENDING,
        kind=who[0],
        created_us=times_us[0],
        expires_us=times_us[1],
        principal=facts.principal.name,
        owner=facts.principal.owner,
        tool_id=spec.id,
        tool_digest_hex=spec.digest_hex,
        args_digest_hex=facts.args_digest_hex,
        binding_hex=checked.binding_hex,
        reason=verdict.reason,
        summary=summary_of(shown),
        stands_in=who[1],
        request_id=facts.request_id,
        approvers=verdict.approvers,
        excludes_author=verdict.excludes_author,
    )
