"""What the tables hold, held against what the chain says of them: `receipts verify --state`.

A row can be edited beside the chain, and the chain verifies. So an entry that writes a row says so in its receipt:

    state: {"approval:ID": SHA-256 of the row, "setting:policy": ..., "limit:read": ..., "shown:...": "" where it went}

The first start of this release puts the rows there are into its `boot` receipt (`NoteState`); what ended before that is
in no receipt, and is named. Money needs no such note: intents and outcomes say what was reserved and spent. Agents
are in SQLite: what was added and revoked, with the digest of the token, is held against its rows.

`Replay` is fed every receipt once, in order, and holds one digest for each row there was.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import lmdb
import msgspec

from briefcase.adapters.ledger.approvals_table import StoredApproval
from briefcase.adapters.ledger.intents import CLOSING, OPENING
from briefcase.adapters.ledger.tables import Tables, state_name
from briefcase.core.receipts.chain import event_of
from briefcase.core.receipts.events import DELEGATED
from briefcase.model.ports import ActiveAgent, StateDifference
from briefcase.model.types import ApprovalStatus

OLD_ROWS: Final = "approvals_ended_before_state"
OLD_TOKENS: Final = "agent_tokens_before_state"
RESTORED_DAYS: Final = "budgets_of_restored_days"
NEVER_COMPARED: Final = ("request_claims", "used_states", "providers", "provider_verdicts", "sync_progress", "notes")
_SPELLINGS: Final = (  # canonical JSON has one spelling for each: a receipt without any says nothing of a table
    b'"state":{', b'"reserved":{', b'"intent_id":', b'"kind":"agent_', b'"kind":"restored"', b'"spent":{',
)  # fmt: skip
_ENDED: Final = frozenset({ApprovalStatus.REJECTED, ApprovalStatus.EXPIRED, ApprovalStatus.CONSUMED})
_LINE: Final = struct.Struct(">qq")
_DAY_CHARS: Final = len("2026-01-01")


class _Amount(msgspec.Struct, frozen=True):
    category: str
    day: str
    microusd: int


class _Said(msgspec.Struct, frozen=True):
    """What of an event says something of a table."""

    id: int
    kind: str
    state: dict[str, str] = {}
    reserved: _Amount | None = None
    spent: _Amount | None = None
    intent_id: int | None = None
    cost_microusd: int | None = None
    spent_microusd: int | None = None
    budgets_spent_for: str = ""
    agent: str = ""
    groups: list[str] = []
    token_digest: str = ""
    decides_for: str = ""
    is_baseline: bool = False


_decode: Final = msgspec.json.Decoder(_Said).decode
_decode_stored: Final = msgspec.msgpack.Decoder(StoredApproval).decode


def rows_of(transaction: lmdb.Transaction[bytes], tables: Tables) -> Iterator[tuple[str, bytes]]:
    """Every row that receipts name, and its value."""
    for table, kind in tables.replayed.items():
        for key, value in transaction.cursor(table):
            yield state_name(kind, key), value


class Replay:
    """What the receipts so far say of the tables."""

    def __init__(self) -> None:
        self._rows: dict[str, str] = {}
        self._baseline_id = 0
        self._open: dict[int, _Amount] = {}
        self._lines: dict[tuple[str, str], tuple[int, int]] = {}
        self._restored_days: set[str] = set()
        self._agents: dict[str, _Said] = {}

    def feed(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Take the next receipts over."""
        for _, record in records:
            if any(spelling in record for spelling in _SPELLINGS):
                self._take(_decode(event_of(record)))

    def _take(self, said: _Said) -> None:
        if said.state:
            self._rows.update(said.state)
        if said.is_baseline and not self._baseline_id:
            self._baseline_id = said.id
        if said.reserved is not None and said.kind in OPENING:
            self._open[said.id] = said.reserved
            self._add(said.reserved, 0, said.reserved.microusd)
        elif said.intent_id is not None and said.kind in CLOSING:
            self._settle(said)
        elif said.spent is not None and said.kind == DELEGATED:
            self._add(said.spent, said.spent.microusd, 0)
        elif said.kind == "restored":
            self._restored_days.add(said.budgets_spent_for)
        if said.kind == "agent_added":
            self._agents[said.agent] = said
        elif said.kind == "agent_revoked":
            self._agents.pop(said.agent, None)

    def _settle(self, said: _Said) -> None:
        reserved = self._open.pop(said.intent_id or 0, None)
        if reserved is None:
            return
        spent = said.spent_microusd if said.cost_microusd is None else said.cost_microusd
        self._add(reserved, reserved.microusd if spent is None else spent, -reserved.microusd)

    def _add(self, line: _Amount, spent: int, reserved: int) -> None:
        key = (line.day, line.category)
        had = self._lines.get(key, (0, 0))
        self._lines[key] = (had[0] + spent, had[1] + reserved)

    def compare(
        self, transaction: lmdb.Transaction[bytes], tables: Tables, agents: Sequence[ActiveAgent] | None
    ) -> tuple[StateDifference | None, tuple[str, ...]]:
        """The first difference between the tables and the receipts, and what could not be compared."""
        not_checked = list(NEVER_COMPARED)
        steps: tuple[Callable[[], StateDifference | None], ...] = (
            lambda: self._compare_rows(transaction, tables, not_checked),
            lambda: self._compare_lines(transaction, tables, not_checked),
            lambda: self._compare_agents(agents, not_checked),
        )
        for step in steps:
            difference = step()
            if difference is not None:
                return difference, ()
        return None, tuple(not_checked)

    def _compare_rows(
        self, transaction: lmdb.Transaction[bytes], tables: Tables, not_checked: list[str]
    ) -> StateDifference | None:
        missing = {name: digest for name, digest in self._rows.items() if digest}
        for name, value in rows_of(transaction, tables):
            expected = missing.pop(name, "")
            found = hashlib.sha256(value).hexdigest()
            if expected == found:
                continue
            if not expected and name not in self._rows and self._is_old(name, value):
                if OLD_ROWS not in not_checked:
                    not_checked.append(OLD_ROWS)
                continue
            return StateDifference(name, expected or "no such row", found)
        for name, digest in missing.items():
            return StateDifference(name, digest, "no such row")
        return None

    def _is_old(self, name: str, value: bytes) -> bool:
        """Whether a row may be of before receipts said what they wrote: ended, so it lets nothing happen."""
        if not name.startswith("approval:"):
            return False
        stored = _decode_stored(value)
        return stored.receipt_id < self._baseline_id and stored.approval.status in _ENDED

    def _compare_lines(
        self, transaction: lmdb.Transaction[bytes], tables: Tables, not_checked: list[str]
    ) -> StateDifference | None:
        left = {key: line for key, line in self._lines.items() if any(line)}
        for key, value in transaction.cursor(tables.spend):
            text = key.decode()
            day, category = text[:_DAY_CHARS], text[_DAY_CHARS:]
            expected, found = left.pop((day, category), (0, 0)), _LINE.unpack(value)
            if day in self._restored_days:
                if RESTORED_DAYS not in not_checked:
                    not_checked.append(RESTORED_DAYS)
            elif expected != found:
                return StateDifference(f"budget:{day}:{category}", _money(expected), _money(found))
        for (day, category), line in left.items():
            return StateDifference(f"budget:{day}:{category}", _money(line), "no such row")
        return None

    def _compare_agents(self, agents: Sequence[ActiveAgent] | None, not_checked: list[str]) -> StateDifference | None:
        if agents is None:
            not_checked.append("agents")
            return None
        said: Mapping[str, _Said] = dict(self._agents)
        for agent in agents:
            known = said.get(agent.name)
            if known is None:
                return StateDifference(f"agent:{agent.name}", "no active agent", "an active one")
            expected, found = _rights(known.groups, known.decides_for), _rights(agent.groups, agent.decides_for)
            if expected != found:
                return StateDifference(f"agent:{agent.name}", expected, found)
            if not known.token_digest:
                not_checked += [] if OLD_TOKENS in not_checked else [OLD_TOKENS]
            elif known.token_digest != agent.token_digest:
                return StateDifference(f"agent:{agent.name}", known.token_digest, agent.token_digest)
        names = {agent.name for agent in agents}
        for name in said:
            if name not in names:
                return StateDifference(f"agent:{name}", "an active agent", "none")
        return None


def _rights(groups: Iterable[str], decides_for: str) -> str:
    return f"groups {sorted(set(groups))}" + (f", decides for `{decides_for}`" if decides_for else "")


def _money(line: Sequence[int]) -> str:
    return f"spent {line[0]}, reserved {line[1]} micro-USD"
