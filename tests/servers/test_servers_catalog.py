"""The daemon's own tools and the servers' in one catalogue."""

from types import SimpleNamespace

from briefcase.adapters.servers.catalog import Catalog


class Known:
    """Tools by their ids, each of which may be refused."""

    def __init__(self, whose: str, *ids: str) -> None:
        self.by_id = {one: SimpleNamespace(id=one, whose=whose) for one in ids}

    def resolve(self, tool_id):
        return self.by_id.get(tool_id)

    def refusal(self, tool_id):
        return "server_disabled" if tool_id in self.by_id else None

    def specs(self):
        return [self.by_id[one] for one in sorted(self.by_id, reverse=True)]


def test_of_one_id_the_daemons_own_tool_is_meant_everywhere():
    catalog = Catalog(Known("own", "echo", "quote"), Known("server", "desk.read", "echo"))

    assert [(spec.id, spec.whose) for spec in catalog.specs()] == [
        ("desk.read", "server"),
        ("echo", "own"),
        ("quote", "own"),
    ]
    assert catalog.resolve("echo").whose == "own"
    assert catalog.resolve("desk.read").whose == "server"
    assert catalog.resolve("none") is None
    assert [catalog.refusal(one) for one in ("echo", "desk.read", "none")] == [None, "server_disabled", None]
