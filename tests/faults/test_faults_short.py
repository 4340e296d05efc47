"""The short form of the fault suite, as part of the tests: nothing is violated, and what is left out is said."""

import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).parent / "run_faults.py"


@pytest.mark.slow
def test_no_invariant_is_violated_by_a_few_faults_of_each_class():
    done = subprocess.run([sys.executable, str(SUITE), "--short"], capture_output=True, check=False, timeout=300)
    print(done.stdout.decode())  # noqa: T201 - the table, for whoever runs with `-rP`
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
