"""Cedar's own integration tests: every decision, every determining policy, every erring policy.

The corpus is Cedar's `cedar-integration-tests` (hand-written cases and ones its fuzzer generated). Entities go through
cedarpy first, which adds the schema's actions to them; answers are ours alone.
"""

import json
import os
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import cedarpy
import pytest
from cedar_oracle import outcome_of, uid_of

from briefcase._native.entities import compile_entities, value_of
from briefcase._native.match import compile_policies

CHECKOUT = Path(__file__).resolve().parents[2]
SUITES = ("tests", "corpus-tests")


def corpora() -> list[Path]:
    """Directories that may hold the corpus: the one that is named, else those beside the checkout."""
    named = os.environ.get("BRIEFCASE_CORPORA")
    return [Path(named)] if named else sorted(CHECKOUT.parent.glob("*/corpora"))


@cache
def corpus() -> Mapping[str, str]:
    """The texts of the corpus by path, from a directory or from `cedar.tar.gz`."""
    for directory in corpora():
        if (directory / "corpus-tests").is_dir():
            paths = [path for path in directory.rglob("*") if path.is_file() and path.suffix != ".gz"]
            return {p.relative_to(directory).as_posix(): p.read_text() for p in paths if "cedar" in p.suffix or
                    p.relative_to(directory).parts[0] in (*SUITES, "sample-data")}  # fmt: skip
        if (directory / "cedar.tar.gz").is_file():
            with tarfile.open(directory / "cedar.tar.gz") as archive:
                files = [member for member in archive if member.isfile()]
                return {m.name.removeprefix("./"): archive.extractfile(m).read().decode() for m in files}
    return {}


def cases_of(suite: str) -> list[str]:
    names = [name for name in corpus() if name.startswith(f"{suite}/") and name.endswith(".json")]
    return sorted(name for name in names if not name.endswith(".entities.json"))


@pytest.mark.skipif(not corpus(), reason="no Cedar corpus: name a directory of corpora in BRIEFCASE_CORPORA")
@pytest.mark.parametrize("suite", SUITES)
def test_every_answer_of_the_corpus_is_cedars(suite):
    wrong, requests = [], 0
    for name in cases_of(suite):
        test = json.loads(corpus()[name])
        policies = compile_policies(json.loads(cedarpy.policies_to_json_str(corpus()[test["policies"]])))
        loaded = cedarpy.Entities.from_json_str(corpus()[test["entities"]], corpus()[test["schema"]])
        entities = compile_entities(json.loads(str(loaded)))
        for request in test["requests"]:
            requests += 1
            names = [uid_of(request[part]) for part in ("principal", "action", "resource")]
            answer = policies.authorize(*names, entities, value_of(request["context"]))
            expected = (
                request["decision"] == "allow",
                tuple(sorted(request["reason"])),
                tuple(sorted(request["errors"])),
            )
            if outcome_of(answer) != expected:
                wrong.append(f"{name}, {request['description']}: expected {expected}, got {answer}")
    assert not wrong, "\n".join(wrong)
    assert requests > 20, "the corpus is not what it was"
