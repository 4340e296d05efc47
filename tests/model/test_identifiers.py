"""What a name may hold: the same wherever it is taken, and nothing after it."""

import msgspec
import pytest

from briefcase.adapters.servers.config import parse_server
from briefcase.adapters.tools.manifest import Credential, Manifest
from briefcase.model import identifiers
from briefcase.model.errors import CallerError


@pytest.mark.parametrize("name", ["a", "ann.lee-2_x", "a" * 64])
def test_a_name_is_taken(name):
    assert identifiers.is_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "Ann", "a b", "a\n", "é", "a" * 65])
def test_what_no_path_can_name_is_no_name(name):
    assert not identifiers.is_name(name)


@pytest.mark.parametrize("server_id", ["a\n", "2a", "a_b", "-a", "a" * 33])
def test_what_cannot_stand_before_a_tool_is_no_id_of_a_server(server_id):
    assert not identifiers.is_server_id(server_id)


def test_a_line_feed_after_a_name_is_part_of_it_where_a_library_searches():
    rules = [{"tool": "*", "category": "pay\n"}]
    with pytest.raises(CallerError):
        parse_server("desk", {"endpoint_url": "https://desk.example/mcp", "rules": rules})
    for shape, fields in [
        (Credential, {"name": "key\n"}),
        (Manifest, {"id": "pay\n"}),
        (Manifest, {"category": "pay\n"}),
    ]:
        given = (
            {"id": "pay", "method": "GET", "url": "https://x.example/", "category": "pay"} if shape is Manifest else {}
        )
        with pytest.raises(msgspec.ValidationError, match="regex"):
            msgspec.convert({**given, **fields}, shape)
