"""The requests of our own sample documents are those that an independent OpenAPI client builds.

`samples/requests.json` is what swagger-client built: `make openapi` writes it anew, and compares public documents too.
"""

import json
from pathlib import Path

import pytest

from briefcase.adapters.openapi.importing import Choices, import_operation, operations_of, read_document
from support.openapi_requests import asked_of, case_of, difference_of, documents_in, verdict_of

SAMPLES = Path(__file__).parent / "samples"
BUILT = json.loads((SAMPLES / "requests.json").read_text())


def cases() -> list:
    return [*each_case()]


def each_case():
    for file in documents_in(SAMPLES):
        document = read_document(file.read_bytes())
        for operation in operations_of(document):
            written = import_operation(document, operation, Choices())
            yield file.name, case_of(operation, written, "")


@pytest.mark.parametrize(
    ("name", "case"), cases(), ids=lambda value: value if isinstance(value, str) else value.operation.key
)
def test_a_request_is_the_one_that_another_client_builds(name, case):
    answer = BUILT[name][case.operation.key]
    assert verdict_of(case, answer) == ("same", "")


def test_each_recorded_request_is_compared():
    assert {name: sorted(built) for name, built in BUILT.items()} == {
        name: sorted(case.operation.key for owner, case in cases() if owner == name) for name in BUILT
    }


def test_what_is_not_the_same_is_told():
    _, case = next(each_case())
    (theirs,) = BUILT["desk.yaml"][case.operation.key]
    assert difference_of(case, theirs) == ""
    for changed in (
        {"method": "PUT"},
        {"url": theirs["url"].replace("archive", "other")},
        {"url": theirs["url"].replace("/tickets", "/x")},
        {"url": theirs["url"] + "&more=1"},
        {"headers": {**theirs["headers"], "X-More": "1"}},
        {"body": "more"},
    ):
        assert difference_of(case, {**theirs, **changed})
    assert "path.number" in asked_of(case)["parameters"]
