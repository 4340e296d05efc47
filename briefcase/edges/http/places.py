"""Places: which connections a server keeps, and which give way when there are too many.

| bound | over what | at the bound |
|---|---|---|
| `max_connections` | the connections of one listener | the longest idle gives way |
| `max_connections_per_uid` | those of one user on it, but not of the daemon's own | that user's longest idle one does |
| `max_connections_per_principal` | those that last spoke for one agent or auditor | its longest idle one does, or 429 |
| `operator_reserve` | those taken where none is idle | operators, newcomers; the oldest of who has most gives way |
| `newcomer_reserve` | those served beyond, of agents and auditors that have next to none (`KEPT_FOR_EACH`) | 503 |
| `max_unsent_bytes`, a quarter of it for one principal | bodies that come and answers that are not read | `Held` |

Who gives way first: connections on which nobody is known yet, the longest silent first, where they are more than a
quarter of the listener's, so that newcomers have the time to say who they are; then an agent's idle ones; then an
operator's. A connection that is new gives way to no other user's. Where none is idle, a long poll is answered early and
its connection closed then: the oldest of whichever agent has most of them. Any other connection on which a request of
somebody known is being answered never gives way.

# INVARIANT (reserve): whatever is open, one more connection is taken, and the operator's token on it is served.
# INVARIANT (newcomers): whatever others have open, an agent's first `KEPT_FOR_EACH` connections are served, as long as
# `newcomer_reserve` has room: of 32 agents at once.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from briefcase._native.shares import Account, Meter
from briefcase.edges.http.limits import PlaceLimits
from briefcase.model.errors import CallerError
from briefcase.model.types import Principal, Role

CANDIDATES: Final = 32  # found by one look at all, so that a flood of connections does not pay for it each time
LOOK_AGAIN_S: Final = 0.01  # after a look that found none, which is as dear
MAX_STRANGERS: Final = 1_024  # accounts of users; past it those that had nothing lately are forgotten
KEPT_FOR_EACH: Final = 2  # connections that an agent has though calls of others are under way on all there are
DISPATCH_S: Final = 2.0  # how long a first request may take until it is known whose it is
SHARES: Final = 4  # one principal may hold this part of the bytes, newcomers have this part of the places
SMALL_BYTES: Final = 16 << 10  # what each connection may hold beside the bytes that are counted

_ANONYMOUS, _KNOWN, _OPERATOR = range(3)  # in which order they give way


class Guest(Protocol):
    """A connection, as far as its place goes."""

    def idle_since_s(self) -> float | None:
        """Since when nothing of it is being read or answered, on the loop's clock; None where something is."""
        ...

    def give_way(self) -> None:
        """Close now."""
        ...


class Place:
    """One connection's place: where it came in, whose it is, and the bytes that are held for it."""

    __slots__ = (
        "_held",
        "_places",
        "body_bytes",
        "guest",
        "is_probation",
        "listener",
        "meter",
        "principal",
        "rank",
        "taken_s",
        "uid",
        "unsent_bytes",
    )  # fmt: skip

    def __init__(self, places: Places, guest: Guest, listener: int, uid: int | None, now_s: float) -> None:
        self.guest = guest
        self.listener = listener
        self.uid = uid
        self.taken_s = now_s
        self.principal: Principal | None = None
        self.meter = Meter(places.account_of_strangers(uid))  # of the work of nobody yet
        self.rank = _ANONYMOUS
        self.is_probation = False
        self.body_bytes = self.unsent_bytes = 0
        self._places = places
        self._held = places.held

    def claim(self, principal: Principal) -> None:
        """Say whose request is to be answered.

        Raises:
            CallerError: there is no room for this principal (`rate_limited`), or for anybody but an operator
                (`not_ready`); the connection is to be closed.
        """
        if principal is not self.principal and principal != self.principal:
            self._places.claim(self, principal)

    @property
    def stranger(self) -> str:
        """Whose work is done here until it is known who asks: the user's at the other end; the unknown ones are one."""
        return "unknown" if self.uid is None else f"uid {self.uid}"

    @property
    def is_known(self) -> bool:
        """Whether anybody said who they are."""
        return self.rank != _ANONYMOUS

    @property
    def is_operators(self) -> bool:
        """Whether an operator spoke last."""
        return self.rank == _OPERATOR

    def wait(self, answer_now: Callable[[], None]) -> None:
        """A long poll is under way here, which `answer_now` ends with what there is, and the connection after it."""
        if self.rank == _KNOWN:
            self._places.waits[self] = answer_now

    def stop_waiting(self) -> None:
        """It is answered."""
        self._places.waits.pop(self, None)

    def hold_body(self, size_bytes: int) -> bool:
        """Count a body that is being kept; False where there is no room for it, and then nothing is counted."""
        more, self.body_bytes = size_bytes - self.body_bytes, size_bytes
        if self._held.add(self, more):
            return True
        self.release_body()
        return False

    def hold_unsent(self, size_bytes: int) -> None:
        """Count an answer that waits for its reader; past the bound slow readers are closed."""
        more, self.unsent_bytes = size_bytes - self.unsent_bytes, size_bytes
        if not self._held.add(self, more):
            self._held.make_room(self)

    def release_body(self) -> None:
        """It is answered."""
        if self.body_bytes:
            size_bytes, self.body_bytes = self.body_bytes, 0
            self._held.remove(self, size_bytes)

    def release_unsent(self) -> None:
        """It is read."""
        if self.unsent_bytes:
            size_bytes, self.unsent_bytes = self.unsent_bytes, 0
            self._held.remove(self, size_bytes)


