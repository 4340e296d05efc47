"""Make a release: `make release`. Everything is in `dist/` afterwards, signed, and was installed and used.

    run_release.py [--out dist] [--qualification DIR] [PYTHON...]

 1. the commit, exported; a tree with changes that are not committed is no release
 2. the sdist, and from it the SBOM and one wheel for each interpreter (`build_files.py`)
 3. each wheel installed without a network or a compiler, until a first call was approved
 4. the manifest and the signed provenance, which `briefcase release verify` then holds the files to

The key is the Ed25519 key in PEM (PKCS 8) that BRIEFCASE_RELEASE_KEY_FILE names. Without one, a key is made for this
release alone and the manifest says `unpinned`: it shows that nothing changed since, and vouches for nobody.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT)]

import msgspec  # noqa: E402
from build_files import build, run  # noqa: E402
from cryptography.exceptions import UnsupportedAlgorithm  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402
from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: E402
from trying import Tried, try_wheel  # noqa: E402

from briefcase.adapters.disk.files import digest_of, read_private  # noqa: E402
from briefcase.core.jose.did import encode_did_key  # noqa: E402
from briefcase.edges.release.statement import (  # noqa: E402
    MANIFEST,
    PROVENANCE,
    Artifact,
    Kind,
    Manifest,
    Signing,
    sign,
)
from briefcase.edges.release.verifying import verify_release  # noqa: E402
from briefcase.model.errors import BriefcaseError  # noqa: E402

KEY_VARIABLE: Final = "BRIEFCASE_RELEASE_KEY_FILE"
INTERPRETERS: Final = ("python3.11", "python3.12", "python3.13", "python3.14")
KINDS: Final = {
    ".tar.gz": Kind.SDIST,
    ".whl": Kind.WHEEL,
    ".cdx.json": Kind.SBOM,
    ".txt": Kind.LOCK,
    "qualification.json": Kind.EVIDENCE,
    "qualification.html": Kind.EVIDENCE,
}


class Commit(NamedTuple):
    """What is released: the commit and its time, seconds since 1970."""

    hex: str
    epoch: int


def committed() -> Commit:
    """The commit that is checked out, and nothing beside it."""
    if changed := run("git", "status", "--porcelain", cwd=ROOT):
        sys.exit(f"release: not committed: {', '.join(changed.split()[1::2][:5])}; commit it, or put it away")
    commit, epoch = run("git", "log", "-1", "--format=%H %ct", cwd=ROOT).split()
    return Commit(commit, int(epoch))


def interpreters() -> list[str]:
    """Those at hand, each version once."""
    return [path for name in INTERPRETERS if (path := interpreter(name)) is not None]


def interpreter(name: str) -> str | None:
    """One by its name, on the path or of pyenv, that runs; a shim of a version that is not chosen does not."""
    of_pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = [shutil.which(name), *map(str, sorted(of_pyenv.glob(f"*/bin/{name}")))]
    return next(filter(runs, places), None)


def runs(python: str | None) -> bool:
    """Whether a path is that of an interpreter which makes environments."""
    return (
        python is not None
        and subprocess.run([python, "-c", "import venv"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    )


def release_key() -> tuple[Ed25519PrivateKey, Signing]:
    """The key that signs, and whether it is one that lasts."""
    named = os.environ.get(KEY_VARIABLE)
    if named is None:
        return Ed25519PrivateKey.generate(), Signing.UNPINNED
    try:
        data = read_private(Path(named))
        if data is None:
            sys.exit(f"release: {KEY_VARIABLE}: no file `{named}`")
        key = load_pem_private_key(data, None)
    except (BriefcaseError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        sys.exit(f"release: {KEY_VARIABLE}: expected an unencrypted Ed25519 key in PEM, mode 0600: {error}")
    if not isinstance(key, Ed25519PrivateKey):
        sys.exit(f"release: {KEY_VARIABLE}: expected an Ed25519 key, got another kind")
    return key, Signing.PINNED


def tools_of(lock: Path) -> dict[str, str]:
    """What a lock pins, by name."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ \\]+)", lock.read_text(), re.MULTILINE))


