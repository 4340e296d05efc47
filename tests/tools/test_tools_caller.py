"""Tools that their caller runs: what their manifest may say, and what becomes of a call that the daemon should run."""

import pytest

from briefcase.adapters.tools.caller import parse_caller_tools
from briefcase.adapters.tools.load import declared_ids, load_caller_tools, load_manifests, specs_of
from briefcase.adapters.tools.manifest import parse_manifests
from briefcase.model.errors import CallerError, UpstreamError

MAIL = b"""
[[caller_tools]]
id = "send_mail"
description = "Send one letter"
category = "write"
cost_usd = "0.01"

[caller_tools.input_schema]
required = ["to"]
properties = { to = { type = "string" } }
"""


def test_one_is_a_tool_of_its_category_and_cost_that_counts_as_reaching_the_network():
    [tool] = parse_caller_tools(MAIL, "mail.toml")
    spec = tool.spec
    assert (spec.id, spec.category, spec.cost_microusd, spec.source) == ("send_mail", "write", 10_000, "caller")
    assert spec.net_access is True
    assert spec.digest_hex
    assert tool.check_args({"to": "ann"}) is None
    assert tool.check_args({}) is not None


async def test_the_daemon_runs_none():
    [tool] = parse_caller_tools(MAIL, "mail.toml")
    with pytest.raises(UpstreamError) as caught:
        await tool.execute({"to": "ann"}, None)
    assert caught.value.sent is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "expected `tools` or `caller_tools`"),
        (b"caller_tools = []", "expected `tools` or `caller_tools`"),
        (MAIL.replace(b"category", b"kind"), "unknown field"),
        (MAIL.replace(b'"write"', b'"W!"'), "category"),
        (MAIL.replace(b'"0.01"', b'"much"'), "send_mail.*dollars"),
        (MAIL.replace(b'"0.01"', b'"0.0000001"'), "send_mail.*micro-dollars"),
        (MAIL.replace(b'{ type = "string" }', b'{ type = "letter" }'), "send_mail"),
        (MAIL.replace(b"category", b'url = "https://x"\ncategory'), "unknown field"),
    ],
)
def test_what_is_not_as_expected_is_named(text, said):
    with pytest.raises(CallerError, match=said) as caught:
        parse_caller_tools(text, "mail.toml")
    assert caught.value.code == "invalid_manifest"


def test_a_directory_of_both_kinds_is_read_whole(tmp_path):
    both = (
        MAIL
        + b"""
[[tools]]
id = "look"
method = "GET"
url = "https://desk.example.com/x"
category = "read"
"""
    )
    path = tmp_path / "both.toml"
    path.write_bytes(both)
    path.chmod(0o600)
    assert [declared.spec.id for declared in load_manifests(tmp_path)] == ["look"]
    assert [tool.spec.id for tool in load_caller_tools(tmp_path)] == ["send_mail"]
    assert [spec.id for spec in specs_of(path)] == ["look", "send_mail"]
    assert dict(declared_ids(tmp_path)) == {path: {"look", "send_mail"}}
    assert [declared.spec.id for declared in parse_manifests(both, "both.toml")] == ["look"]
