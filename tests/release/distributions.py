"""Distributions as the same bytes wherever they are made: an sdist and a wheel with nothing of who built them.

An archive says of each file when, by whom and under which umask it was written, and in which order. Here the commit's
time stands for every time, the owner is nobody, a mode is one of two, and names are sorted; a wheel is given its SBOM
(PEP 770) and a `RECORD` that lists it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import time
import zipfile
from pathlib import Path

from briefcase.edges.release.statement import SBOM_IN_WHEEL


def settle_sdist(path: Path, epoch: int) -> None:
    """Write an sdist again, the same for everybody who makes it from this commit."""
    with tarfile.open(path) as made:
        members = sorted(made.getmembers(), key=lambda member: member.name)
        contents = {member.name: file.read() for member in members if (file := made.extractfile(member)) is not None}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            settled = tarfile.TarInfo(member.name)
            settled.type, settled.size, settled.linkname = member.type, member.size, member.linkname
            settled.mtime, settled.mode = epoch, 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            archive.addfile(settled, io.BytesIO(contents[member.name]) if member.name in contents else None)
    with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=epoch) as packed:
        packed.write(buffer.getvalue())


def settle_wheel(path: Path, epoch: int, sbom: bytes) -> None:
    """Write a wheel again with its SBOM, the same for everybody who makes it from this sdist."""
    with zipfile.ZipFile(path) as made:
        contents = {
            info.filename: (made.read(info), info.external_attr >> 16 & 0o100)
            for info in made.infolist()
            if not info.is_dir()
        }
    (record,) = (name for name in contents if name.endswith(".dist-info/RECORD"))
    contents[record.removesuffix("RECORD") + SBOM_IN_WHEEL] = (sbom, 0)
    del contents[record]
    lines = [f"{name},sha256={_digest(data)},{len(data)}\n" for name, (data, _) in sorted(contents.items())]
    contents[record] = ("".join([*lines, f"{record},,\n"]).encode(), 0)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, (data, is_program) in sorted(contents.items(), key=lambda item: (".dist-info/" in item[0], item[0])):
            info = zipfile.ZipInfo(name, time.gmtime(epoch)[:6])
            info.external_attr = (0o100755 if is_program else 0o100644) << 16
            info.create_system = 3  # Unix: the one whose modes these are
            archive.writestr(info, data, zipfile.ZIP_DEFLATED, 9)


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
