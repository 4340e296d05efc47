"""Answers of a control plane, held against its OpenAPI document."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import jsonschema_rs

from briefcase.edges.control_plane.openapi import OPERATIONS, openapi_document

PATHS = [(each, re.compile(re.sub(r"\{\w+\}", "[^/]+", each.path))) for each in OPERATIONS]


@cache
def document() -> Any:
    """The document."""
    return openapi_document()


@cache
def schema_of(method: str, path: str, status: str = "200") -> jsonschema_rs.Draft202012Validator:
    """The schema of an operation's answer; `default` is of what is no success."""
    found = document()
    answers = found["paths"][path][method.lower()]["responses"]
    answer = found["components"]["responses"]["Error"] if status == "default" else answers[status]
    (media,) = answer["content"].values()
    return jsonschema_rs.Draft202012Validator({**media["schema"], "components": found["components"]})


def check_answer(method: str, path: str, status: int, text: str) -> None:
    """Check that an answer is as the document says."""
    bare = path.partition("?")[0]
    known = next((each for each, of in PATHS if each.method == method and of.fullmatch(bare)), None)
    if bare == "/witness/add-checkpoint" and status in {200, 400, 403, 404, 409, 422}:
        return  # the protocol's own text
    if status >= 400:
        schema_of("GET", "/health", "default").validate(json.loads(text))
    elif known is not None and text and known.media == "application/json":
        schema_of(known.method, known.path).validate(json.loads(text))
