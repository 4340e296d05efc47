"""What must hold in a fleet whatever happens, judged from outside: by what is committed, and by what is answered.

1. bundle      the ids that a device applies never fall; those that are published grow by one, and none is used twice
2. watermark   a device's durable watermark never passes what the control plane has of it
3. receipts    what the control plane has of a device is its chain from the first receipt on, each once
4. revoked     no answer to a token that had ended before the request came, and none with what was published afterwards
5. gate        a rollout goes on only while its gates are open, and goes to its canary devices alone before that
6. once        a proof opens once, however often and wherever its request arrives

Moments are counted by commits; what is asked lies between two of them, and holds if it held at one. Nothing here asks
the code that decides, so that a fault of that is none of this.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from briefcase.core.jose.jws import parse_compact  # reads a proof's id
from briefcase.model.ports import HttpRequest, HttpResponse
from briefcase.model.types import Receipt
from support.model_database import Storage

UNDER_WAY = {"canary": "active", "active": "done"}
OK = 200
_OF_DEVICE = re.compile(r"\w/v1/devices/([^/]+)/(\w+)")


class ViolationError(AssertionError):
    """An invariant that did not hold: its name, and what was seen."""


class Token(NamedTuple):
    """A token's hash, and between which moments it was good."""

    token_hash: bytes
    since: int
    until: float


