"""A secret goes to the hosts it is bound to, and to no other, whatever names it."""

import pytest

from briefcase.adapters.vault.bindings import SecretDestinations, host_of, parse_destinations
from briefcase.adapters.vault.vault import MemoryBackend, Vault
from briefcase.model.errors import CallerError, StoreError, UpstreamError
from briefcase.model.ports import Claim

DESK, OTHER = "desk.example.com", "other.example.com"
VALUE = b"canary-in-the-mine"


class Custody:
    """A vault with one secret, and claims a test can change."""

    def __init__(self, *claims):
        self.vault = Vault(MemoryBackend(), "memory")
        self.claims = [Claim(*claim) for claim in claims]
        self.destinations = SecretDestinations(self.vault, self.vault.compartment("hosts"), lambda: self.claims)

    async def sent(self, destination, name="desk"):
        try:
            return await self.destinations.get_for(name, destination)
        except UpstreamError as error:
            fault = error
        assert (fault.code, fault.sent) == ("sandbox_violation", False)
        assert "briefcase secrets bind" in fault.hint
        assert VALUE.decode() not in fault.message
        return fault.message


async def test_a_bound_secret_goes_to_its_hosts_alone():
    custody = Custody()
    await custody.destinations.put("desk", VALUE, (DESK, "desk.example.com:8443"))
    assert await custody.sent(DESK) == await custody.sent("desk.example.com:8443") == VALUE
    for other in (OTHER, "desk.example.com:80", "desk.example.com.evil.example", "process/desk", ""):
        assert "is bound to `desk.example.com`" in await custody.sent(other)
    assert await custody.sent(DESK, "absent") is None


async def test_what_one_destination_names_is_bound_to_it_and_stays_so():
    custody = Custody(("desk", DESK, "the tool `a`"))
    await custody.destinations.put("desk", VALUE)
    assert await custody.destinations.all_destinations() == {"desk": [DESK]}
    custody.claims.append(Claim("desk", OTHER, "the tool `b`"))
    await custody.destinations.settle()
    assert await custody.sent(DESK) == VALUE
    assert "not to `other.example.com`" in await custody.sent(OTHER)


async def test_an_old_secret_is_bound_at_the_first_load_where_one_host_names_it():
    custody = Custody(("desk", DESK, "the tool `a`"))
    await custody.vault.put("desk", VALUE)  # as a vault of an older version has it
    await custody.destinations.settle()
    assert await custody.destinations.destinations("desk") == (DESK,)


async def test_an_old_secret_that_two_hosts_name_goes_nowhere_until_the_operator_says_where():
    custody = Custody(("desk", DESK, "the tool `a`"), ("desk", OTHER, "the tool `b`"))
    await custody.vault.put("desk", VALUE)
    await custody.destinations.settle()
    for destination in (DESK, OTHER):
        assert "is named for `desk.example.com`, `other.example.com`, and is bound to none" in await custody.sent(
            destination
        )
    await custody.destinations.bind("desk", (DESK,))
    assert await custody.sent(DESK) == VALUE
    assert "is bound to" in await custody.sent(OTHER)


async def test_a_secret_that_only_a_discovery_names_is_bound_at_its_first_use():
    custody = Custody()
    await custody.vault.put("desk", VALUE)
    assert await custody.sent(DESK) == VALUE
    assert "is bound to" in await custody.sent(OTHER)


async def test_a_new_value_keeps_its_hosts_and_a_removed_secret_loses_them():
    custody = Custody()
    await custody.destinations.put("desk", VALUE, (DESK,))
    await custody.destinations.put("desk", b"another-canary")
    assert await custody.destinations.destinations("desk") == (DESK,)
    assert await custody.destinations.delete("desk")
    assert await custody.destinations.destinations("desk") is None
    assert not await custody.destinations.delete("desk")


@pytest.mark.parametrize("fails_at", [1, 2, 3])
async def test_a_change_that_ends_half_way_sends_the_secret_to_nobody_it_was_not_for(fails_at, monkeypatch):
    custody = Custody()
    await custody.destinations.put("desk", VALUE, (DESK,))
    store, stored = MemoryBackend.store, []

    def failing(self, key, value):
        stored.append(key)
        if len(stored) == fails_at:
            raise StoreError("the disk is full")
        store(self, key, value)

    monkeypatch.setattr(MemoryBackend, "store", failing)
    with pytest.raises(StoreError):
        await custody.destinations.put("desk", b"another-canary", (OTHER,))
    assert stored == ["hosts/desk", "user/desk", "hosts/desk"][:fails_at]
    assert await custody.sent(OTHER) not in {VALUE, b"another-canary"}
    assert await custody.sent(DESK) == VALUE if fails_at == 1 else await custody.sent(DESK) != b"another-canary"


async def test_a_registration_that_would_send_a_secret_elsewhere_is_refused_before_it_is_kept():
    custody = Custody(("desk", DESK, "the tool `a`"))
    check = custody.destinations.check_claims
    await check([Claim("desk", DESK, "the server `s`"), Claim("new", OTHER, "the server `s`")])
    with pytest.raises(CallerError, match=r"the server `s` would send it to `other\.example\.com`") as caught:
        await check([Claim("desk", OTHER, "the server `s`")])
    assert caught.value.code == "conflict"
    await custody.destinations.put("desk", VALUE, (OTHER,))
    await check([Claim("desk", OTHER, "the server `s`")])
    with pytest.raises(CallerError):
        await check([Claim("desk", "process/s", "the server `s`")])


async def test_a_server_that_moves_does_not_take_its_unbound_secret_for_another_one_of_its_own():
    custody = Custody(("desk", DESK, "the server `s`"))
    await custody.destinations.check_claims([Claim("desk", OTHER, "the server `s`")])
    await custody.destinations.settle()
    with pytest.raises(CallerError):
        await custody.destinations.check_claims([Claim("desk", OTHER, "the server `s`")])


async def test_a_record_that_is_not_ours_is_a_fault_and_sends_nothing():
    custody = Custody()
    await custody.vault.put("desk", VALUE)
    await custody.vault.compartment("hosts").put("desk", b"desk.example.com")
    with pytest.raises(StoreError):
        await custody.destinations.get_for("desk", DESK)


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        ("https://desk.example.com/a?b", "desk.example.com"),
        ("https://desk.example.com:443/", "desk.example.com"),
        ("https://DESK.example.com:8443/", "desk.example.com:8443"),
        ("http://desk.example.com/", "desk.example.com:80"),
        ("http://[::1]:9/", "[::1]:9"),
        ("https://[::1]/", "[::1]"),
    ],
)
def test_a_url_has_one_destination(url, destination):
    assert host_of(url) == destination
    assert parse_destinations([destination]) == (destination,)


@pytest.mark.parametrize("text", ["", "*", "https://x", "a b", "a/b", "process/", "process/A", "x:0", "x:99999", "1.2"])
def test_what_is_no_destination_is_refused(text):
    with pytest.raises(CallerError):
        parse_destinations([text])
    with pytest.raises(CallerError):
        parse_destinations([])


async def test_a_crash_while_a_secret_is_removed_leaves_no_host_for_who_sets_the_name_again():
    custody = Custody()
    await custody.destinations.put("desk", VALUE, (DESK,))
    removing, crashed = custody.vault.delete, []

    async def crash(name):
        crashed.append(await removing(name))
        raise StoreError("the process ended here")

    custody.vault.delete = crash
    with pytest.raises(StoreError):
        await custody.destinations.delete("desk")
    assert crashed == [True]
    await custody.destinations.put("desk", VALUE)
    assert "is bound to no host" in await custody.sent(DESK)
