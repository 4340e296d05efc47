"""`strace`: whether it is here and may trace, for the tests that look at system calls or make them fail."""

import os
import shutil
import subprocess

import pytest


def can_inject() -> str:
    """Why faults cannot be injected here, or nothing."""
    if shutil.which("strace") is None:
        return "strace is not installed: no fault at a system call was tried"
    tried = subprocess.run(
        ["strace", "-qq", "-o", os.devnull, "-e", "inject=getpid:retval=1", "true"], capture_output=True, check=False
    )
    return "" if tried.returncode == 0 else f"strace cannot trace here: {tried.stderr.decode().strip()}"


PROBLEM = can_inject()
needs_strace = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM)
