"""A qualification says what it ran and what it did not: what is missing fails, and a stopped run goes on."""

import re
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import run_qualification as qualify

HERE = Path(__file__).parent
PLAN = msgspec.convert(tomllib.loads((HERE / "qualification.toml").read_text()), qualify.Plan)
MAKEFILE = (qualify.ROOT / "Makefile").read_text()


def fresh(mode="ci", commit="a" * 40, *, is_clean=True):
    return qualify.Qualification("v1.0.0", mode, commit, is_clean)


def run(out, plan, qualification=None, only=()):
    return qualify.Runner(qualification or fresh(), out).run(plan, only)


def stage(name, command, **values):
    return qualify.Stage(name=name, says=name, ci=command, release=command, **values)


def plan(*stages, rows=()):
    return qualify.Plan(stage=stages, row=tuple(rows))


def came(found):
    return {one.name: one.came.value for one in (*found.stages, *found.rows)}


def test_a_stage_passes_by_its_exit_code_and_its_output_is_kept(tmp_path):
    found = run(tmp_path, plan(stage("good", "echo it is; true"), stage("bad", "echo it is not; exit 3")))
    assert came(found) == {"good": "passed", "bad": "failed"}
    assert (tmp_path / found.stages[0].log).read_text() == "it is\n"
    assert (found.stages[1].exit_code, found.stages[1].why) == (3, "it is not")
    assert found.open == ["bad: failed"]


@pytest.mark.parametrize("values", [{"needs": ("no-such-program-anywhere",)}, {"variable": "BRIEFCASE_NOT_SET_AT_ALL"}])
@pytest.mark.parametrize("mode", ["ci", "release"])
def test_what_a_stage_needs_and_is_not_here_fails_it_and_skips_nothing(tmp_path, values, mode):
    found = run(tmp_path, plan(stage("needy", f"touch {tmp_path}/ran", **values)), fresh(mode))
    assert (came(found), found.open) == ({"needy": "missing"}, ["needy: missing"])
    assert not (tmp_path / "ran").exists()


def test_a_stopped_run_goes_on_with_what_did_not_pass_at_this_commit(tmp_path):
    counting = stage("counting", f"echo x >> {tmp_path}/runs")
    failing = stage("failing", f"echo y >> {tmp_path}/runs; test -e {tmp_path}/mended")
    first = run(tmp_path, plan(counting, failing))
    (tmp_path / "mended").touch()
    second = run(tmp_path, plan(counting, failing), first)
    assert (tmp_path / "runs").read_text().split() == ["x", "y", "y"]
    assert second.open == []
    assert second.stages[0] == first.stages[0]
    later = run(tmp_path, plan(counting), msgspec.structs.replace(second, commit="b" * 40))
    assert (tmp_path / "runs").read_text().split() == ["x", "y", "y", "x"]
    assert later.stages[0].commit == "b" * 40


def test_a_run_of_some_stages_leaves_the_others_open(tmp_path):
    found = run(tmp_path, plan(stage("one", "true"), stage("other", "true")), only=("one",))
    assert came(found) == {"one": "passed", "other": "not run"}
    assert found.open == ["other: not run"]


@pytest.mark.parametrize(("mode", "is_open"), [("ci", []), ("release", ["macOS: not run", "old: not run"])])
def test_a_row_that_can_not_run_here_is_never_passed_and_fails_a_release(tmp_path, mode, is_open):
    rows = [
        qualify.Row("macOS", absent="no such host here"),
        qualify.Row("old", command="true", probe="false"),
        qualify.Row("new", command="true", probe="true"),
    ]
    found = run(tmp_path, plan(stage("one", "true"), rows=rows), fresh(mode))
    assert came(found) == {"one": "passed", "macOS": "not run", "old": "not run", "new": "passed"}
    assert found.open == is_open


def test_a_row_that_fails_fails_in_every_mode(tmp_path):
    found = run(tmp_path, plan(stage("one", "true"), rows=[qualify.Row("new", command="false")]))
    assert found.open == ["new: failed"]


def test_changes_that_are_not_committed_are_no_release(tmp_path):
    found = run(tmp_path, plan(stage("one", "true")), fresh(is_clean=False))
    assert found.open == ["the checkout has changes that are not committed"]


def test_what_pytest_left_out_is_counted_on_the_page(tmp_path):
    found = run(tmp_path, plan(stage("tests", "echo '5 passed, 3 skipped in 1 s'")))
    assert found.stages[0].skipped == 3
    assert ">3</td>" in (tmp_path / qualify.PAGE).read_text()


def test_the_page_says_the_verdict_and_all_that_is_open_and_runs_nothing_of_what_was_printed(tmp_path):
    run(tmp_path, plan(stage("bad", "echo '<script>alert(1)</script>'; false")))
    page = (tmp_path / qualify.PAGE).read_text()
    assert "Not qualified" in page
    assert "bad: failed" in page
    assert "<script>" not in page
    run(tmp_path, plan(stage("good", "true")))
    assert "Qualified" in (tmp_path / qualify.PAGE).read_text()


def test_what_was_kept_is_taken_up_only_for_the_same_label_and_mode(tmp_path):
    found = run(tmp_path, plan(stage("one", "true")))
    assert qualify.read(tmp_path, "v1.0.0", "ci").stages == found.stages
    assert qualify.read(tmp_path, "v1.0.1", "ci").stages == ()
    assert qualify.read(tmp_path, "v1.0.0", "release").stages == ()
    (tmp_path / qualify.RESULT).write_text("{")
    assert qualify.read(tmp_path, "v1.0.0", "ci").stages == ()


@pytest.mark.parametrize("stage", PLAN.stage, ids=lambda stage: stage.name)
def test_each_command_of_the_plan_is_there(stage):
    for command in filter(None, (stage.ci, stage.release)):
        words = command.split()
        if words[0] == "make":
            for target in (word for word in words[1:] if "=" not in word):
                assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
        for path in re.findall(r"(?<![\w{])((?:tests|bench)/[\w./]+)", command):
            assert (qualify.ROOT / path).exists(), path


def test_a_release_is_held_to_more_than_continuous_integration_is():
    assert {one.name for one in PLAN.stage if one.ci} < {one.name for one in PLAN.stage if one.release} | {"overhead"}
