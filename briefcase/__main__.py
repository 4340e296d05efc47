"""The programs `briefcase` and `briefcased`: refuse to run where another product owns the package, then start."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from briefcase.model.configuration import Configuration


class Root:
    """What only the composition root can do, for the command line (`cli.app.Root`); imports late to start fast."""

    def serve(self, environ: MutableMapping[str, str], on_ready: Callable[[], None] | None = None) -> None:
        """Run the daemon in this process until it is told to stop."""
        from briefcase.daemon.run import serve

        serve(environ, on_ready)

    def configuration(self, environ: Mapping[str, str]) -> Configuration:
        """Every setting of an environment, with where its value came from."""
        from briefcase.daemon.configuration import configuration

        return configuration(environ)


def check_only_briefcase() -> None:
    """Stop where BeeWare's Briefcase is installed too: both are imported as `briefcase` and overwrite each other."""
    if not any(map(_may_describe_briefcase, sys.path)):
        return
    from importlib.metadata import PackageNotFoundError, distribution  # 15 ms, which most starts can do without

    try:
        other = distribution("briefcase")
    except PackageNotFoundError:
        return
    sys.exit(
        f"briefcase: BeeWare's `briefcase` {other.version} is installed in this environment and owns the same package"
        " name; install agentic-briefcase in an environment of its own, for example with `pipx install"
        " agentic-briefcase`"
    )


def _may_describe_briefcase(place: str) -> bool:
    """Whether the metadata of a distribution called `briefcase` may be in an entry of `sys.path`."""
    try:
        with os.scandir(place or ".") as entries:
            return any(entry.name.lower().startswith(("briefcase-", "briefcase.")) for entry in entries)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # an archive, or a directory that only `importlib.metadata` knows how to read


def main() -> int:
    """Run the command line; gives its exit code."""
    if sys.argv[1:2] == ["hook"] and "--help" not in sys.argv:
        return _hook()
    check_only_briefcase()
    from briefcase.edges.cli.main import main as run  # not before the check

    return run(Root())


def _hook() -> int:
    """Run `briefcase hook`, which a coding agent starts before each call: without click, and closed by any fault."""
    try:
        from briefcase.edges.hook.main import run as run_hook
    except BaseException as error:  # noqa: BLE001 - exit 1 would let the call go on
        os.write(2, f"briefcase: the hook cannot be loaded ({error}). The call is blocked.\n".encode())
        os._exit(2)
    return run_hook(sys.argv[2:], os.environ)


def main_daemon() -> int:
    """Run `briefcase daemon`: the same program under the name service managers know."""
    sys.argv.insert(1, "daemon")
    return main()


if __name__ == "__main__":
    sys.exit(main())
