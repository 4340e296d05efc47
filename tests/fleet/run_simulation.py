"""The fleet's protocol, simulated: `make fleet-simulation`. One table; exit code 1 where an invariant did not hold.

    run_simulation.py [--seeds N] [--first N] [--seconds S] [--trace]

Each seed is a story of its own: three daemons, two processes of the control plane, an administrator, and everything
that may go wrong between them (`support/simulated_fleet.py`); what must hold is in `support/fleet_invariants.py`. A
story that went wrong is told again by its seed, with `--first N --seeds 1 --trace`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Final

import structlog
from rich.console import Console
from rich.table import Table

from support.simulated_fleet import World, random_story
from support.simulated_loop import SimulatedLoop

SECONDS: Final = 120.0
IN_MEMORY: Final = Path("/dev/shm")


def tell(seed: int, seconds: float = SECONDS) -> Counter[str]:
    """Tell one story; what happened in it, by name.

    Raises:
        AssertionError: an invariant did not hold, or something failed inside.
    """

    async def story() -> Counter[str]:
        with tempfile.TemporaryDirectory(prefix="fleet-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as directory:
            world = World(seed, Path(directory))
            try:
                await world.start()
                await random_story(world, seconds)
            finally:
                world.close()
            return world.counted

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(story())


def main() -> int:
    """Tell the stories that were asked for; gives the exit code."""
    parser = argparse.ArgumentParser(description="Simulate the fleet's protocol, a story a seed.")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many stories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each story is, in its own time")
    parser.add_argument("--trace", action="store_true", help="show what is logged, and where it went wrong")
    asked = parser.parse_args()
    if not asked.trace:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    os.umask(0o077)
    console = Console(width=None if sys.stdout.isatty() else 120)
    total: Counter[str] = Counter()
    wrong: list[str] = []
    began_s = time.monotonic()
    for seed in range(asked.first, asked.first + asked.seeds):
        try:
            total += tell(seed, asked.seconds)
        except AssertionError as error:
            wrong.append(f"seed {seed}: {error}")
            if asked.trace:
                traceback.print_exc()
    table = Table("what", "how often")
    for what, count in sorted(total.items()):
        table.add_row(what, f"{count:,}")
    console.print(table)
    console.print(f"{asked.seeds:,} stories, {len(wrong)} violations, {time.monotonic() - began_s:.0f} s")
    for line in wrong:
        console.print(line, style="red", markup=False, highlight=False)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
