"""A process that archives receipts, to be killed or failed at any moment: `archive_child.py DIRECTORY`.

Each line on standard output is JSON: `opened`, `archived` (how many), `refused` (the message) or `closed`.
"""

import asyncio
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from briefcase.adapters.ledger import Ledger, group
from briefcase.model.errors import StoreError
from support.archive_cases import make_small
from support.clock import FakeClock
from support.ledger_cases import SMALL


def say(**line) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


async def main() -> None:
    make_small(setattr)
    # strace counts the calls of each thread by itself: with one worker the position of a call is the same every time
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
    group.INLINE_MAX_US = 1 << 40  # however slow the disk is today
    ledger = Ledger.open(Path(sys.argv[1]), FakeClock(), SMALL)
    say(opened=ledger.head().id)
    try:
        say(archived=(await ledger.archive("op", keep=1)).receipts)
    except StoreError as error:
        say(refused=error.message)
    await ledger.close()
    say(closed=True)


asyncio.run(main())
