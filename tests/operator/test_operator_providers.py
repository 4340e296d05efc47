"""Providers are changed with their receipts; a crash is settled; disabling one is a control like any other."""

import pytest

from briefcase.adapters.oauth.custody import Login
from briefcase.adapters.providers.composition import compose_providers
from briefcase.adapters.store.database import Database
from briefcase.adapters.vault.vault import MemoryBackend, Vault
from briefcase.core.controls import Controls
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.providers import Exchange, ProviderAdmin, Verdict
from briefcase.model.errors import CallerError, UpstreamError
from support.clock import FakeClock
from support.controls import admin_of
from support.crash import Crash, crashed
from support.entropy import FakeEntropy
from support.ledger import MemoryLedger
from support.outbound import AsgiOutbound
from support.providers import BASE_URL, REDIRECT

OTHER_URL = "https://other.example"
HELD = Login(
    client_id="briefcase",
    issuer=BASE_URL,
    token_endpoint=f"{BASE_URL}/oauth/token",
    revocation_endpoint=None,
    access_token="kX93hd-0a7Qp21zzWm8tR4vN6bEyUc",
    expires_us=1 << 50,
    refresh_token="qZ71mc-4f2Ls90ppXr3wG8jD5tHkVa",
)


class Desk:
    """Providers in a real database and vault; `restart` is what the next start does."""

    def __init__(self, path) -> None:
        self.clock = FakeClock()
        self.ledger = MemoryLedger(self.clock)
        self.path, self.backend, self.database = path, MemoryBackend(), None
        self.open()

    def open(self) -> None:
        self.close()
        self.database = Database(self.path / "briefcase.sqlite")
        vault = Vault(self.backend, "memory")
        self.controls = Controls(self.ledger, self.clock)
        self.service = compose_providers(
            database=self.database,
            secrets=vault.compartment("providers"),
            remember=vault.remember,
            holder_did="did:key:z6Mk",
            outbound=AsgiOutbound(),
            ledger=self.ledger,
            is_disabled=self.controls.is_disabled,
            clock=self.clock,
            entropy=FakeEntropy(),
            is_ga=False,
            denies_unknown_status=False,
        ).service
        self.custody = self.service._custody
        self.administration = Administration(self.ledger)
        controls = admin_of(self.controls, self.ledger, self.clock)
        self.admin = ProviderAdmin(self.administration, self.service, controls, self.controls)

    def close(self) -> None:
        if self.database is not None:
            self.database.close()

    async def hold(self) -> None:
        await self.admin.set("demo", BASE_URL, None, "ann")
        await self.custody.put_login("demo", HELD)

    async def restart(self) -> dict:
        self.open()
        await self.administration.settle(self.admin.settlers())
        assert not self.ledger.open_intents
        return self.ledger.chain[-1].event


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (lambda desk: desk.service, "upsert"),
        (lambda desk: desk.custody, "forget"),
        (lambda desk: desk.service._providers, "put"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_move_that_a_crash_cut_off_is_finished_and_sends_no_log_in_to_the_new_address(
    desk, monkeypatch, owner, name, when
):
    await desk.hold()
    with crashed(monkeypatch, owner(desk), name, when), pytest.raises(Crash):
        await desk.admin.set("demo", OTHER_URL, 60, "ann")
    closed = await desk.restart()
    assert (closed["kind"], closed["base_url"], closed["is_settled"]) == ("provider_set", OTHER_URL, True)
    moved = await desk.service.summary("demo")
    assert (moved.base_url, moved.max_stale_s, moved.needs_login) == (OTHER_URL, 60, True)


@pytest.mark.parametrize(
    ("owner", "name"), [(lambda desk: desk.custody, "forget"), (lambda desk: desk.service._providers, "delete")]
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_removal_that_a_crash_cut_off_is_finished_with_all_that_is_held(desk, monkeypatch, owner, name, when):
    await desk.hold()
    with crashed(monkeypatch, owner(desk), name, when), pytest.raises(Crash):
        await desk.admin.delete("demo", "ann")
    closed = await desk.restart()
    assert (closed["kind"], closed["provider"]) == ("provider_deleted", "demo")
    assert await desk.service.list() == []
    assert await desk.custody.login("demo") is None


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_revocation_that_a_crash_cut_off_ends_the_log_in_here_and_says_what_is_not_known(
    desk, monkeypatch, when
):
    await desk.hold()
    with crashed(monkeypatch, desk.custody, "delete_login", when), pytest.raises(Crash):
        await desk.admin.revoke_login("demo", "ann")
    closed = await desk.restart()
    assert (closed["kind"], closed["at_server"]) == ("provider_revoked", "unknown")
    assert await desk.custody.login("demo") is None


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("method", "change", "kind"),
    [
        (
            "exchange",
            lambda admin: admin.finish_login("demo", Exchange("c", REDIRECT, "b", "v"), "ann"),
            "provider_login",
        ),
        ("fetch_credential", lambda admin: admin.fetch_credential("demo", "ann"), "provider_credential"),
        (
            "note_verdict",
            lambda admin: admin.note_verdict(
                Verdict(BASE_URL, ok=True, passed=1, failed=0, skipped=0, finished_us=1), "ann"
            ),
            "provider_verdict",
        ),
    ],
)
async def test_what_nobody_can_know_after_a_crash_is_said_to_be_unknown(desk, monkeypatch, when, method, change, kind):
    await desk.hold()

    async def succeeds(*_):
        return ()

    monkeypatch.setattr(desk.service, method, succeeds)
    with crashed(monkeypatch, desk.service, method, when), pytest.raises(Crash):
        await change(desk.admin)
    closed = await desk.restart()
    assert (closed["kind"], closed["change"], closed["by"]) == ("outcome_unknown", kind, "ann")


async def test_clearing_that_a_crash_cut_off_is_done_by_the_restart(desk, monkeypatch):
    await desk.hold()
    event = {"kind": "provider_cleared", "provider": "demo", "by": "ann"}

    async def dies():
        raise Crash

    with pytest.raises(Crash):
        await desk.administration.make("provider:demo", event, dies)
    closed = await desk.restart()
    assert (closed["kind"], closed["is_settled"]) == ("provider_cleared", True)


async def test_disabling_a_provider_is_one_control_in_one_transaction_and_enabling_lifts_it(desk):
    await desk.hold()
    before = len(desk.ledger.chain)
    assert (await desk.admin.disable("demo", "ann")).is_enabled is False
    assert (await desk.admin.disable("demo", "bob")).is_enabled is False
    (control,) = desk.controls.active()
    assert (control.action, control.subject, control.name, control.by) == (
        "disable",
        "source",
        "provider:demo",
        "ann",
    )
    with pytest.raises(UpstreamError, match="is disabled"):
        await desk.service._client.read("demo", "/api/quote", {}, timeout_ms=1)
    desk.open()
    assert (await desk.service.summary("demo")).is_enabled is False
    assert (await desk.admin.enable("demo", "ann")).is_enabled is True
    assert (await desk.admin.enable("demo", "ann")).is_enabled is True
    assert desk.ledger.kinds()[before:] == ["control_set", "control_lifted"]
    assert not desk.ledger.open_intents


@pytest.mark.parametrize("change", ["disable", "enable", "delete", "clear", "revoke_login", "fetch_credential"])
async def test_a_provider_that_is_not_there_is_not_found_and_leaves_no_receipt(desk, change):
    with pytest.raises(CallerError) as caught:
        await getattr(desk.admin, change)("nobody", "ann")
    assert caught.value.code == "not_found"
    assert desk.ledger.kinds() == []


@pytest.mark.parametrize("cut_off", [False, True])
async def test_a_provider_that_an_older_release_disabled_is_disabled_by_a_control(desk, monkeypatch, cut_off):
    await desk.hold()
    desk.database.run_now(lambda connection: connection.execute("UPDATE providers SET is_enabled = 0"))
    desk.open()
    await desk.service.upsert("demo", BASE_URL, 5)  # what is written of it meanwhile leaves it disabled
    desk.open()
    assert (await desk.service.summary("demo")).is_enabled is False
    if cut_off:
        with crashed(monkeypatch, desk.service, "enable_row", "before"), pytest.raises(Crash):
            await desk.admin.take_over_rows()
        desk.open()
    await desk.admin.take_over_rows()
    assert desk.ledger.kinds().count("control_set") == 1
    desk.open()
    assert desk.service.disabled_rows() == []
    assert (await desk.service.summary("demo")).is_enabled is False
    assert (await desk.admin.enable("demo", "ann")).is_enabled is True
