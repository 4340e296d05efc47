"""A device and its control plane through anything: lost answers, crashes at each durable step, restores, clock steps.

INVARIANTS, after each operation:

 1. no bundle is applied below one that was applied before, whatever is sent, and whatever was restored
 2. what decides is exactly the text that the pinned key signed under the running id
 3. the control plane has the receipts of the chain, each once, in order, without a gap
 4. the watermark is none that the control plane never acknowledged
 5. the pinned key is none that came before one that was pinned, whatever was restored
"""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from briefcase.model.errors import BriefcaseError, UpstreamError
from support.control_plane import HOUR_US, POLICY, SigningKey
from support.crash import Crash
from support.fleet import FleetDesk

MOST_STEPS = 12  # durable steps and requests of one sync


class Steps:
    """Every request and every durable step of a device, before and after it; `crash_in` says which is the last."""

    def __init__(self, desk: FleetDesk) -> None:
        self.crash_in = 0
        for owner, name in ((desk.ledger, "commit"), (desk.database, "run"), (desk.outbound, "request")):
            self._watch(owner, name)

    def _watch(self, owner: object, name: str) -> None:
        real = getattr(owner, name)

        async def watched(*args):
            self._step()
            result = await real(*args)
            self._step()
            return result

        setattr(owner, name, watched)

    def _step(self) -> None:
        if self.crash_in:
            self.crash_in -= 1
            if not self.crash_in:
                raise Crash


