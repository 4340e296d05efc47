"""Build the Cython extensions of `_native`; everything else is declared in pyproject.toml."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_py import build_py

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


def declarations() -> str:
    """Lay out the `.pxd` files under their package's name, which is where Cython looks for them.

    Returns:
        The directory to search, relative to this file.
    """
    package = Path("build/include/briefcase")
    (package / "_native").mkdir(parents=True, exist_ok=True)
    for source in [Path("_native/__init__.py"), *Path("_native").glob("*.pxd")]:
        shutil.copy2(source, package / "_native" / source.name)
    shutil.copy2("_native/__init__.py", package / "__init__.py")
    return package.parent.as_posix()


class WithPages(build_py):
    """Copies the pages of `docs/` into the package, where `briefcase help` finds them."""

    def run(self) -> None:
        """Build as ever; an editable installation reads `docs/` itself."""
        super().run()
        if self.editable_mode:
            return
        pages = Path(self.build_lib) / "briefcase" / "pages"
        shutil.rmtree(pages, ignore_errors=True)
        shutil.copytree("docs", pages, ignore=shutil.ignore_patterns("adr", "release", "*.py", "__pycache__", "*.svg"))


check_compiler()
setup(
    cmdclass={"build_py": WithPages},
    packages=[*find_packages(include=["briefcase", "briefcase.*"]), "briefcase._native"],
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython",
        include_path=[declarations()],
        annotate=ANNOTATE,
        compiler_directives={"language_level": 3, "embedsignature": True},
    ),
)
