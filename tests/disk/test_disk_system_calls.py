"""The order of system calls that `disk` writes into its docstrings is the one that `strace` shows."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from briefcase.adapters.disk import files, locks
from support.strace import needs_strace

PACKAGE = Path(__file__).parent.parent.parent / "briefcase"
TRACED = "openat,fchmod,write,fsync,fdatasync,rename,link,unlink,flock,ftruncate,pwrite64"
CHILD = """
import os, sys
from pathlib import Path
from briefcase.adapters.disk.files import open_private, read_private, write_new, write_whole
from briefcase.adapters.disk.locks import locked, take_lock
top = Path(sys.argv[1])
def put(opened):
    with opened as file:
        file.write(b"value")
def hold(opened):
    with opened:
        pass
put(write_new(top / "first"))
os.umask(int(sys.argv[2], 8))
os.unlink(top / "begin")
path = top / sys.argv[3]
eval(sys.argv[4], {**globals()})
os.unlink(top / "end")
"""
CALL = re.compile(r"(?:\d\. +)?([a-z0-9]+)\(([^)]*)\)")


def promised(module, heading: str) -> list[str]:
    """The calls below a heading of a docstring, as `name(arguments)`."""
    lines = module.__doc__.splitlines()
    at = next(at for at, line in enumerate(lines) if line.strip().startswith(heading))
    found = [lines[at].strip().removeprefix(heading).strip()] if module is locks else []
    for line in lines[at + 1 :]:
        if not line.strip():
            break
        found.append(line.strip())
    return [f"{call[1]}({call[2]})" for line in found if (call := CALL.match(line))]


def seen(top: Path, expression: str, name: str, umask: str = "022") -> list[str]:
    """What a process does on the disk while it evaluates an expression of `path`, in the docstrings' words."""
    for marker in ("begin", "end"):
        (top / marker).touch()
    trace = top.parent / "trace"
    command = ["strace", "-f", "-y", "-qq", "-o", str(trace), "-e", f"trace={TRACED}"]
    done = subprocess.run(
        [*command, sys.executable, "-c", CHILD, str(top), umask, name, expression], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    text = trace.read_text().partition('/begin"')[2].partition('/end"')[0]
    calls = [line.split(maxsplit=1)[1] for line in text.splitlines()[1:-1] if str(top) in line]
    return [as_written(call, top, name) for call in calls]


def as_written(call: str, top: Path, name: str) -> str:
    """`openat(AT_FDCWD</>, "/top/x.new", FLAGS, 0600) = 3</top/x.new>` as `openat(PATH.new, FLAGS, 0600)`."""
    verb, _, rest = call.partition("(")
    rest = rest.rpartition(") = ")[0] or rest.partition(")")[0]
    rest = re.sub(r"AT_FDCWD(<[^>]*>)?, ", "", rest)
    rest = re.sub(r"\d+<([^>]*)>", r"\1", rest).replace('"', "")
    rest = rest.replace(f"{top}/{name}", "PATH").replace(str(top), "DIRECTORY")
    first, *others = rest.split(", ")
    if verb in {"write", "pwrite64"}:
        others = []
    return f"{verb}({', '.join([first, *others])})"


def like(calls: list[str]) -> list[str]:
    """With the flags of each call in one order, whatever `strace` prints first."""
    return [
        re.sub(r"O_[A-Z_|]+", lambda flags: "|".join(sorted(set(flags[0].split("|")) - {"O_LARGEFILE"})), call)
        for call in calls
    ]


@needs_strace
@pytest.mark.parametrize(
    ("heading", "expression"),
    [
        ("write_new(PATH)", "put(write_new(path))"),
        ("read_private(PATH)", "read_private(path.with_name('first'))"),
        ("open_private(PATH)", "open_private(path)"),
    ],
)
def test_each_order_of_system_calls_in_the_docstring_is_the_one_that_is_made(tmp_path, heading, expression):
    top = tmp_path / "top"
    top.mkdir()
    name = "first" if "first" in expression else "x"
    assert like(seen(top, expression, name)) == like(promised(files, heading))


@needs_strace
@pytest.mark.parametrize("umask", ["022", "777"])
def test_a_whole_file_is_written_in_the_promised_order_whatever_the_umask(tmp_path, umask):
    top = tmp_path / "top"
    top.mkdir()
    calls = seen(top, "put(write_whole(path))", "x", umask)
    expected = promised(files, "write_whole(PATH)")
    assert len(expected) == 7
    if umask == "777":
        expected.insert(2, "fchmod(PATH.new, 0600)")
    assert like(calls) == like(expected)


@needs_strace
def test_a_file_that_replaces_nothing_is_linked_to_its_name_instead_of_renamed(tmp_path):
    top = tmp_path / "top"
    top.mkdir()
    expected = promised(files, "write_whole(PATH)")
    expected[4:5] = promised(files, "write_whole(PATH, replaces=False)")
    assert like(seen(top, "put(write_whole(path, replaces=False))", "x")) == like(expected)


@needs_strace
@pytest.mark.parametrize(
    ("heading", "expression"), [("locked(LOCK)", "hold(locked(path))"), ("take_lock(LOCK)", "take_lock(path)")]
)
def test_a_lock_is_taken_by_the_calls_in_the_docstring(tmp_path, heading, expression):
    top = tmp_path / "top"
    top.mkdir()
    calls = [call.replace("PATH", "LOCK") for call in seen(top, expression, "x")]
    assert like(calls) == like(promised(locks, heading))


# --- the one home -----------------------------------------------------------------------------------------------------

OF_MODULES = {
    "os": {"fsync", "fdatasync", "rename", "replace", "link", "fchmod", "truncate", "O_CREAT", "O_EXCL", "O_TRUNC"},
    "fcntl": {"flock", "lockf"},
}
OF_PATHS = {"write_bytes", "write_text", "rename", "hardlink_to", "touch"}
ELSEWHERE = {
    "adapters/backup/restore.py": {"rename"},  # a directory, once all in it is synced
    "edges/control_plane/embedded.py": {"rename"},  # a cluster's directory, which `initdb` has synced
    "edges/cli/conformance.py": {"write_bytes"},  # a report, to wherever it is wanted: a pipe too
    "edges/http/sockets.py": {"fchmod"},  # a socket's inode, before it is bound
    "adapters/ledger/archive.py": {"rename"},  # a segment of another history, set aside
    "edges/provider_gateway/facts.py": {"fdatasync"},  # its log is appended to, and synced where a fact was promised
}


def disk_calls_of(path: Path) -> set[str]:
    """What a module does to the disk by itself: calls of `os`, `fcntl` and paths that make, sync, rename or lock."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            of = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in OF_MODULES.get(of, OF_PATHS):
                found.add(node.attr)
    return found


def test_no_module_outside_of_disk_syncs_renames_locks_or_creates_a_file_by_itself():
    found = {str(path.relative_to(PACKAGE)): disk_calls_of(path) for path in PACKAGE.rglob("*.py")}
    others = {name: calls for name, calls in found.items() if calls and not name.startswith("adapters/disk/")}
    assert others == ELSEWHERE