class Invariants:
    """The invariants over one storage.

    Args:
        storage: whose commits are watched.
        chains: the receipts of each device, by its id without dashes.
    """

    def __init__(self, storage: Storage, chains: Mapping[str, Sequence[Receipt]]) -> None:
        self._storage = storage
        self._chains = chains
        self._changes = -1
        self.moment = 0
        self.violations: list[ViolationError] = []
        self.tokens: dict[str, list[Token]] = {}
        self.published: dict[int, int] = {}
        self.rollouts: dict[int, str] = {}
        self.was_active: set[int] = set()
        self.asked_to_advance: list[int] = []
        self._was_open: dict[tuple[int, str], float] = {}
        self._heads: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._applied: dict[str, int] = {}
        self._opened: dict[str, int] = {}
        storage.after_commit = self.look

    def check(self, holds: bool, name: str, seen: object) -> None:  # noqa: FBT001
        """Note a violation, once."""
        if not holds:
            self.violations.append(ViolationError(f"{name}: {seen}"))

    # --- what is committed --------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look at everything, after a commit that changed something."""
        changes = self._storage.changes()
        if changes == self._changes:
            return
        self._changes = changes
        self.moment += 1
        self._look_at_bundles()
        self._look_at_devices()
        self._look_at_heads()
        self._look_at_rollouts()

    def _look_at_bundles(self) -> None:
        for (bundle_id,) in self._storage.peek("select bundle_id from bundles order by bundle_id"):
            if bundle_id not in self.published:
                self.check(bundle_id == len(self.published) + 1, "1 bundle", f"{bundle_id} after {self.published}")
                self.published[bundle_id] = self.moment

    def _look_at_devices(self) -> None:
        for device, token_hash, revoked_at in self._storage.peek("select device, token_hash, revoked_at from devices"):
            tokens = self.tokens.setdefault(device, [])
            last = tokens[-1] if tokens else None
            is_good = revoked_at is None
            if last is not None and math.isinf(last.until) and not (is_good and last.token_hash == token_hash):
                tokens[-1] = last._replace(until=self.moment)
                last = None
            if is_good and (last is None or not math.isinf(last.until)):
                tokens.append(Token(token_hash, self.moment, math.inf))

    def _look_at_heads(self) -> None:
        for device, last_id, head_hash, size in self._storage.peek(
            "select device, last_id, head_hash, size from device_heads"
        ):
            if (last_id, size) == (self._heads.get(device, 0), self._sizes.get(device, 0)):
                continue
            self._heads[device], self._sizes[device] = last_id, size
            chain = self._chains.get(device, ())
            is_there = last_id <= len(chain) and size == last_id and chain[last_id - 1].hash_hex == head_hash.hex()
            self.check(is_there, "3 receipts", f"head {last_id} of {size} receipts, {len(chain)} were written")

    def look_at_receipts(self) -> None:
        """Compare each receipt that is stored with the chain it came from."""
        stored: dict[str, list[tuple[int, str]]] = {}
        for device, number, hash_ in self._storage.peek("select device, id, hash from receipts order by device, id"):
            stored.setdefault(device, []).append((number, hash_.hex()))
        for device, receipts in stored.items():
            written = [(receipt.id, receipt.hash_hex) for receipt in self._chains[device]]
            self.check(receipts == written[: len(receipts)], "3 receipts", f"{device}: {receipts} are stored")

    def _look_at_rollouts(self) -> None:
        for number, state, permille, gates in self._storage.peek(
            "select rollout_id, state, canary_permille, gates from rollouts"
        ):
            before = self.rollouts.get(number)
            if before is not None and state == UNDER_WAY.get(before):
                self.check(self._was_let(number, before), "5 gate", f"rollout {number} left `{before}`")
            self.rollouts[number] = state
            if state == "active":
                self.was_active.add(number)
            if state in UNDER_WAY and self._is_open(number, permille if state == "canary" else 1_000, gates):
                self._was_open[number, state] = math.inf
            elif math.isinf(self._was_open.get((number, state), 0)):
                self._was_open[number, state] = self.moment

    def _was_let(self, number: int, state: str) -> bool:
        """Whether the gates were open while somebody asked to go on."""
        return self._was_open.get((number, state), -1) >= min(self.asked_to_advance, default=math.inf)

    def _is_open(self, number: int, permille: int, gates: str) -> bool:
        """The gates, worked out by themselves."""
        wanted = json.loads(gates)
        chosen = [
            (running, tried, error)
            for device, running, tried, error in self._storage.peek(
                "select devices.device, running_bundle_id, tried_bundle_id, last_error from devices"
                " left join device_status using (tenant, device) where revoked_at is null"
            )
            if _fraction(number, device) * 1_000 < permille
        ]
        applied = sum(running == number for running, _, _ in chosen)
        failed = sum(tried == number != running and error is not None for running, tried, error in chosen)
        return (
            bool(chosen)
            and applied * 1_000 >= wanted.get("min_applied_permille", 1_000) * len(chosen)
            and failed <= wanted.get("max_apply_failures", 0)
        )

    # --- what a device does -------------------------------------------------------------------------------------------

    def applied(self, device: str, bundle_id: int) -> None:
        """A device applied a bundle."""
        highest = self._applied.get(device, 0)
        self.check(bundle_id >= highest, "1 bundle", f"{device} applied {bundle_id} after {highest}")
        self._applied[device] = max(bundle_id, highest)

    def kept_watermark(self, device: str, watermark: int) -> None:
        """A device's watermark is durable."""
        head = self._heads.get(device, 0)
        self.check(watermark <= head, "2 watermark", f"{device} believes in {watermark}, {head} are stored")

    # --- what is answered ---------------------------------------------------------------------------------------------

    def answered(self, request: HttpRequest, began: int, response: HttpResponse) -> None:
        """A process answered a device's request, which came at a moment."""
        of_device = _OF_DEVICE.search(request.url)
        if response.status != OK or of_device is None:
            return
        device, what = of_device[1].replace("-", ""), of_device[2]
        jti = str(parse_compact(request.headers["dpop"], "dpop+jwt").claims["jti"])
        self._opened[jti] = self._opened.get(jti, 0) + 1
        self.check(self._opened[jti] == 1, "6 once", f"a proof of {device} opened {self._opened[jti]} times")
        token_hash = hashlib.sha256(request.headers["authorization"].removeprefix("Bearer ").encode()).digest()
        until = [token.until for token in self.tokens[device] if token.token_hash == token_hash]
        self.check(bool(until) and until[-1] > began, "4 revoked", f"{what} of {device} at {began}, good until {until}")
        if what == "policy":
            self._gave(device, json.loads(response.body), until[-1] if until else 0)

    def _gave(self, device: str, answer: Mapping[str, Any], until: float) -> None:
        bundle_id = answer["policy_bundle"]["bundle"]["bundle_id"]
        published = self.published[bundle_id]
        self.check(
            published <= until, "4 revoked", f"{device} got {bundle_id}, published at {published}, until {until}"
        )
        if bundle_id in self.rollouts and bundle_id not in self.was_active:
            permille = self._storage.peek("select canary_permille from rollouts where rollout_id = ?", bundle_id)[0][0]
            is_first = _fraction(bundle_id, device) * 1_000 < permille
            self.check(is_first, "5 gate", f"{device} got {bundle_id}, which is the canary's alone")


def _fraction(number: int, device: str) -> float:
    digest = hashlib.sha256(b"%d\n%b" % (number, bytes.fromhex(device))).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
