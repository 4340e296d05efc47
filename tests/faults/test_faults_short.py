"""The short form of the fault suite, as part of the tests: nothing is violated, and what is left out is said."""

import os
import subprocess
import sys
from pathlib import Path

import mutants
import pytest
import run_faults
from disks import LoopDisk

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


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting needs root on Linux")
def test_power_is_back_though_a_mount_namespace_of_somebody_else_still_has_the_disk(tmp_path):
    with LoopDisk(tmp_path, mib=24) as disk:
        command = ["unshare", "-m", "sh", "-c", "echo made; exec sleep 60"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
            other.stdout.readline()
            (disk.mounted / "kept").write_text("x")
            os.sync()
            disk.cut()
            disk.restore()
            assert (disk.mounted / "kept").read_text() == "x"
            (disk.mounted / "new").write_text("y")
            other.kill()


def test_the_page_tells_each_class_how_it_is_caused_and_what_its_last_run_found():
    page = (SUITE.parent.parent.parent / "docs" / "faults.md").read_text()
    caused, found = page.split("## The last whole run")
    for fault in run_faults.FAULTS:
        what = fault.what.partition(",")[0] if fault.what.startswith("disk full") else fault.what
        assert f"\n| {what} |" in caused, fault.what
        assert f"\n| {fault.what} " in found, fault.what
    numbers = {12: "twelve", 13: "thirteen", 14: "fourteen"}
    assert f"in {numbers[len(run_faults.FAULTS)]} ways" in page
