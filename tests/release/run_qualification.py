"""Qualify a release: `make qualify MODE=ci|release LABEL=v1.0.0`. One directory, one page, one verdict.

    run_qualification.py --mode ci|release --label LABEL [--out build/qualification] [--only STAGE...] [--plan FILE]

Each stage of `qualification.toml` is a command whose output and exit code are kept. A run that was stopped goes on
where it was: a stage that passed at this very commit is not run again. A program or a variable that a stage needs and
that is not here makes it `missing`, which fails; nothing is skipped. A row of the support matrix that cannot run here
is `not run`: it is never counted as passed, and in mode `release` it fails.

`qualification.json` and `qualification.html` go into the release (`run_release.py --qualification DIR`), and are signed
with it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT)]

import msgspec  # noqa: E402
from run_release import interpreter  # noqa: E402

from briefcase.adapters.disk.files import digest_of  # noqa: E402
from briefcase.edges.diagnostics import html_page  # noqa: E402
from briefcase.edges.diagnostics.html_page import code, counted, styled, table, text  # noqa: E402

PLAN: Final = HERE / "qualification.toml"
RESULT: Final = "qualification.json"
PAGE: Final = "qualification.html"
LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_SKIPPED: Final = re.compile(r"\b(\d+) skipped\b")

Mode = Literal["ci", "release"]


class Came(StrEnum):
    """What became of a stage or a row."""

    PASSED = "passed"
    FAILED = "failed"
    MISSING = "missing"
    NOT_RUN = "not run"


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing a release must pass, with its command in each mode."""

    name: str
    says: str
    ci: str = ""
    release: str = ""
    needs: tuple[str, ...] = ()
    variable: str = ""
    minutes: int = 0

    def command(self, mode: Mode) -> str:
        """What is run in a mode; empty where it is no part of it."""
        return self.ci if mode == "ci" else self.release


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the support matrix: a command, and what tells whether it can run here."""

    name: str
    command: str = ""
    needs: tuple[str, ...] = ()
    probe: str = ""
    absent: str = ""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is tried."""

    stage: tuple[Stage, ...]
    row: tuple[Row, ...]


class Outcome(msgspec.Struct, frozen=True):
    """What became of one, at which commit; `log` is beside the page, `skipped` counts what pytest left out."""

    name: str
    came: Came
    commit: str
    command: str
    why: str = ""
    began_at: str = ""
    seconds: float = 0.0
    exit_code: int | None = None
    log: str = ""
    log_sha256_hex: str = ""
    skipped: int = 0


class Qualification(msgspec.Struct, frozen=True):
    """The whole: which label, mode and commit, each outcome, and the verdict."""

    label: str
    mode: Mode
    commit: str
    is_clean: bool
    stages: tuple[Outcome, ...] = ()
    rows: tuple[Outcome, ...] = ()

    @property
    def open(self) -> list[str]:
        """What stands between this and a pass, each with its name."""
        found = [] if self.is_clean else ["the checkout has changes that are not committed"]
        found += [f"{one.name}: {one.came.value}" for one in self.stages if one.came is not Came.PASSED]
        may_stay = {Came.PASSED, Came.NOT_RUN} if self.mode == "ci" else {Came.PASSED}
        return found + [f"{one.name}: {one.came.value}" for one in self.rows if one.came not in may_stay]


class Runner:
    """Runs what is left of a plan, and keeps the result after each.

    Args:
        qualification: what is there already, of this label and mode.
        out: the directory of results and logs.
        python: the interpreter that `{python}` stands for.
    """

    def __init__(self, qualification: Qualification, out: Path, python: str = sys.executable) -> None:
        self.qualification = qualification
        self._out = out
        self._python = python
        (out / "logs").mkdir(parents=True, exist_ok=True)

    def run(self, plan: Plan, only: Sequence[str] = ()) -> Qualification:
        """Run each stage and row that did not pass at this commit yet; `only` those of these names."""
        mode, was = (
            self.qualification.mode,
            {one.name: one for one in (*self.qualification.stages, *self.qualification.rows)},
        )
        stages, rows = [], []
        for stage in plan.stage:
            if command := stage.command(mode):
                needs = lacking(stage.needs, stage.variable)
                stages.append(self._settled(stage.name, self._filled(command, stage.variable), needs, was, only))
                self._keep(stages=tuple(stages))
        for row in plan.row:
            absent = (
                row.absent or lacking(row.needs) or ("" if self._probed(row.probe) else f"`{row.probe}` fails here")
            )
            kept = Outcome(row.name, Came.NOT_RUN, self.qualification.commit, row.command, absent)
            rows.append(kept if absent else self._settled(row.name, self._filled(row.command), "", was, only))
            self._keep(rows=tuple(rows))
        return self.qualification

    def _settled(self, name: str, command: str, needs: str, was: Mapping[str, Outcome], only: Sequence[str]) -> Outcome:
        earlier = was.get(name)
        if earlier is not None and (earlier.came, earlier.commit) == (Came.PASSED, self.qualification.commit):
            return earlier
        if only and name not in only:
            return earlier or Outcome(name, Came.NOT_RUN, self.qualification.commit, command, "left out of this run")
        if needs:
            return Outcome(name, Came.MISSING, self.qualification.commit, command, needs)
        return self._ran(name, command)

    def _ran(self, name: str, command: str) -> Outcome:
        log = self._out / "logs" / f"{re.sub(r'[^a-z0-9.]+', '-', name.lower())}.txt"
        say(f"{name}: {command}")
        began_at, began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.monotonic()
        with log.open("wb") as file:
            done = subprocess.run(
                command, shell=True, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": "tests"}, check=False,
            )  # fmt: skip
        seconds = round(time.monotonic() - began, 1)
        came = Came.PASSED if done.returncode == 0 else Came.FAILED
        say(f"{name}: {came.value} in {seconds:.0f} s")
        return Outcome(
            name=name,
            came=came,
            commit=self.qualification.commit,
            command=command,
            why="" if came is Came.PASSED else _last_words(log),
            began_at=began_at,
            seconds=seconds,
            exit_code=done.returncode,
            log=f"logs/{log.name}",
            log_sha256_hex=digest_of(log)[1],
            skipped=sum(map(int, _SKIPPED.findall(log.read_text(errors="replace")))),
        )

    def _filled(self, command: str, variable: str = "") -> str:
        given = os.environ.get(variable, "") if variable else ""
        for name, value in (("python", self._python), ("out", str(self._out)), ("variable", given)):
            command = command.replace(f"{{{name}}}", value)
        return command

    def _probed(self, probe: str) -> bool:
        if not probe:
            return True
        env = {**os.environ, "PYTHONPATH": "tests"}
        return (
            subprocess.run(
                self._filled(probe), shell=True, cwd=ROOT, env=env, capture_output=True, check=False
            ).returncode
            == 0
        )

    def _keep(self, **changed: tuple[Outcome, ...]) -> None:
        self.qualification = msgspec.structs.replace(self.qualification, **changed)
        write(self.qualification, self._out)