class Held:
    """One budget of the bytes that wait in this process for a slow peer, and the most that one principal has of it.

    A body past it is refused. An answer is not: it is durable by then, and its client may ask for it again; the
    readers who are slow for the longest are closed instead, of the principal that holds most.
    """

    def __init__(self, limit_bytes: int, share_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.share_bytes = share_bytes
        self.total_bytes = 0
        self.closed = 0
        self._bytes_of: dict[str, int] = {}
        self._slow: dict[Place, None] = {}  # the longest slow first

    def add(self, place: Place, size_bytes: int) -> bool:
        """Count some more; False where that is past a bound."""
        name = _name_of(place)
        own = self._bytes_of[name] = self._bytes_of.get(name, 0) + size_bytes
        self.total_bytes += size_bytes
        if place.unsent_bytes:
            self._slow.setdefault(place)
        return self.total_bytes <= self.limit_bytes and own <= self.share_bytes

    def remove(self, place: Place, size_bytes: int) -> None:
        """Count that much less."""
        name = _name_of(place)
        if not place.unsent_bytes:
            self._slow.pop(place, None)
        self.total_bytes -= size_bytes
        left = self._bytes_of.get(name, 0) - size_bytes
        if left > 0:
            self._bytes_of[name] = left
        else:
            self._bytes_of.pop(name, None)

    def make_room(self, newest: Place) -> None:
        """Close slow readers until the bounds hold again, the newest last."""
        while self._slow:
            name = _name_of(newest)
            if self._bytes_of.get(name, 0) <= self.share_bytes:
                if self.total_bytes <= self.limit_bytes:
                    return
                name = max(self._bytes_of, key=self._bytes_of.__getitem__)
            slow = next((place for place in self._slow if _name_of(place) == name), None)
            if slow is None:  # what its owner holds are bodies, each of which has its deadline
                slow = newest
            self.closed += 1
            slow.release_unsent()
            slow.guest.give_way()
            if slow is newest:
                return


class Places:
    """The places of one server: what the connections of all its listeners share.

    Args:
        limits: the bounds.
        knows_principals: whether connections are claimed. Where they are not, one that is at work never gives way,
            and one for which there is no place is turned away.
    """

    def __init__(self, limits: PlaceLimits, *, knows_principals: bool) -> None:
        self.limits = limits
        self.knows_principals = knows_principals
        share_bytes = limits.max_unsent_bytes // (SHARES if knows_principals else 1)
        self.held = Held(limits.max_unsent_bytes, share_bytes)
        self.gave_way = 0
        self.refused = 0
        self.waits: dict[Place, Callable[[], None]] = {}  # the oldest first
        self._of_listener: dict[int, dict[Place, None]] = {}
        self._on_probation: dict[int, dict[Place, None]] = {}
        self._uids: dict[tuple[int, int], int] = {}
        self._of_principal: dict[tuple[Role, str], dict[Place, None]] = {}
        self._candidates: dict[tuple[int, int | None], deque[tuple[Place, float]]] = {}
        self._found_none_s: dict[tuple[int, int | None], float] = {}
        self._strangers: dict[int | None, Account] = {}

    def take(self, guest: Guest, listener: int, uid: int | None, now_s: float) -> Place:
        """Give a new connection its place; where there is none, an idle one gives way or it is on probation.

        Args:
            guest: the connection.
            listener: which of the server's listeners took it.
            uid: the user at the other end, where that is known.
            now_s: the loop's clock.
        """
        place = Place(self, guest, listener, uid, now_s)
        taken = self._of_listener.setdefault(listener, {})
        taken[place] = None
        if uid is not None and uid != self.limits.own_uid:
            self._uids[listener, uid] = self._uids.get((listener, uid), 0) + 1
        is_crowd = self._is_crowd(place)
        if is_crowd or len(taken) > self.limits.max_connections:
            victim = self._longest_idle(taken, (listener, uid if is_crowd else None), place)
            if victim is not None:
                self._give_way(victim)
                is_served = not victim.is_probation  # such a one held no place that another could be served on
            else:
                polls = (one for one in self.waits if one in taken and (not is_crowd or one.uid == uid))
                is_served = self._end_wait(polls)
            if not is_served:
                self._put_on_probation(place)
        return place

    def account_of_strangers(self, uid: int | None) -> Account:
        """What a user's connections on which nobody is known had of the loop."""
        if not self.knows_principals:
            return Account()
        account = self._strangers.get(uid)
        if account is None:
            if len(self._strangers) >= MAX_STRANGERS:
                self._strangers = {known: one for known, one in self._strangers.items() if one.used_ns}
            account = self._strangers[uid] = Account()
        return account

    def _is_crowd(self, place: Place) -> bool:
        """Whether the user at the other end has more connections than one user may have."""
        uid = place.uid
        return uid is not None and self._uids.get((place.listener, uid), 0) > self.limits.max_connections_per_uid

    def leave(self, place: Place) -> None:
        """Free a place; more than once is once."""
        taken = self._of_listener[place.listener]
        if place not in taken:
            return
        del taken[place]
        self._on_probation.get(place.listener, {}).pop(place, None)
        key = (place.listener, place.uid)
        if place.uid is not None and (count := self._uids.get((place.listener, place.uid))) is not None:
            if count > 1:
                self._uids[place.listener, place.uid] = count - 1
            else:
                del self._uids[place.listener, place.uid]
                self._candidates.pop(key, None)
                self._found_none_s.pop(key, None)
        place.release_body()
        place.release_unsent()
        place.stop_waiting()
        self._disown(place)
        del place.guest  # which holds its place: nothing is left for the collector to find

    def claim(self, place: Place, principal: Principal) -> None:
        """As `Place.claim`, of a principal other than the last one."""
        is_operator = principal.role is Role.OPERATOR
        if place.is_probation:
            if not (is_operator or self._has_room(place, principal)):
                self.refused += 1
                raise CallerError(
                    "too many connections",
                    code="not_ready",
                    hint="close some, or raise `[server] max_connections` in `briefcase.toml`",
                )
            place.is_probation = False
            del self._on_probation[place.listener][place]
        was = place.principal
        if was is None or (was.role, was.name) != (principal.role, principal.name):
            if not is_operator:
                self._own(place, principal)
            self._disown(place)
        if held_bytes := place.body_bytes + place.unsent_bytes:
            self.held.remove(place, held_bytes)
        place.principal = principal
        place.rank = _OPERATOR if is_operator else _KNOWN
        if held_bytes:
            self.held.add(place, held_bytes)

    def _has_room(self, place: Place, principal: Principal) -> bool:
        """Whether a connection on probation may serve an agent: others left since, or it is a newcomer."""
        taken, limits = len(self._of_listener[place.listener]), self.limits
        if taken <= limits.max_connections and not self._is_crowd(place):
            return True
        served = taken - len(self._on_probation[place.listener])
        own = len(self._of_principal.get((principal.role, principal.name), ()))
        return own < KEPT_FOR_EACH and served < limits.max_connections + limits.newcomer_reserve

    def _own(self, place: Place, principal: Principal) -> None:
        key, most = (principal.role, principal.name), self.limits.max_connections_per_principal
        own = self._of_principal.setdefault(key, {})
        if len(own) >= most:
            idle = [(since_s, other) for other in own if (since_s := other.guest.idle_since_s()) is not None]
            if idle:
                self._give_way(min(idle, key=lambda found: found[0])[1])
            elif not self._end_wait(other for other in self.waits if other in own):
                self.refused += 1
                raise CallerError(f"expected at most {most} connections of `{principal.name}`", code="rate_limited")
            own = self._of_principal.setdefault(key, {})
        own[place] = None

    def _disown(self, place: Place) -> None:
        principal = place.principal
        if principal is None or place.rank == _OPERATOR:
            return
        key = (principal.role, principal.name)
        own = self._of_principal[key]
        del own[place]
        if not own:
            del self._of_principal[key]

    def _put_on_probation(self, place: Place) -> None:
        waiting = self._on_probation.setdefault(place.listener, {})
        place.is_probation = True
        waiting[place] = None
        if len(waiting) > self.limits.operator_reserve:  # who floods pushes out no other user's, the operator's least
            [(most, _)] = Counter(one.uid for one in waiting).most_common(1)
            self._give_way(next(one for one in waiting if one.uid == most))

    def _give_way(self, place: Place) -> None:
        self.gave_way += 1
        guest = place.guest
        self.leave(place)
        guest.give_way()

    def _end_wait(self, places: Iterable[Place]) -> bool:
        """Answer the oldest long poll of whoever has most of them; its connection is closed with it. False: no poll."""
        found = list(places)
        if not found:
            return False
        [(most, _)] = Counter(map(_name_of, found)).most_common(1)
        self.gave_way += 1
        self.waits.pop(next(place for place in found if _name_of(place) == most))()
        return True

    def _longest_idle(self, taken: dict[Place, None], scope: tuple[int, int | None], newest: Place) -> Place | None:
        """Of a listener's places, or of one user's on it, the first to give way; None where each is at work."""
        known = self._candidates.setdefault(scope, deque())
        looked_s = self._found_none_s.get(scope)
        is_soon = looked_s is not None and newest.taken_s - looked_s < LOOK_AGAIN_S
        for attempt in range(2):
            while known:
                place, since_s = known.popleft()
                if place in taken and self._free_since_s(place, newest) == since_s:
                    return place
            if attempt == 0 and not is_soon:
                known.extend(self._find_idle(taken, scope[1], newest))
        if not is_soon:
            self._found_none_s[scope] = newest.taken_s
        return None

    def _find_idle(self, taken: dict[Place, None], uid: int | None, newest: Place) -> list[tuple[Place, float]]:
        found = [
            (place.rank, since_s, place)
            for place in taken
            if place is not newest
            and (uid is None or place.uid == uid)
            and (since_s := self._free_since_s(place, newest)) is not None
        ]
        found.sort(key=lambda one: one[:2])
        unknown = sum(rank == _ANONYMOUS for rank, _, _ in found)
        if unknown < len(found) and unknown <= self.limits.max_connections // SHARES:
            found = found[unknown : unknown + 1]
        elif unknown:
            found = found[: min(CANDIDATES, max(1, unknown - self.limits.max_connections // SHARES))]
        return [(place, since_s) for _, since_s, place in found]

    def _free_since_s(self, place: Place, newest: Place) -> float | None:
        """Since when a place could be given up. One where nobody is known yet is not at work, and not new, for long."""
        since_s = place.guest.idle_since_s()
        if place.rank != _ANONYMOUS or not self.knows_principals:
            return since_s
        is_new = newest.taken_s - place.taken_s <= DISPATCH_S
        if is_new and (since_s is None or place.uid != newest.uid):
            return None
        return place.taken_s if since_s is None else since_s


def _name_of(place: Place) -> str:
    """Whose part of the bytes a place counts to."""
    return "" if place.principal is None else place.principal.name
