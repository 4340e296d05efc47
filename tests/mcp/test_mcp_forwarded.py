"""What a proxy may forward to an MCP server, by the table of `core/mcp/forwarded.py`."""

from __future__ import annotations

import json

import pytest

from briefcase.core.mcp.forwarded import NOTIFICATIONS, OPERATIONS, UNASKED, NotForwardedError, ToolUse, read_forwarded
from briefcase.core.mcp.protocol import METHODS

JSON = ("content-type", "application/json")


def message(method="tools/call", params=None, request_id=1, **more):
    params = {"name": "echo", "arguments": {"text": "hi"}} if params is None else params
    named = {} if request_id is None else {"id": request_id}
    return {"jsonrpc": "2.0", **named, "method": method, "params": params, **more}


def read(body, *headers, method="POST", media=JSON):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_forwarded("files", method, [*([] if media is None else [media]), *headers], data)


def test_a_call_is_a_call_of_the_servers_tool():
    assert read(message()) == ToolUse("files.echo", {"text": "hi"})
    assert read(message(params={"name": "echo", "_meta": {"progressToken": 1}})) == ToolUse("files.echo", {})
    assert read(message(params={"name": "a/b.c", "arguments": None})) == ToolUse("files.a/b.c", {})


def test_what_else_a_server_answers_is_a_call_of_the_daemons_tool_for_it():
    found = read(message("resources/read", {"uri": "file:///x", "_meta": {}}))
    assert found == ToolUse("files:resources.read", {"uri": "file:///x"})


@pytest.mark.parametrize("method", sorted(UNASKED))
def test_what_opens_lists_or_ends_is_forwarded_unasked(method):
    assert read(message(method, {})) is None


@pytest.mark.parametrize("method", sorted(NOTIFICATIONS))
def test_a_clients_notifications_are_forwarded_unasked(method):
    assert read(message(method, {}, request_id=None)) is None


def test_a_stream_the_end_of_a_session_and_the_answer_to_a_ping_are_forwarded_unasked():
    assert read(b"", method="GET", media=None) is None
    assert read(b"", method="DELETE", media=None) is None
    assert read({"jsonrpc": "2.0", "id": 7, "result": {}}) is None


def test_each_method_of_the_protocol_is_decided_forwarded_unasked_or_refused():
    refused = {"tasks/get", "tasks/cancel", "tasks/result", "tasks/update", "subscriptions/listen"}
    assert METHODS.keys() == UNASKED | OPERATIONS.keys() | refused | {"tools/call"}
    for method in refused:
        with pytest.raises(NotForwardedError):
            read(message(method, {"taskId": "t"}))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"7", b'"x"', b"[]", b"\xff", b"\xef\xbb\xbf{}", b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"forge"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":1,"a":2}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":NaN}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"} {"jsonrpc":"2.0","id":1,"method":"tools/call"}',
        b'{"jsonrpc":"2.0","id":1,"method":"\xc3"}',
        [message()], [message(), message(request_id=2)],
        message(request_id=1.5), message(request_id={}), {**message(), "id": None},
        message(jsonrpc="1.0"), message(method=""), message(method=7), message(params=[]),
        message(Method="tools/call"), message(Params={"name": "forge"}), message(result={}), message(extra=1),
        message("ping", {}, METHOD="tools/call"),
        message(params={}), message(params={"name": 7}), message(params={"name": "echo", "arguments": []}),
        message(params={"name": "echo", "arguments": "x"}), message(params={"name": "echo", "Name": "forge"}),
        message(params={"name": "echo", "task": {"ttl": 1}}), message(params={"name": "echo", "inputResponses": {}}),
        message(params={"name": "echo", "approvalToken": "x"}),
        message("Tools/Call"), message("tools/call "), message("tools\\call"), message("tools/call\x00"),
        message("notifications/cancelled", {}), message(request_id=None), message("ping", {}, request_id=None),
        message("notifications/tools/list_changed", {}, request_id=None),
        {"jsonrpc": "2.0", "id": 7, "result": {"content": {"secret": 1}}}, {"jsonrpc": "2.0", "result": {}},
        {"jsonrpc": "2.0", "id": 7, "result": {}, "method ": "tools/call"},
        {"jsonrpc": "2.0", "id": 7, "error": {"code": 1, "message": "x"}},
    ],
)  # fmt: skip
def test_what_two_readers_could_understand_differently_or_nobody_decides_about_is_refused(body):
    with pytest.raises(NotForwardedError):
        read(body)


@pytest.mark.parametrize(
    "headers",
    [
        [("x-envoy-auth-partial-body", "true")], [("x-envoy-auth-partial-body", "FALSE")],
        [("content-encoding", "gzip")], [("content-length", "1")], [("content-length", "x")],
        [("content-type", "application/json")],
        [("mcp-method", "ping")], [("mcp-name", "forge")], [("mcp-name", "=?base64?Zm9yZ2U=?=")],
        [("mcp-name", "echo"), ("mcp-name", "echo")], [("mcp-param-region", "eu"), ("mcp-param-region", "us")],
    ],
)  # fmt: skip
def test_a_header_that_says_something_else_than_the_body_is_refused(headers):
    with pytest.raises(NotForwardedError):
        read(message(), *headers)


def test_headers_that_repeat_the_body_change_nothing():
    same = [("mcp-method", "tools/call"), ("mcp-name", "echo"), ("x-envoy-auth-partial-body", "false")]
    assert read(message(), *same) == ToolUse("files.echo", {"text": "hi"})


@pytest.mark.parametrize("media", ["text/plain", "", "application/json; charset=utf-16", "application/jsonl", None])
def test_only_json_in_utf_8_is_read(media):
    with pytest.raises(NotForwardedError):
        read(message(), media=None if media is None else ("content-type", media))


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "HEAD", "CONNECT", "TRACE", "post", ""])
def test_another_method_of_http_is_refused(method):
    with pytest.raises(NotForwardedError):
        read(message(), method=method)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_body_where_none_is_read_is_refused(method):
    with pytest.raises(NotForwardedError):
        read(message(), method=method)
