"""Uploading receipts: reads them from the ledger, sends them, and keeps the watermark (`core.fleet.uploads` judges).

The watermark is kept after each answer and before the next request. A crash in between, or an answer that was lost,
sends receipts again that the control plane has: it takes them by their hashes, or says up to where it has them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from briefcase.adapters.fleet.client import ControlPlaneClient, Device, Refusal
from briefcase.adapters.fleet.standing import Standing
from briefcase.core.fleet.uploads import (
    Halved,
    Resumed,
    Stopped,
    Uploaded,
    batch_of,
    check_resumption,
    judge_upload,
)
from briefcase.model.ports import Ledger, ReceiptFilter

PAGE_RECEIPTS: Final = 128  # read and sent at a time: each may be as large as the arguments of a call
MAX_RECEIPTS_A_ROUND: Final = 20_000
MAX_RESUMPTIONS: Final = 3


class UploadResult(NamedTuple):
    """How many receipts were sent, why it stopped, and whether there are more for the next round."""

    sent: int
    stopped: Stopped | None = None
    refusal: Refusal | None = None
    has_more: bool = False


class ReceiptUploader:
    """Sends a device's receipts.

    Args:
        client: talks to the control plane.
        ledger: where the receipts are.
    """

    def __init__(self, client: ControlPlaneClient, ledger: Ledger) -> None:
        self._client = client
        self._ledger = ledger

    async def upload(self, device: Device, standing: Standing) -> UploadResult:
        """Send what lies above the watermark, at most `MAX_RECEIPTS_A_ROUND`.

        Raises:
            UpstreamError: no answer came; the watermark is where the last one left it.
            StoreError: receipts cannot be read, or the watermark cannot be kept.
        """
        sent, resumptions, most = 0, 0, PAGE_RECEIPTS
        while sent < MAX_RECEIPTS_A_ROUND:
            watermark = standing.progress.uploaded_id
            receipts = await self._ledger.receipts(ReceiptFilter(limit=most, after_id=watermark, oldest_first=True))
            batch = batch_of(receipts, most)
            if batch is None:
                return UploadResult(sent)
            answer = await self._client.upload(device, batch)
            if isinstance(answer, Refusal):
                return UploadResult(sent, refusal=answer)
            step = judge_upload(batch, answer)
            if isinstance(step, Resumed):
                resumptions += 1
                wrong = check_resumption(step.watermark, self._ledger.head().id)
                if wrong is not None or resumptions > MAX_RESUMPTIONS:
                    return UploadResult(sent, stopped=wrong or Stopped(answer.word, is_alarm=True))
            match step:
                case Uploaded(watermark):
                    sent += batch.count
                    await standing.note_uploaded(watermark)
                case Resumed(watermark):
                    await standing.note_uploaded(watermark)
                case Halved(max_receipts):
                    most = max_receipts
                case Stopped():
                    return UploadResult(sent, stopped=step)
        return UploadResult(sent, has_more=True)
