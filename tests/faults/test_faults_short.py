"""The short form of the fault suite, as part of the tests: nothing is violated, and what is left out is said."""

import os
import subprocess
import sys
from pathlib import Path

import mutants
import pytest

SUITE = Path(__file__).parent / "run_faults.py"
TIMEOUT_S = 900  # a minute where nothing else runs; how long it takes is no claim, that it ends is


@pytest.mark.slow
def test_no_invariant_is_violated_by_a_few_faults_of_each_class(tmp_path):
    said = tmp_path / "said"  # a file, so that a run that does not end shows how far it came
    with said.open("wb") as out:
        try:
            code = subprocess.run(
                [sys.executable, str(SUITE), "--short"],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                check=False,
                timeout=TIMEOUT_S,
            ).returncode
        except subprocess.TimeoutExpired:
            pytest.fail(f"it did not end in {TIMEOUT_S} s, in the last class named here:\n{said.read_text()}")
    print(said.read_text())  # noqa: T201 - the table, for whoever runs with `-rP`
    assert code == 0, said.read_text()


def mutants_of_the_suite() -> dict:
    return {name: value for name, value in vars(mutants).items() if isinstance(value, mutants.Mutant)}


@pytest.mark.parametrize("name", mutants_of_the_suite())
def test_a_mutant_of_the_suite_edits_what_is_in_the_product_once(name):
    for file, there, _ in mutants_of_the_suite()[name].edits:
        assert (mutants.ROOT / "briefcase" / file).read_text().count(there) == 1