class Story:
    """One run: what was published, what was applied, and what the control plane once acknowledged."""

    def __init__(self, directory: Path) -> None:
        self.desk = FleetDesk(directory)
        self.published: dict[int, dict] = {}
        self.highest = 0
        self.acknowledged = 0
        self.next_id = 1
        self.was_restored = False
        self.keys = [self.desk.plane.key]
        self.pinned = 0
        self.of_left_keys: list[dict] = []

    async def begin(self) -> None:
        await self.desk.start()
        self.steps = Steps(self.desk)
        self.publish("")
        await self.desk.enrol()
        self.saved = dict(self.desk.ledger.settings)

    # --- operations ---------------------------------------------------------------------------------------------------

    def publish(self, suffix: str) -> None:
        self.desk.plane.publish(self.next_id, f"{POLICY} // {self.next_id}{suffix}", {"read": self.next_id})
        self.published[self.next_id] = self.desk.plane.policy
        self.next_id += 1

    def rotate(self) -> None:
        """The next key, named by the present one; it signs the present bundle anew."""
        plane, key = self.desk.plane, SigningKey(30 + len(self.keys))
        plane.siblings = {"key_chain": [*plane.siblings.get("key_chain", []), plane.key.next_key(key)]}
        plane.key = key
        self.keys.append(key)
        self.of_left_keys.append(self.published[self.next_id - 1])
        present = self.published[self.next_id - 1]["bundle"]
        plane.policy = key.bundle(present["bundle_id"], present["policy_text"], present["budgets"])
        self.published[self.next_id - 1] = plane.policy

    async def do(self, operation: str, number: int) -> None:
        desk, plane = self.desk, self.desk.plane
        match operation:
            case "publish":
                self.publish("")
            case "publish what is no policy":
                self.publish("\nnonsense")
            case "serve an older bundle":
                plane.policy = self.published[1 + number % (self.next_id - 1)]
            case "serve a forged bundle":
                plane.policy = SigningKey(8).bundle(self.next_id + 1)
            case "serve the newest bundle":
                plane.policy = self.published[self.next_id - 1]
            case "rotate the key":
                self.rotate()
            case "serve what a key that was left signed":
                if self.of_left_keys:
                    plane.policy = self.of_left_keys[number % len(self.of_left_keys)]
            case "receipt":
                await desk.receipt()
            case "sync":
                await self.sync()
            case "sync, and lose an answer":
                await self.sync_and_lose(1 + number % 3)
            case "crash":
                await self.crash(number)
                await desk.restart()
            case "publish, and crash":
                self.publish("")
                await self.crash(number)
                await desk.restart()
            case "publish, crash, put an older enrolment back and serve an older bundle":
                self.publish("")
                await self.crash(number)
                await desk.restart()
                desk.ledger.settings = dict(self.saved)
                self.was_restored = True
                await desk.restart()
                plane.policy = self.published[self.next_id - 2]
                await self.sync()
            case "restart":
                await desk.restart()
            case "put an older enrolment back":
                desk.ledger.settings = dict(self.saved)
                self.was_restored = True
                await desk.restart()
            case "the control plane loses receipts":
                kept = plane.receipts.get(desk.enrolment.device_id, [])
                del kept[max(0, len(kept) - number % 5) :]
            case "clock":
                desk.clock.wall_us += (number % 5 - 2) * HOUR_US
            case "enrol again":
                await desk.enrol()
            case "leave and join":
                await desk.sync.leave("ann")
                await desk.enrol()

    async def sync(self) -> None:
        try:
            await self.desk.sync.sync()
        except Crash:
            event("crashed")
        except BriefcaseError as error:
            event(error.message.split(":")[1])

    async def crash(self, number: int) -> None:
        self.steps.crash_in = 1 + number % MOST_STEPS
        await self.sync()
        self.steps.crash_in = 0

    async def sync_and_lose(self, which: int) -> None:
        real, left = self.desk.plane.handle, which

        def lose(*args):
            nonlocal left
            left -= 1
            answer = real(*args)
            if not left:
                raise UpstreamError("the upstream closed the connection without an answer")
            return answer

        self.desk.plane.handle = lose
        await self.sync()
        self.desk.plane.handle = real

    # --- invariants ---------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        desk = self.desk
        enrolment = desk.enrolment
        applied = [
            receipt.event["bundle_id"]
            for receipt in desk.ledger.chain
            if receipt.event["kind"] == "control_plane_policy_sync"
        ]
        assert applied == sorted(applied), "1"
        if enrolment.bundle_id and not self.was_restored:
            assert desk.policy.current()[0] == self.published[enrolment.bundle_id]["bundle"]["policy_text"], "2"
        kept = desk.plane.receipts.get(enrolment.device_id, [])
        chain = [receipt.hash_hex for receipt in desk.ledger.chain[: len(kept)]]
        assert [receipt["hash_hex"] for receipt in kept] == chain, "3"
        self.acknowledged = max(self.acknowledged, len(kept))
        progress = (await desk.status()).progress
        assert progress.uploaded_id <= self.acknowledged, "4"
        pinned = [key.public_b64 for key in self.keys].index(enrolment.policy_key_b64)
        assert pinned >= self.pinned, "5"
        self.pinned = pinned


OPERATIONS = st.tuples(
    st.sampled_from([
        "publish", "publish what is no policy",
        "serve an older bundle", "serve a forged bundle", "serve the newest bundle",
        "receipt", "sync", "sync", "sync, and lose an answer", "crash", "publish, and crash", "restart",
        "publish, crash, put an older enrolment back and serve an older bundle",
        "rotate the key", "serve what a key that was left signed",
        "put an older enrolment back", "the control plane loses receipts", "clock", "enrol again", "leave and join",
    ]),
    st.integers(0, 60),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OPERATIONS, min_size=15, max_size=40))
def test_through_anything_no_policy_goes_back_and_no_receipt_is_lost_or_doubled(operations):
    async def story() -> None:
        with tempfile.TemporaryDirectory(prefix="bc-") as directory:
            told = Story(Path(directory))
            await told.begin()
            await told.check()
            for operation, number in operations:
                await told.do(operation, number)
                await told.check()
            # in the end, when all is well again, everything has arrived
            told.desk.plane.policy = told.published[told.next_id - 1]
            told.publish("")
            await told.desk.sync.sync()
            await told.check()
            assert told.desk.uploaded == list(range(1, told.desk.ledger.head().id + 1))
            assert told.desk.enrolment.bundle_id == told.next_id - 1
            told.desk.database.close()

    asyncio.run(story())
