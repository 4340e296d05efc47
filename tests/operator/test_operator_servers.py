"""Servers and the log-ins at them: a server that moves or goes leaves its log-in first, and a crash sends none on."""

import pytest

from briefcase.adapters.servers.events import server_deleted_event
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.logins import LoginAdmin
from briefcase.core.operator.servers import Described, ServerAdmin
from briefcase.core.wire.servers import ServerLoginRevoked
from briefcase.model.effects import Entry
from briefcase.model.errors import CallerError
from briefcase.model.ports import Claim
from support.clock import FakeClock
from support.crash import Crash, crashed
from support.ledger import MemoryLedger
from support.secrets import FakeBindings

HERE, THERE = {"endpoint_url": "https://here.example/mcp"}, {"endpoint_url": "https://there.example/mcp"}


class Servers:
    """Descriptions in the ledger, connections that count how often they are opened."""

    def __init__(self, ledger) -> None:
        self.ledger, self.known, self.reopened = ledger, {}, []

    def address(self, server_id):
        return self.known.get(server_id)

    def config(self, server_id):
        if server_id not in self.known:
            raise CallerError("no server", code="not_found")
        return server_id

    check_known = config

    async def set_server(self, server_id, body, by):
        await self.ledger.commit(Entry({"kind": "mcp_server_set", "by": by, "server_id": server_id}))
        self.known[server_id] = body["endpoint_url"]

    async def delete_server(self, server_id, by):
        await self.ledger.commit(Entry(server_deleted_event(by, server_id)))
        del self.known[server_id]

    async def accept(self, server_id, digest_hex, by):
        return 3

    async def reopen(self, server_id):
        self.reopened.append(server_id)


class Logins:
    """Which servers a log-in is held of."""

    def __init__(self) -> None:
        self.held = set()

    async def exchange(self, config, code, state, iss):
        self.held.add(config)

    async def revoke(self, config):
        await self.take_out(config)
        return ServerLoginRevoked(
            config, had_refresh_token=True, remote_revocation_attempted=True, remote_revocation_succeeded=True
        )

    async def take_out(self, config):
        self.held.discard(config)

    async def forget(self, server_id):
        self.held.discard(server_id)


class Desk:
    def __init__(self) -> None:
        self.ledger = MemoryLedger(FakeClock())
        self.store, self.held, self.secrets = Servers(self.ledger), Logins(), FakeBindings()
        self.open()

    def open(self) -> None:
        self.administration = Administration(self.ledger)
        self.logins = LoginAdmin(self.administration, self.store, self.held)
        self.admin = ServerAdmin(self.store, self.describe, self.secrets, self.logins)

    def describe(self, server_id, body):
        return Described(body["endpoint_url"], (Claim("token", body["endpoint_url"], server_id),))

    async def logged_in(self) -> None:
        await self.admin.set("desk", HERE, "ann")
        await self.logins.finish("desk", "code", "state", None, by="ann")
        assert self.held.held == {"desk"}

    async def restart(self) -> dict:
        self.open()
        await self.administration.settle(self.logins.settlers())
        assert not self.ledger.open_intents
        return self.ledger.chain[-1].event


async def test_a_log_in_is_made_and_revoked_with_receipts_and_the_server_connected_to_anew():
    desk = Desk()
    await desk.logged_in()
    await desk.logins.revoke("desk", "ann")
    assert desk.store.reopened == ["desk", "desk"]
    assert desk.ledger.kinds() == [
        "mcp_server_set", "change_intent", "mcp_login_made", "change_intent", "mcp_login_revoked",
    ]  # fmt: skip


async def test_moving_a_server_ends_its_log_in_first_and_changing_it_otherwise_does_not():
    desk = Desk()
    await desk.logged_in()
    await desk.admin.set("desk", HERE | {"review": True}, "ann")
    assert desk.held.held == {"desk"}
    before = len(desk.ledger.chain)
    await desk.admin.set("desk", THERE, "ann")
    assert desk.held.held == set()
    assert desk.ledger.kinds()[before:] == ["change_intent", "mcp_login_ended", "mcp_server_set"]
    assert desk.secrets.settled == 3


async def test_a_move_that_is_refused_ends_no_log_in():
    desk = Desk()
    await desk.logged_in()
    desk.secrets.problem = "the secret is for another host"
    with pytest.raises(CallerError):
        await desk.admin.set("desk", THERE, "ann")
    assert (desk.held.held, desk.store.known["desk"]) == ({"desk"}, HERE["endpoint_url"])


@pytest.mark.parametrize("change", ["move", "delete"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_while_a_server_moves_or_goes_leaves_one_to_log_in_to_at_its_old_address(
    monkeypatch, change, when
):
    desk = Desk()
    await desk.logged_in()
    with crashed(monkeypatch, desk.held, "forget", when), pytest.raises(Crash):
        await (desk.admin.set("desk", THERE, "ann") if change == "move" else desk.admin.delete("desk", "ann"))
    closed = await desk.restart()
    assert (closed["kind"], closed["server_id"], closed["is_settled"]) == ("mcp_login_ended", "desk", True)
    assert (desk.held.held, desk.store.known["desk"]) == (set(), HERE["endpoint_url"])


@pytest.mark.parametrize("method", ["set_server", "delete_server"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_around_the_description_leaves_no_log_in_and_no_open_intent(monkeypatch, method, when):
    desk = Desk()
    await desk.logged_in()
    with crashed(monkeypatch, desk.store, method, when), pytest.raises(Crash):
        await (desk.admin.set("desk", THERE, "ann") if method == "set_server" else desk.admin.delete("desk", "ann"))
    await desk.restart()
    assert desk.held.held == set()
    last = "mcp_login_ended" if when == "before" else {"set_server": "mcp_server_set"}.get(method, "mcp_server_deleted")
    assert desk.ledger.kinds()[-1] == last


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_revocation_that_a_crash_cut_off_ends_the_log_in_here_and_says_what_is_not_known(monkeypatch, when):
    desk = Desk()
    await desk.logged_in()
    with crashed(monkeypatch, desk.held, "take_out", when), pytest.raises(Crash):
        await desk.logins.revoke("desk", "ann")
    closed = await desk.restart()
    assert (closed["kind"], closed["at_server"]) == ("mcp_login_revoked", "unknown")
    assert desk.held.held == set()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_log_in_that_a_crash_cut_off_is_said_to_be_unknown(monkeypatch, when):
    desk = Desk()
    await desk.admin.set("desk", HERE, "ann")
    with crashed(monkeypatch, desk.held, "exchange", when), pytest.raises(Crash):
        await desk.logins.finish("desk", "code", "state", None, by="ann")
    closed = await desk.restart()
    assert (closed["kind"], closed["change"], closed["server_id"]) == ("outcome_unknown", "mcp_login_made", "desk")
    assert "code" not in closed["cause"]


async def test_a_server_that_is_not_there_is_not_found_and_leaves_no_receipt():
    desk = Desk()
    for asked in (
        desk.admin.delete("nobody", "ann"),
        desk.logins.revoke("nobody", "ann"),
        desk.logins.finish("nobody", "code", "state", None, by="ann"),
    ):
        with pytest.raises(CallerError):
            await asked
    assert desk.ledger.kinds() == []
