"""Whatever a document has in whatever place, an import ends with a manifest or with a refusal that names it."""

import contextlib
import copy
import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from briefcase.adapters.openapi.documents import read_document
from briefcase.adapters.openapi.importing import Choices, Written, import_each, operations_of
from briefcase.adapters.openapi.yaml_reader import read_yaml
from briefcase.adapters.tools.manifest import parse_manifests
from briefcase.model.errors import CallerError

SAMPLES = Path(__file__).parent / "samples"
DOCUMENTS = [
    read_yaml((SAMPLES / "desk.yaml").read_bytes()),
    json.loads((SAMPLES / "parcels.json").read_text()),
    json.loads((SAMPLES / "store.json").read_text()),
]
WORDS = [
    "",
    "a",
    "\ud800",
    "{x}",
    "#/components",
    "#/paths/~1tickets",
    "array",
    "object",
    "deepObject",
    "*/*",
    "http://x",
    "é",
    "2.0",
]
LEAVES = st.sampled_from([None, True, False, 0, -1, 2**63, 1.5, 1e300, [], {}, *WORDS])
VALUES = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(WORDS), below, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    yield path
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in below:
        yield from places(each, (*path, key))


PLACES = [[path for path in places(document) if path] for document in DOCUMENTS]


@st.composite
def changed_documents(draw):
    number = draw(st.integers(0, len(DOCUMENTS) - 1))
    document = copy.deepcopy(DOCUMENTS[number])
    for path in draw(st.lists(st.sampled_from(PLACES[number]), min_size=1, max_size=4)):
        with contextlib.suppress(KeyError, IndexError, TypeError):  # an earlier change took the place away
            owner = document
            for key in path[:-1]:
                owner = owner[key]
            owner[path[-1]] = draw(VALUES)
    return document


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(changed_documents(), st.booleans())
def test_an_import_ends_with_a_manifest_or_a_refusal(value, leave_out):
    try:
        document = read_document(json.dumps(value).encode())
        operations = operations_of(document)
    except CallerError as error:
        refusals = [error]
    else:
        found = [*import_each(document, operations, Choices("https://base.example", leave_out=leave_out))]
        refusals = [each.error for each in found if not isinstance(each, Written)]
        for each in found:
            if isinstance(each, Written):
                (declared,) = parse_manifests(each.text.encode(), each.name)
                assert declared.spec.id == each.imported.operation.id
    assert {error.code for error in refusals} <= {"invalid_manifest"}
    for error in refusals:
        assert "the OpenAPI document" in error.message or "tool `" in error.message, error.message
