"""Build the Cython extensions of `_native`; everything else is declared in pyproject.toml."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

SANITIZE = os.environ.get("BRIEFCASE_BUILD_SANITIZE") == "1"
ANNOTATE = os.environ.get("BRIEFCASE_BUILD_ANNOTATE") == "1"


def check_compiler() -> None:
    """Stop with one clear line where no C compiler is installed."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if os.name == "posix" and shutil.which(compiler) is None:
        sys.exit(
            f"briefcase: no C compiler found (`{compiler}`); install one"
            " (Debian: apt-get install gcc python3-dev, macOS: xcode-select --install) and run this again"
        )


def extensions() -> list[Extension]:
    """One extension module for each `.pyx` file in `_native`."""
    sanitizer = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-O1", "-g"] if SANITIZE else []
    flags = [] if os.name == "nt" else ["-O3", "-Wno-unused-function", *sanitizer]
    return [
        Extension(
            f"briefcase._native.{path.stem}", [path.as_posix()], extra_compile_args=flags, extra_link_args=sanitizer
        )
        for path in sorted(Path("_native").glob("*.pyx"))
    ]


check_compiler()
setup(
    packages=[*find_packages(include=["briefcase", "briefcase.*"]), "briefcase._native"],
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython",
        annotate=ANNOTATE,
        compiler_directives={"language_level": 3, "embedsignature": True},
    ),
)
