"""JSON-RPC messages: what is one, what is refused and with which code."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.mcp.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    Notification,
    Request,
    Response,
    RpcError,
    encode_error,
    encode_request,
    parse_message,
    parse_messages,
)


def test_a_request_a_notification_and_the_two_responses_are_read():
    assert parse_message(b'{"jsonrpc":"2.0","id":7,"method":"ping"}') == Request(7, "ping", {})
    assert parse_message(b'{"jsonrpc":"2.0","id":"a","method":"m","params":{"x":1}}') == Request("a", "m", {"x": 1})
    assert parse_message(b'{"jsonrpc":"2.0","method":"m"}') == Notification("m", {})
    assert parse_message(b'{"jsonrpc":"2.0","id":7,"result":{"a":1}}') == Response(7, {"a": 1})
    answer = parse_message(b'{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"x"}}')
    assert answer == Response(None, {}, {"code": -1, "message": "x"})


@pytest.mark.parametrize(
    "raw_id", ["null", "1.0", "1.5", "1e0", "1E3", "-0.0", "true", "false", "[]", "{}", '"' + "x" * 257 + '"']
)
@pytest.mark.parametrize("rest", ['"method":"tools/call"', '"result":{}'])
def test_an_id_that_is_null_a_float_or_no_id_at_all_is_refused(raw_id, rest):
    with pytest.raises(RpcError) as caught:
        parse_message(f'{{"jsonrpc":"2.0","id":{raw_id},{rest}}}'.encode())
    assert (caught.value.code, caught.value.http_status) == (INVALID_REQUEST, 400)
    assert caught.value.request_id is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", PARSE_ERROR),
        (b"{", PARSE_ERROR),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"m"}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":NaN}}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":9007199254740993,"method":"m"}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":"\\ud800"}}', PARSE_ERROR),
        (b"[" * 100_000, PARSE_ERROR),
        (b"1", INVALID_REQUEST),
        (b"[]", INVALID_REQUEST),
        (b'[{"jsonrpc":"2.0","id":1,"method":"m"}]', INVALID_REQUEST),
        (b'{"id":1,"method":"m"}', INVALID_REQUEST),
        (b'{"jsonrpc":2.0,"id":1,"method":"m"}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":""}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","result":{}}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"result":[]}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","result":{}}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":"x"}}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":[]}', INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":1}}', INVALID_PARAMS),
    ],
)
def test_what_is_no_message_is_refused_with_its_code(body, code):
    with pytest.raises(RpcError) as caught:
        parse_message(body)
    assert caught.value.code == code
    assert caught.value.http_status == 400


def test_a_batch_keeps_the_exact_ids_of_its_messages():
    batch = b'[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","method":"b"}]'
    assert parse_messages(batch) == [Request(1, "a", {}), Notification("b", {})]
    with pytest.raises(RpcError):
        parse_messages(b'[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","id":1.0,"method":"b"}]')
    for bad in (b"[]", b"[1]", b"[" + b",".join([b'{"jsonrpc":"2.0","method":"m"}'] * 65) + b"]"):
        with pytest.raises(RpcError):
            parse_messages(bad)


def test_an_error_without_an_id_has_no_id_member():
    assert orjson.loads(encode_error(RpcError(-1, "x"))) == {"jsonrpc": "2.0", "error": {"code": -1, "message": "x"}}
    assert orjson.loads(encode_error(RpcError(-1, "x", data={"a": 1}, request_id=0)))["id"] == 0


@given(
    st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.text(max_size=60)),
    st.text(min_size=1, max_size=60),
    st.dictionaries(st.text(max_size=5).filter(lambda key: key != "_meta"), st.integers(-9, 9), max_size=4),
)
def test_what_is_written_is_read_back(request_id, method, params):
    assert parse_message(encode_request(request_id, method, params)) == Request(request_id, method, params)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_otherwise(data):
    try:
        parse_messages(data)
    except RpcError as error:
        assert error.code in {PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS}  # noqa: PT017 - passing is allowed too
