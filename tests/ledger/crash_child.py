"""A process that uses a ledger and says what was answered, to be killed at any moment.

`crash_child.py DIRECTORY inline` commits on the event loop's thread, `... company` on the writer thread.

Each line on standard output is JSON: `answered` (receipt id, hash, and what it stands for) or `refused`, and after that
`read`.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from briefcase.adapters.ledger import Ledger, group
from briefcase.model.effects import ConsumeApproval, CreateApproval, DecideApproval, Entry
from briefcase.model.errors import StoreError
from briefcase.model.types import ApprovalStatus
from support.clock import START_US, FakeClock
from support.ledger_cases import DAY, SMALL, approval, intent, note, outcome

BINDING = "b" * 64


def say(**line) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


async def attempt(ledger, entry, what):
    """Commit and say how it ended."""
    try:
        result = await ledger.commit(entry)
    except StoreError:
        say(refused=what)
        look(ledger)
        return None
    say(answered=what, id=result.receipt_id, hash=result.hash_hex)
    return result


def look(ledger) -> None:
    """Read: after a failure too it is read, or refused as a fault of the store."""
    try:
        ledger.budget("read", DAY)
    except StoreError:
        say(read="refused")
    else:
        say(read="served")


async def use(ledger, number) -> None:
    """One approved, paid call, as the daemon makes it: ask, approve, intend, conclude."""
    name = f"a{number}"
    made = approval(name, binding=BINDING)
    decide = DecideApproval(name, ApprovalStatus.APPROVED, "op", START_US)
    await attempt(ledger, Entry({"kind": "asked"}, (CreateApproval(made),)), f"asked {name}")
    await attempt(ledger, Entry({"kind": "approved"}, (decide,)), f"approved {name}")
    call = intent(f"r{number}", ConsumeApproval(name, BINDING, START_US), cost=1_000)
    intended = await attempt(ledger, call, f"intent {name}")
    if intended is not None:
        await attempt(ledger, outcome(intended.receipt_id, reserved=1_000, spent=600), f"outcome {name}")


async def main() -> None:
    group.INLINE_MAX_US = 1 << 40  # however slow the disk is today
    ledger = Ledger.open(Path(sys.argv[1]), FakeClock(), SMALL)
    say(opened=ledger.head().id)
    if sys.argv[2] == "company":
        ledger._group._probation = 1 << 30
        await asyncio.gather(*(attempt(ledger, note(str(number)), f"note {number}") for number in range(5)))
        await asyncio.gather(*(use(ledger, number) for number in (3, 4)))
    for number in range(3):
        await use(ledger, number)
    await ledger.close()
    say(closed=True)


asyncio.run(main())
