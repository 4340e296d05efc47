"""The protocol of both ends through anything: by a state machine, and by the seeds of a random story.

The invariants are in `support/fleet_invariants.py`; `make fleet-simulation` tells thousands of stories.
"""

import asyncio
import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from run_simulation import IN_MEMORY, tell

from briefcase.model.errors import UpstreamError
from support.fleet_invariants import ViolationError
from support.simulated_fleet import MINUTE_US, MOST_STEPS, World
from support.simulated_loop import SimulatedLoop

SEEDS = 60
SECONDS = 60.0  # of each story, in its own time
DEVICES = st.integers(0, 1)
PROCESSES = st.integers(0, 1)


class Fleet(RuleBasedStateMachine):
    """Two devices and two processes; each rule is one thing that happens, and time passes by a rule of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=SimulatedLoop)
        self.scratch = tempfile.TemporaryDirectory(prefix="fleet-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
        self.runner.run(self.begin())

    async def begin(self) -> None:
        self.world = World(0, Path(self.scratch.name), devices=2)
        await self.world.start()

    def run(self, work) -> None:
        self.runner.run(work)

    @rule(seconds=st.sampled_from([0.01, 0.2, 5, 40]))
    def time_passes(self, seconds):
        self.run(asyncio.sleep(seconds))

    @rule(device=DEVICES)
    def a_receipt_is_written(self, device):
        self.in_loop(lambda: self.world.devices[device].do(self.world.devices[device].desk.receipt))

    @rule(device=DEVICES)
    def an_operator_syncs(self, device):
        self.in_loop(lambda: self.world.devices[device].do(self.world.devices[device].desk.sync.sync))

    @rule(device=DEVICES)
    def an_operator_enrols(self, device):
        self.in_loop(lambda: self.world.devices[device].do(self.world.devices[device].desk.enrol))

    @rule(device=DEVICES)
    def a_device_is_revoked(self, device):
        self.in_loop(lambda: self.world.spawn(self.world.revoke(self.world.devices[device])))

    @rule(what=st.sampled_from(["publish", "begin_rollout", "advance_twice", "publish_mandatory"]))
    def an_administrator_publishes(self, what):
        self.in_loop(lambda: self.world.spawn(getattr(self.world, what)()))

    @rule(step=st.sampled_from(["advance", "rollback"]))
    def a_rollout_goes_on_or_back(self, step):
        self.in_loop(lambda: self.world.spawn(self.world.step_rollout(step)))

    @rule(device=DEVICES, is_cut_off=st.booleans())
    def a_network_is_cut_or_mended(self, device, is_cut_off):
        self.world.devices[device].is_cut_off = is_cut_off

    @rule(loses=st.sampled_from([0, 0.3]), doubles=st.sampled_from([0, 0.5]))
    def the_network_loses_and_doubles(self, loses, doubles):
        self.world.loses, self.world.doubles = loses, doubles

    @rule(is_away=st.booleans())
    def the_database_is_away_or_back(self, is_away):
        self.world.storage.is_away = is_away
        self.in_loop(self.world.storage.wake)

    @rule(device=DEVICES, step=st.integers(1, 2 * MOST_STEPS))
    def a_device_crashes_at_a_step(self, device, step):
        self.world.devices[device].crash_in = step

    @rule(process=PROCESSES, step=st.integers(1, MOST_STEPS))
    def a_process_crashes_at_a_step(self, process, step):
        if self.world.processes[process].is_up:
            self.world.processes[process].crash_in = step

    @rule(device=DEVICES, minutes=st.sampled_from([-1440, -4, -1, 0, 1, 4, 1440]))
    def a_devices_clock_is_stepped(self, device, minutes):
        self.world.devices[device].clock.ahead_us = minutes * MINUTE_US

    @rule(process=PROCESSES, minutes=st.sampled_from([-1440, -4, -1, 0, 1, 4, 1440]))
    def a_processes_clock_is_stepped(self, process, minutes):
        self.world.processes[process].clock.ahead_us = minutes * MINUTE_US

    @invariant()
    def nothing_was_violated(self):
        self.world.check()

    def in_loop(self, happens) -> None:
        """Have something begin, and no more: what happens next happens meanwhile."""

        async def begun():
            happens()
            await asyncio.sleep(0)

        self.run(begun())

    def teardown(self) -> None:
        try:
            self.run(self.world.settle())
        finally:
            self.world.close()
            self.runner.close()
            self.scratch.cleanup()


Fleet.TestCase.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)


class TestAFleetThroughAnything(Fleet.TestCase):
    """Hypothesis draws the rules and, where one does not hold, the shortest way there."""


@pytest.mark.slow
def test_many_stories_of_a_fleet_keep_every_invariant():
    for seed in range(SEEDS):
        try:
            tell(seed, SECONDS)
        except AssertionError as error:
            pytest.fail(f"seed {seed}: {error}")


def test_a_database_that_loses_what_it_acknowledged_is_noticed(tmp_path):
    """The control: where PostgreSQL breaks its word, the invariants say so."""

    async def story() -> None:
        world = World(1, tmp_path, devices=1)
        await world.start()
        world.storage.loses_commits = True
        await world.devices[0].desk.receipt()
        with contextlib.suppress(UpstreamError):
            await world.devices[0].desk.sync.sync()
        with pytest.raises(ViolationError, match="2 watermark"):
            world.check()
        world.close()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(story())


def test_the_same_seed_tells_the_same_story():
    assert tell(11) == tell(11)
