"""What clients saw, and whether one server that never fails could have answered so.

Everything that is looked at only grows: the id of the newest bundle, and for each device the last receipt that the
control plane has. For such a register a history is linear exactly where each answer's value is

 1. at least the highest of any answer that had come before its request went out
 2. at most what had been asked for by then: so many publications begun, receipts sent up to that one

An answer that never came may have taken effect or not: it bounds 2 and not 1.

Then what is stored in the end is compared with what was acknowledged: each receipt once, as it was sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

BUNDLE = "bundle"


class Answer(NamedTuple):
    """One answer: which register, when it was asked and came (seconds), what it said, and the most it may say."""

    register: str
    began_s: float
    ended_s: float
    value: int
    most: int
    fault: str = ""


class StoredReceipt(NamedTuple):
    """A receipt as the control plane has it."""

    id: int
    hash_hex: str


def not_linear(answers: Sequence[Answer]) -> list[str]:
    """Each answer that no single server would have given."""
    found = []
    for register in sorted({answer.register for answer in answers}):
        of_it = [answer for answer in answers if answer.register == register]
        ended = sorted(of_it, key=lambda answer: answer.ended_s)
        highest = at = 0
        for answer in sorted(of_it, key=lambda answer: answer.began_s):
            while at < len(ended) and ended[at].ended_s < answer.began_s:
                highest = max(highest, ended[at].value)
                at += 1
            if answer.value < highest:
                found.append(f"{answer.fault}: {register} was {answer.value} after it was {highest}")
            if answer.value > answer.most:
                found.append(f"{answer.fault}: {register} was {answer.value}, and {answer.most} was the most there was")
    return found


def not_complete(
    acknowledged: Mapping[str, int], sent: Mapping[str, Sequence[str]], stored: Mapping[str, Sequence[StoredReceipt]]
) -> list[str]:
    """Each receipt that was acknowledged and is not stored, is stored twice, or is another than was sent.

    Args:
        acknowledged: the last receipt that each device was told is stored.
        sent: the hashes of each device's receipts, from the first on.
        stored: what there is of each device, by id.
    """
    found = []
    for device, last_id in acknowledged.items():
        ids = [receipt.id for receipt in stored.get(device, ())]
        lost = sorted(set(range(1, last_id + 1)) - set(ids))
        if lost:
            found.append(f"{device}: {len(lost)} acknowledged receipts are lost, the first is {lost[0]}")
        if len(ids) != len(set(ids)):
            found.append(f"{device}: {len(ids) - len(set(ids))} receipts are stored twice")
        found += [
            f"{device}: receipt {receipt.id} is not what was sent"
            for receipt in stored.get(device, ())
            if receipt.id > len(sent[device]) or sent[device][receipt.id - 1] != receipt.hash_hex
        ]
    return found


def longest_gap_s(times_s: Sequence[float], began_s: float, ended_s: float) -> float:
    """The longest time within two others in which nothing was acknowledged."""
    within = [began_s, *(time_s for time_s in sorted(times_s) if began_s < time_s < ended_s), ended_s]
    return max(after - before for before, after in itertools.pairwise(within))