def lacking(programs: Sequence[str], variable: str = "") -> str:
    """What of these is not here, in words; empty where all is."""
    if variable and not os.environ.get(variable):
        return f"{variable} is not set"
    missing = [
        name for name in programs if (interpreter(name) if name.startswith("python") else shutil.which(name)) is None
    ]
    return f"not here: {', '.join(missing)}" if missing else ""


def write(qualification: Qualification, out: Path) -> None:
    """Write the result for programs and for people."""
    result = {**msgspec.to_builtins(qualification), "passed": not qualification.open, "open": qualification.open}
    (out / RESULT).write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    (out / PAGE).write_text(page_of(qualification))


def page_of(qualification: Qualification) -> str:
    """The page that a person reads before they say that this is released."""
    left = qualification.open
    verdict = styled("Qualified", "good strong") if not left else styled("Not qualified", "bad strong")
    how = {Came.PASSED: "good", Came.FAILED: "bad", Came.MISSING: "bad", Came.NOT_RUN: "warn"}

    def cells(one: Outcome) -> list[str]:
        log = "" if not one.log else f'<a href="{text(one.log)}">{text(Path(one.log).name)}</a>'
        took = "" if not one.log else f"{one.seconds:,.0f}"
        skipped = str(one.skipped) if one.skipped else ""
        return [
            text(one.name),
            styled(one.came.value, how[one.came]),
            took,
            skipped,
            code(one.command),
            text(one.why),
            log,
        ]

    head = ["what", "came to", ">seconds", ">skipped", "command", "why", "output"]
    parts = [
        f"<h1>{text(qualification.label)}: {verdict}</h1>",
        f"<p class=soft>mode {text(qualification.mode)}, commit {code(qualification.commit)}</p>",
        f"<p>{text(counted(len(left), 'thing'))} open.</p>" if left else "<p>Nothing is open.</p>",
        *(f"<p class=bad>{text(one)}</p>" for one in left),
        "<h2>Stages</h2>",
        table(head, map(cells, qualification.stages)),
        "<h2>Support matrix</h2><p class=soft>What did not run here is no promise.</p>",
        table(head, map(cells, qualification.rows)),
    ]
    return html_page.page(f"briefcase {qualification.label}", parts)


def read(out: Path, label: str, mode: Mode) -> Qualification:
    """What an earlier run left of this label and mode, at the commit that is checked out now."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    status = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    fresh = Qualification(label, mode, commit.strip(), is_clean=not status.stdout)
    try:
        kept = msgspec.json.decode((out / RESULT).read_bytes(), type=Qualification)
    except (FileNotFoundError, msgspec.DecodeError):
        return fresh
    if (kept.label, kept.mode) != (label, mode):
        return fresh
    return msgspec.structs.replace(fresh, stages=kept.stages, rows=kept.rows)


def say(line: str) -> None:
    """Tell whoever waits how far it is."""
    print(f"qualify: {line}", flush=True)


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("ci", "release"), required=True)
    parser.add_argument("--label", required=True, help="which release: v1.0.0")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "qualification", help="where results go")
    parser.add_argument("--only", nargs="+", default=(), help="only stages and rows of these names")
    parser.add_argument("--plan", type=Path, default=PLAN, help="another table")
    given = parser.parse_args()
    if LABEL.fullmatch(given.label) is None:
        parser.error(f"expected a label such as v1.0.0, got `{given.label}`")
    out = given.out.absolute() / given.label / given.mode
    out.mkdir(parents=True, exist_ok=True)
    plan = msgspec.convert(tomllib.loads(given.plan.read_text()), Plan)
    found = Runner(read(out, given.label, given.mode), out).run(plan, given.only)
    for line in found.open:
        say(f"open: {line}")
    say(f"{'qualified' if not found.open else 'not qualified'}: {out / PAGE}")
    sys.exit(1 if found.open else 0)


if __name__ == "__main__":
    main()