def attest(out: Path, commit: Commit, tried: dict[str, str]) -> str:
    """Write the manifest and the signed provenance over all that is in `out`; gives the signer's `did:key`."""
    artifacts = []
    for path in sorted(out.iterdir()):
        kind = next(kind for ending, kind in KINDS.items() if path.name.endswith(ending))
        size, digest = digest_of(path)
        artifacts.append(Artifact(path.name, kind, size, digest))
    key, signing = release_key()
    (sdist,) = (artifact.name for artifact in artifacts if artifact.kind is Kind.SDIST)
    compiler = run(os.environ.get("CC", "cc"), "--version").splitlines()[0]
    manifest = Manifest(
        product="agentic-briefcase",
        version=sdist.removesuffix(".tar.gz").rpartition("-")[2],
        commit=commit.hex,
        source_date_epoch=commit.epoch,
        signing=signing,
        tools=tools_of(ROOT / "docs" / "release" / "build.txt"),
        compiler=compiler,
        tried_on=tried,
        artifacts=tuple(artifacts),
    )
    (out / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest, order="deterministic")) + b"\n")
    digests = {path.name: digest_of(path)[1] for path in out.iterdir()}
    did = encode_did_key(key.public_key().public_bytes_raw())
    (out / PROVENANCE).write_bytes(sign(manifest, digests, did, key.sign))
    return did


def take_evidence(qualification: Path, out: Path, commit: Commit) -> None:
    """Copy what a qualification came to, passed or not; it must be of this very commit."""
    result = json.loads((qualification / "qualification.json").read_bytes())
    if result["commit"] != commit.hex:
        sys.exit(f"release: `{qualification}` is of commit {result['commit'][:12]}, not of this one: `make qualify`")
    for name in ("qualification.json", "qualification.html"):
        shutil.copyfile(qualification / name, out / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="a new or empty directory")
    parser.add_argument("--qualification", type=Path, help="what `make qualify` left, to be signed with it")
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="interpreters; those at hand, if none is named")
    given = parser.parse_args()
    if given.out.exists() and any(given.out.iterdir()):
        sys.exit(f"release: `{given.out}` is not empty: move the earlier release away")
    commit, pythons = committed(), given.pythons or interpreters()
    release_key()  # a wrong one is said now
    with tempfile.TemporaryDirectory(prefix="release-") as top:
        work = Path(top)
        run("git", "archive", "--format=tar", "--output", work / "source.tar", commit.hex, cwd=ROOT)
        print(f"release: {commit.hex[:12]}, for {len(pythons)} interpreters")
        build(work / "source.tar", commit.epoch, work, work / "out", pythons)
        tried: dict[str, str] = {}
        for number, python in enumerate(pythons):
            one = try_wheel(python, work / "out", work / f"try-{number}")
            tried[f"cp{''.join(one.version.split('.')[:2])}"] = one.version
            print(said_of(one))
        if given.qualification is not None:
            take_evidence(given.qualification, work / "out", commit)
        did = attest(work / "out", commit, tried)
        given.out.mkdir(parents=True, exist_ok=True)
        for path in (work / "out").iterdir():
            shutil.copy2(path, given.out / path.name)
    verified = verify_release(given.out, did)
    print(f"release: {given.out}: {len(verified.manifest.artifacts) + 2} files, signed by {did}")
    if verified.manifest.signing is Signing.UNPINNED:
        print(f"release: the key was made for this release alone; {KEY_VARIABLE} names one that lasts")


def said_of(tried: Tried) -> str:
    """One line of what an interpreter came to."""
    mib = tried.installed_bytes / (1 << 20)
    return (
        f"release: CPython {tried.version}: installed in {tried.install_s:.1f} s without network or compiler"
        f" ({mib:.0f} MiB with its libraries); a first call approved and made {tried.first_yes_s:.1f} s after the start"
    )


if __name__ == "__main__":
    main()
