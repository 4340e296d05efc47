"""Requests of imported operations, and what is not the same in those that an independent OpenAPI client builds.

Each argument gets a value of a shape that its schema has; whether the schema takes it is not asked, since a request is
built of what it does take. What is compared is what goes over the wire: method, host, decoded path and query, headers,
cookies, and the body by its media type.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from briefcase.adapters.openapi.importing import Operation, Written
from briefcase.adapters.tools.bodies import FORM_URLENCODED, JSON, MULTIPART, kind_of
from briefcase.adapters.tools.http import with_credential
from briefcase.adapters.tools.manifest import Declared
from briefcase.adapters.tools.request import BODY, COOKIE, HEADER, PATH, QUERY, WHOLE_BODY, Encoded, encode_request
from briefcase.adapters.tools.styles import DEEP_OBJECT

SECRET: Final = b"s3cret"
MAX_DEPTH: Final = 6
_TEXT: Final = "a b,&=/ü"
_HEADER_TEXT: Final = "v"
_IGNORED: Final = frozenset({"accept", "content-type"})  # of the client's own making, and of the body's


def documents_in(directory: Path) -> list[Path]:
    """The sample documents of a directory."""
    return sorted(
        file for file in directory.iterdir() if file.suffix in {".yaml", ".json"} and "request" not in file.name
    )


class Case(NamedTuple):
    """One imported operation, its arguments, and our request."""

    operation: Operation
    declared: Declared
    written: Written
    args: dict[str, Any]
    ours: Encoded
    base: str


def case_of(operation: Operation, written: Written, base: str) -> Case:
    declared = written.declared
    args = sample_of(declared)
    encoded = encode_request(declared.template, args)
    for credential in declared.manifest.all_credentials:
        encoded = with_credential(encoded, credential, SECRET)
    return Case(operation, declared, written, args, encoded, base)


def sample_of(declared: Declared) -> dict[str, Any]:
    """A value for each argument, canonical order as a call has it."""
    places, found = declared.template.places, {}
    for name, schema in sorted(declared.manifest.input_schema["properties"].items()):
        place = places[name]
        if place.is_base64:
            data = base64.b64encode(b"bytes of " + name.encode()).decode()
            found[name] = [data] if isinstance(schema, dict) and schema.get("type") == "array" else data
        elif place.kind == WHOLE_BODY and not kind_of(declared.template.media_type):
            found[name] = f"text of {name}"
        else:
            value = _value(schema, name, _HEADER_TEXT if place.kind == HEADER else _TEXT, 0)
            found[name] = _flat(value) if place.kind in {PATH, HEADER} and not place.content else value
    return found


def _flat(value: Any) -> Any:
    """A value that fits a path and a header: no empty list."""
    return value if value not in ([], {}, "") else "x"


def _value(schema: Any, name: str, text: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return "v"
    for keyword in ("anyOf", "oneOf"):
        branches = [branch for branch in schema.get(keyword, ()) if branch != {"type": "null"}]
        if branches:
            return _value(
                {**{k: v for k, v in schema.items() if k != keyword}, **_as_dict(branches[0])}, name, text, depth
            )
    if schema.get("allOf"):
        merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
        for branch in map(_as_dict, schema["allOf"]):
            merged = {
                **branch,
                **merged,
                "properties": {**branch.get("properties", {}), **merged.get("properties", {})},
            }
        if not merged["properties"]:
            del merged["properties"]
        return _value(merged, name, text, depth + 1)
    choices = [choice for choice in schema.get("enum", ()) if choice is not None]
    if choices:
        return choices[0]
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    kind = next((each for each in kind if each != "null"), "string") if isinstance(kind, list) else kind
    if kind == "array" or (kind is None and "items" in schema):
        item = _value(schema.get("items", {}), name, text, depth + 1)
        return [item, item]
    if kind == "object" or (kind is None and "properties" in schema):
        properties = schema.get("properties") or {f"{name}key": schema.get("additionalProperties")}
        return {key: _value(below, key, text, depth + 1) for key, below in sorted(properties.items())}
    return {"integer": 7, "number": 1.5, "boolean": True, "null": None}.get(str(kind), text)


def _as_dict(schema: Any) -> dict[str, Any]:
    return schema if isinstance(schema, dict) else {}


def asked_of(case: Case) -> dict[str, Any]:
    parameters, members, files = {}, {}, []
    template, body = case.declared.template, None
    for argument, value in case.args.items():
        place = template.places[argument]
        if place.kind in {QUERY, HEADER, COOKIE, PATH}:
            parameters[f"{place.kind}.{place.name or argument}"] = value
        elif place.kind == BODY:
            members[place.name] = value
            files += [place.name] if place.is_base64 else []
        elif place.is_base64:
            body = base64.b64decode(value).decode()
        else:
            body = value
    return (
        {
            "path": case.operation.path,
            "method": case.operation.method.lower(),
            "base": case.base,
            "parameters": parameters,
            "body": members or body,
            "kind": template.media_type,
            "files": files,
        }
        if members or body is not None
        else {
            "path": case.operation.path,
            "method": case.operation.method.lower(),
            "base": case.base,
            "parameters": parameters,
        }
    )


def verdict_of(case: Case, answer: Any) -> tuple[str, str]:
    if isinstance(answer, dict):
        return "the client builds none", str(answer["error"])
    differences = [difference_of(case, theirs) for theirs in answer]
    if "" in differences:
        return "same", ""
    reason = next(filter(None, (_reason(case, theirs) for theirs in answer)), "")
    return (f"by rule: {reason}", "") if reason else ("different", differences[0])


def difference_of(case: Case, theirs: dict[str, Any]) -> str:
    """The first thing that is not the same; empty for none."""
    ours, method = case.ours, case.declared.manifest.method
    if theirs["method"].upper() != method:
        return f"method: {method}, not {theirs['method']}"
    mine, other = urlsplit(ours.url), urlsplit(theirs["url"])
    if mine.hostname != other.hostname or (mine.port or 443) != (other.port or {"http": 80}.get(other.scheme, 443)):
        return f"host: {mine.netloc}, not {other.netloc}"
    if unquote(mine.path) != unquote(other.path) and unquote(mine.path) != unquote(other.path) + "/":
        return f"path: {mine.path}, not {other.path}"
    pairs, others = (sorted(parse_qsl(each.query, keep_blank_values=True)) for each in (mine, other))
    if pairs != others:
        only = [pair for pair in pairs if pair not in others], [pair for pair in others if pair not in pairs]
        return f"query: {only[0][:3]}, not {only[1][:3]}"
    headers = {name.lower(): value for name, value in ours.headers.items() if name.lower() not in _IGNORED}
    expected = {name.lower(): str(value) for name, value in theirs["headers"].items() if name.lower() not in _IGNORED}
    if "cookie" in headers and "cookie" in expected:
        headers["cookie"], expected["cookie"] = (_cookies(each["cookie"]) for each in (headers, expected))
    if headers != expected:
        return f"headers: {headers}, not {expected}"
    return _body_difference(case, theirs)


def _cookies(text: str) -> str:
    return "; ".join(sorted(unquote(pair) for pair in text.split("; ")))


def _body_difference(case: Case, theirs: dict[str, Any]) -> str:
    ours, kind = case.ours, kind_of(case.declared.template.media_type)
    if kind == MULTIPART and ours.body is not None:
        mine, other = sorted(_parts(ours)), sorted(map(tuple, theirs.get("parts", [])))
        return "" if mine == other else f"parts: {mine[:3]}, not {other[:3]}"
    body = theirs.get("body")
    if ours.body is None or body is None:
        return "" if ours.body is None and body is None else f"body: {str(ours.body)[:80]}, not {str(body)[:80]}"
    if kind == JSON:
        mine = json.loads(ours.body)
        if isinstance(mine, str):  # the client sends the text of a JSON body as it is given
            return "" if mine == body else f"JSON: {mine!r}, not {str(body)[:80]}"
        other = json.loads(body) if isinstance(body, str) else body
        return "" if mine == other else f"JSON: {str(mine)[:150]}, not {str(other)[:150]}"
    if kind == FORM_URLENCODED:
        mine, other = (sorted(parse_qsl(each, keep_blank_values=True)) for each in (ours.body.decode(), body))
        only = [pair for pair in mine if pair not in other], [pair for pair in other if pair not in mine]
        return "" if mine == other else f"form: {only[0][:3]}, not {only[1][:3]}"
    return "" if ours.body.decode() == body else f"body: {ours.body!r}, not {body!r}"


def _parts(ours: Encoded) -> Iterator[tuple[str, str]]:
    head = f"Content-Type: {ours.headers['Content-Type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + (ours.body or b""))
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        yield str(name), base64.b64encode(bytes(part.get_payload(decode=True))).decode()


def _reason(case: Case, theirs: dict[str, Any]) -> str:
    """Why a request differs on purpose: what is left of it, without what the remarks name, is the same."""
    if "{" in unquote(urlsplit(theirs["url"]).path) and any(
        "nothing declares" in each for each in case.written.imported.remarks
    ):
        return "a name in the path that nothing declares"
    names = [
        place.name
        for argument, place in case.declared.template.places.items()
        if place.style == DEEP_OBJECT and _is_deep(case.args.get(argument))
    ]
    if not names:
        return ""
    kept = [_without(pairs, names) for pairs in _all_pairs(case, theirs)]
    return "lists and deeper objects of `deepObject`" if kept[:2] == kept[2:] else ""


def _is_deep(value: Any) -> bool:
    return isinstance(value, list) or (
        isinstance(value, dict) and any(isinstance(each, list | dict) for each in value.values())
    )


def _all_pairs(case: Case, theirs: dict[str, Any]) -> list[list[tuple[str, str]]]:
    texts = (
        urlsplit(case.ours.url).query,
        _form(case.ours.body),
        urlsplit(theirs["url"]).query,
        _form(theirs.get("body")),
    )
    return [parse_qsl(text, keep_blank_values=True) for text in texts]


def _form(body: Any) -> str:
    text = body.decode() if isinstance(body, bytes) else body
    return text if isinstance(text, str) and not text.startswith(("{", "[", "--")) else ""


def _without(pairs: list[tuple[str, str]], names: list[str]) -> list[tuple[str, str]]:
    return sorted(pair for pair in pairs if pair[0].partition("[")[0] not in names and pair[0] not in names)
