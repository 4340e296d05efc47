"""Having the receipt log witnessed: a round of all witnesses on a schedule, beside the requests and awaited by none.

One round:

 1. sign the chain as it is now; what came since the last round is verified first
 2. for each address, at once and each by itself: the size that was cosigned last, the proof from there, the checkpoint
    (409 with another size: once more from there)
 3. verify each cosignature; one that is not good is none
 4. keep the cosigned checkpoints                                     a crash before leaves it to the next round

What a witness says that does not fit this chain is an alarm, and so is one that has not cosigned for `LATE_ROUNDS`
rounds; neither stops a call. A witness that was down hears the newest checkpoint when it is back, and nothing between.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from briefcase.adapters.backup.checkpoints import Checkpoints, SignedCheckpoint
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.adapters.witness.client import WitnessClient
from briefcase.adapters.witness.kept import read_kept, write_kept
from briefcase.core.operator.witnesses import Witness, WitnessAdmin
from briefcase.core.receipts.cosignatures import Cosignature, read_answer_lines, read_cosignatures
from briefcase.core.receipts.judgement import Judgement
from briefcase.core.receipts.note_keys import NoteKey, Verify
from briefcase.core.receipts.notes import checkpoint_text
from briefcase.core.receipts.quorums import WitnessPolicy, all_of
from briefcase.core.receipts.witnessed import (
    ChainJudge,
    Witnessed,
    newest_of,
    pruned,
    quorum_of,
    read_witnessed,
)
from briefcase.core.receipts.witnessing import AddCheckpoint, Answer, Behind, Cosigned, Declined
from briefcase.model.errors import BriefcaseError, UpstreamError
from briefcase.model.ports import Clock, Ledger
from briefcase.model.types import US_PER_S

JITTER: Final = 0.2  # of the interval, so that a fleet's daemons do not come at once
IDLE_S: Final = 3_600.0
LATE_ROUNDS: Final = 3
TRIES: Final = 2  # of one witness in one round: the second from the size that it said
PAGE: Final = 500
_SHORTER: Final = "cosigned {size} receipts of this log, and there are {here} here"
_ROLLED_BACK: Final = (
    "this data directory was rolled back, restored from an older copy, or copied: `briefcase help receipts#witnesses`"
)
_log: Final = get_logger("briefcase.witness")


class Standing(msgspec.Struct, frozen=True):
    """How it is going with one witness.

    `size` and `cosigned_s` (seconds since the Unix epoch) are of the largest checkpoint it cosigned, 0 where none.
    `problem` is what was wrong in the last round, empty where nothing was; `is_alarm` where what it says does not fit
    this chain, or it has been failing for `LATE_ROUNDS` rounds; `failed` counts those.
    """

    size: int = 0
    cosigned_s: int = 0
    problem: str = ""
    hint: str = ""
    is_alarm: bool = False
    failed: int = 0


class WitnessingParts(msgspec.Struct, frozen=True, kw_only=True):
    """What rounds work with.

    `policy` is None where the operator wrote none: then every witness must have cosigned. `log` is the daemon's own
    key, named after its origin. `seed` gives a random number from 0 up to 1, for jitter.
    """

    checkpoints: Checkpoints
    ledger: Ledger
    admin: WitnessAdmin
    client: WitnessClient
    data_dir: Path
    policy: WitnessPolicy | None
    log: NoteKey
    verify: Verify
    clock: Clock
    seed: Callable[[], float]
    interval_s: float


_Outcome: TypeAlias = Mapping[NoteKey, Cosignature | Declined]


class Witnessing:
    """The witnesses of one daemon's log. One event loop.

    Args:
        parts: see there.
    """

    def __init__(self, parts: WitnessingParts) -> None:
        self._parts = parts
        self._kept: tuple[Witnessed, ...] | None = None
        self._file_problem = ""
        self._failing: dict[NoteKey, Standing] = {}
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    # --- what is asked ------------------------------------------------------------------------------------------------

    @property
    def log(self) -> NoteKey:
        """The log's key, which witnesses have to know."""
        return self._parts.log

    @property
    def policy(self) -> WitnessPolicy:
        """Which cosignatures are enough."""
        return self._parts.policy or all_of(self._keys(self._parts.admin.list()))

    @property
    def quorum_words(self) -> str:
        """Which cosignatures are enough, in words."""
        policy = self._parts.policy
        return "every witness" if policy is None else f"`{policy.quorum_text}` of the policy file"

    def announce(self) -> None:
        """The list of witnesses changed: begin a round now."""
        self._kept = None  # read again: another key may be known now
        self._changed.set()

    async def standings(self) -> list[tuple[Witness, Standing]]:
        """Each witness and how it is going with it."""
        witnesses = self._parts.admin.list()
        newest = newest_of(await self._load())
        found = []
        for witness in witnesses:
            size, cosignature = newest.get(witness.key, (0, None))
            standing = self._failing.get(witness.key, Standing())
            time_s = 0 if cosignature is None else cosignature.time_s
            found.append((witness, msgspec.structs.replace(standing, size=size, cosigned_s=time_s)))
        return found

    def figures(self) -> tuple[int, int, int]:
        """How many witnesses there are, how many fail, and up to which receipt a quorum vouches; from memory."""
        witnesses = self._parts.admin.list()
        failing = sum(witness.key in self._failing for witness in witnesses)
        return len(witnesses), failing, quorum_of(self._kept or (), self.policy).size

    async def kept(self) -> Sequence[Witnessed]:
        """The cosigned checkpoints, newest first."""
        return await self._load()

    async def judge(self) -> Judgement | None:
        """Hold the chain against what was cosigned of it; None where there is no witness and no policy."""
        if self._parts.policy is None and not self._parts.admin.list():
            return None
        kept = await self._load()
        judge = ChainJudge(kept)
        read = 0
        while read < judge.last_size:
            hashes = await self._parts.ledger.hashes(read, min(PAGE, judge.last_size - read))
            if not hashes:
                break
            await asyncio.to_thread(_feed, judge, hashes)
            read += len(hashes)
        difference = judge.difference()
        quorum = quorum_of(() if difference is not None else kept, self.policy)
        return Judgement(quorum, difference, self._file_problem)

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make rounds until cancelled."""
        while True:
            self._changed.clear()
            wait_s = IDLE_S
            try:
                if self._parts.admin.list():
                    await self.round()
                    wait_s = self._parts.interval_s * (1 + JITTER * (self._parts.seed() - 0.5))
            except BriefcaseError as error:  # the ledger, or the disk: a later round finds it mended
                _log.error("a checkpoint could not be witnessed", problem=error.message, detail=error.detail)
                wait_s = self._parts.interval_s
            except Exception as error:  # noqa: BLE001 - a log that nobody witnesses any more is seen by nobody
                _log.error("a round of the witnesses failed inside", detail=repr(error), exc_info=error)
                wait_s = self._parts.interval_s
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait_s)

    async def round(self) -> None:
        """One round; the steps of the module.

        Raises:
            StoreError: the chain does not verify, or what was cosigned could not be kept.
        """
        async with self._one_at_a_time:
            witnesses = self._parts.admin.list()
            kept = await self._load()

            # 1. sign
            signed = await self._parts.checkpoints.sign(is_whole=False)

            # 2. and 3. ask, each by itself
            newest = newest_of(kept)
            asked: dict[str, list[NoteKey]] = {}
            for witness in witnesses:
                if newest.get(witness.key, (0, None))[0] != signed.checkpoint.size:
                    asked.setdefault(witness.url, []).append(witness.key)
            outcomes = await asyncio.gather(*(self._ask(url, keys, signed) for url, keys in asked.items()))
            cosigned = self._note({key: one for outcome in outcomes for key, one in outcome.items()})

            # 4. keep
            if cosigned:
                await self._keep(signed, cosigned)
            self._failing = {key: one for key, one in self._failing.items() if key in self._keys(witnesses)}

    async def _ask(self, url: str, keys: Sequence[NoteKey], signed: SignedCheckpoint) -> _Outcome:
        """What one address answers, for each of its keys; never raises."""
        try:
            answer = await self._answer(url, keys, signed)
            if isinstance(answer, Cosigned):
                return self._verified(answer, keys, signed)
        except UpstreamError as error:
            answer = Declined(f"cannot be reached: {error.message}", error.hint)
        except BriefcaseError as error:
            answer = Declined(error.message, error.hint)
        declined = answer if isinstance(answer, Declined) else Declined("answered 409 with another size each time")
        return dict.fromkeys(keys, declined)

    async def _answer(self, url: str, keys: Sequence[NoteKey], signed: SignedCheckpoint) -> Answer:
        newest = newest_of(await self._load())
        here = signed.checkpoint.size
        old_size = max((newest[key][0] for key in keys if key in newest), default=0)
        answer: Answer = Behind(old_size)
        for _ in range(TRIES):
            if old_size > here:
                return Declined(_SHORTER.format(size=f"{old_size:,}", here=f"{here:,}"), _ROLLED_BACK, is_alarm=True)
            proof = await self._parts.checkpoints.prove(old_size, here) if old_size else []
            answer = await self._parts.client.add_checkpoint(url, AddCheckpoint(old_size, tuple(proof), signed.note))
            if not isinstance(answer, Behind):
                return answer
            old_size = answer.size
        return answer

    def _verified(self, answer: Cosigned, keys: Sequence[NoteKey], signed: SignedCheckpoint) -> _Outcome:
        now_s = self._parts.clock.now_us() // US_PER_S
        text = checkpoint_text(signed.checkpoint)
        found = read_cosignatures(read_answer_lines(answer.body), keys, text, now_s, self._parts.verify)
        by_key = {one.key: one for one in found}
        return {key: by_key.get(key) or Declined("answered with no cosignature by its key") for key in keys}

    def _note(self, outcome: _Outcome) -> list[Cosignature]:
        """Take down how it went; gives the cosignatures."""
        cosigned = []
        for key, one in outcome.items():
            before = self._failing.pop(key, None)
            if isinstance(one, Cosignature):
                cosigned.append(one)
                if before is not None:
                    _log.info("a witness cosigns again", witness=key.label)
                continue
            failed = 1 + (0 if before is None else before.failed)
            is_alarm = one.is_alarm or failed >= LATE_ROUNDS
            self._failing[key] = Standing(problem=one.problem, hint=one.hint, is_alarm=is_alarm, failed=failed)
            if before is None or before.is_alarm != is_alarm or before.problem != one.problem:
                say = _log.error if is_alarm else _log.warning
                say("a witness did not cosign", witness=key.label, problem=one.problem)
        return cosigned

    async def _keep(self, signed: SignedCheckpoint, cosigned: Sequence[Cosignature]) -> None:
        kept = list(await self._load())
        here = next((one for one in kept if one.checkpoint == signed.checkpoint), None)
        if here is None:
            here = read_witnessed(signed.note, self._parts.log, (), 0, self._parts.verify)
        else:
            kept.remove(here)
        chosen = pruned([here.joined(cosigned), *kept], self.policy)
        await asyncio.to_thread(write_kept, self._parts.data_dir, chosen)
        self._kept, self._file_problem = tuple(chosen), ""

    async def _load(self) -> tuple[Witnessed, ...]:
        """What is kept, from memory after the first time. What cannot be read is said, and then made anew."""
        if self._kept is None:
            parts = self._parts
            keys = {*self._keys(parts.admin.list()), *(parts.policy.keys if parts.policy else ())}
            try:
                self._kept = await asyncio.to_thread(read_kept, parts.data_dir, parts.log, [*keys], parts.verify)
            except BriefcaseError as error:
                _log.error("the cosigned checkpoints cannot be read", problem=error.message)
                self._kept, self._file_problem = (), error.message
        return self._kept

    @staticmethod
    def _keys(witnesses: Sequence[Witness]) -> list[NoteKey]:
        return [witness.key for witness in witnesses]


def _feed(judge: ChainJudge, hashes: Sequence[str]) -> None:
    for hash_hex in hashes:
        judge.append(bytes.fromhex(hash_hex))
