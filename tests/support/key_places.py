"""A token of SoftHSM and a TPM of swtpm, each in a directory of its own; a test that finds neither is skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from support.waiting import wait_until

PIN: Final = "4711-of-the-tests"
LABEL: Final = "briefcase-test"
MODULES: Final = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/softhsm/libsofthsm2.so"),
)


def softhsm_module() -> Path:
    """The library of SoftHSM, or a reason to skip."""
    pytest.importorskip("pkcs11", reason="the extra `pkcs11` is not installed")
    found = next((path for path in MODULES if path.exists()), None)
    if found is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed (Debian: softhsm2)")
    return found


def make_token(directory: Path, label: str = LABEL) -> Path:
    """A new token in a directory of tokens; gives the configuration that names it."""
    tokens = directory / "tokens"
    tokens.mkdir(exist_ok=True)
    configuration = directory / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "so-pin-1", "--pin", PIN]
    environ = {"PATH": os.environ["PATH"], "SOFTHSM2_CONF": str(configuration)}
    subprocess.run(command, env=environ, check=True, capture_output=True)
    return configuration


def check_swtpm() -> None:
    """Skip, with a reason, where there is no TPM to be had."""
    pytest.importorskip("tpm2_pytss", reason="the extra `tpm` is not installed")
    if shutil.which("swtpm") is None:
        pytest.skip("swtpm is not installed (Debian: swtpm)")


@contextmanager
def running_tpm(directory: Path) -> Iterator[str]:
    """A TPM, until the block ends; gives how it is reached. Its state stays in the directory."""
    directory.mkdir(exist_ok=True)
    sock = directory / "tpm"
    command = [
        *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={directory}", "--flags", "not-need-init,startup-clear"),
        *("--server", f"type=unixio,path={sock}", "--ctrl", f"type=unixio,path={sock}.ctrl"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(sock.exists, lambda: "swtpm did not start")
            yield f"swtpm:path={sock}"
        finally:
            process.terminate()
    sock.unlink(missing_ok=True)
