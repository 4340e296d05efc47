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
    Unreadable,
    encode_error,
    encode_request,
    parse_message,
    parse_messages,
    read_server_message,
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


@pytest.mark.parametrize(
    ("rest", "params"),
    [
        (b'"method":"tools/list","params":null', {}),
        (b'"method":"tools/call","params":{"name":"t","arguments":null,"_meta":null}', {"name": "t"}),
        (b'"method":"tools/call","params":{"arguments":{"x":null}}', {"arguments": {"x": None}}),
    ],
)
def test_null_is_a_parameter_that_is_not_there(rest, params):
    assert parse_message(b'{"jsonrpc":"2.0","id":1,%b}' % rest).params == params


def test_a_notification_keeps_the_null_it_tells():
    found = parse_message(b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":null}}')
    assert found == Notification("notifications/message", {"data": None})


@pytest.mark.parametrize("read", [parse_message, read_server_message])
def test_a_null_error_is_none_and_so_is_a_null_result_beside_an_error(read):
    assert read(b'{"jsonrpc":"2.0","id":1,"result":{"a":1},"error":null}') == Response(1, {"a": 1})
    failed = Response(1, {}, {"code": 1, "message": "x"})
    assert read(b'{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":1,"message":"x"}}') == failed
    for neither in (
        b'"result":null',
        b'"error":null',
        b'"result":null,"error":null',
        b'"result":{},"error":{"code":1}',
    ):
        with pytest.raises(RpcError):
            parse_message(b'{"jsonrpc":"2.0","id":1,%b}' % neither)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{"n":9223372036854775807}}',
         Response(1, {"n": "9223372036854775807"}, None, ("number",))),
        (b'{"jsonrpc":"2.0","id":1,"result":{"n":NaN,"t":"\\ud800"}}',
         Response(1, {"n": "NaN", "t": "\ufffd"}, None, ("lone_surrogate", "number"))),
        (b'{"jsonrpc":"2.0","id":1,"result":{"t":"\xff"}}', Response(1, {"t": "\ufffd"}, None, ("encoding",))),
        (b'{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}', Response(1, {"a": 2}, None, ("duplicate_key",))),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"result":{}}', Response(1, {}, None, ("byte_order_mark",))),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","data":1e999}}',
         Response(1, {}, {"code": 1, "message": "m", "data": "1e999"}, ("number",))),
        (b'{"jsonrpc":"2.0","method":"m","params":{"n":NaN}}', Notification("m", {"n": "NaN"})),
    ],
)  # fmt: skip
def test_what_a_server_says_is_delivered_where_it_is_not_exact_and_that_is_named(data, found):
    assert read_server_message(data) == found
    with pytest.raises(RpcError):
        parse_message(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{},"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"id":1}',
        b'{"jsonrpc":"2.0","id":1,"result":[NaN]}',
        b'{"result":{"x":"\xff,},"id":1,"jsonrpc":"2.0"}',
        b'{"result":{"x":,},"id":1}',
    ],
)
def test_an_answer_that_is_none_even_so_is_told_to_whom_it_answers(data):
    found = read_server_message(data)
    assert isinstance(found, Unreadable)
    assert (found.id, found.is_request) == (1, False)


def test_a_servers_question_is_exact_or_it_is_told_that_it_gets_no_answer():
    question = b'{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"n":NaN}}'
    found = read_server_message(question)
    assert isinstance(found, Unreadable)
    assert (found.id, found.is_request) == ("q", True)
