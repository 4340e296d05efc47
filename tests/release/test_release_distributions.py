"""Archives say nothing of who wrote them and when, and a wheel with its SBOM is a wheel that pip takes."""

import base64
import hashlib
import os
import sys
import tarfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from distributions import settle_sdist, settle_wheel

EPOCH = 1_700_000_000
INFO = "agentic_briefcase-1.0.0.dist-info"


def sdist(path, names, *, mode, mtime):
    for name in names:
        file = path.parent / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        file.chmod(mode)
        os.utime(file, (mtime, mtime))
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.add(path.parent / "tree" / name, f"briefcase-1/{name}")
    settle_sdist(path, EPOCH)
    return path.read_bytes()


def test_an_sdist_is_the_same_whenever_and_in_whatever_order_it_was_packed(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    first = sdist(one / "x.tar.gz", ["a", "b/c"], mode=0o644, mtime=1_600_000_000)
    assert first == sdist(other / "x.tar.gz", ["b/c", "a"], mode=0o600, mtime=1_650_000_000)
    with tarfile.open(one / "x.tar.gz") as archive:
        for member in archive:
            assert (member.uid, member.uname, member.mtime, member.mode) == (0, "", EPOCH, 0o644)


def wheel(path, names, mode):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo(name, (2020 + len(names[0]) % 5, 1, 1, 0, 0, 0))
            info.external_attr = (0o100000 | mode) << 16
            archive.writestr(info, "old" if name.endswith("RECORD") else name)
    settle_wheel(path, EPOCH, b"sbom")
    return path.read_bytes()


def test_a_wheel_is_the_same_under_any_umask_and_its_record_lists_each_file_with_its_sbom(tmp_path):
    names = ["briefcase/__init__.py", f"{INFO}/METADATA", f"{INFO}/RECORD", "briefcase/a.so"]
    first = wheel(tmp_path / "one.whl", names, 0o644)
    assert first == wheel(tmp_path / "other.whl", names[::-1], 0o600)
    with zipfile.ZipFile(tmp_path / "one.whl") as archive:
        assert archive.read(f"{INFO}/sboms/agentic-briefcase.cdx.json") == b"sbom"
        lines = [line.split(",") for line in archive.read(f"{INFO}/RECORD").decode().splitlines()]
        assert sorted(name for name, *_ in lines) == sorted(archive.namelist())
        for name, digest, size in lines[:-1]:
            data = archive.read(name)
            said = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={said}", len(data)), name
        assert archive.infolist()[-1].filename.startswith(INFO)  # what the format asks for
