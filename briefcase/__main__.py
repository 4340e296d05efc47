"""The programs `briefcase` and `briefcased`: refuse to run where another product owns the package, then start."""

import sys
from importlib.metadata import PackageNotFoundError, distribution


def check_only_briefcase() -> None:
    """Stop where BeeWare's Briefcase is installed too: both are imported as `briefcase` and overwrite each other."""
    try:
        other = distribution("briefcase")
    except PackageNotFoundError:
        return
    sys.exit(
        f"briefcase: BeeWare's `briefcase` {other.version} is installed in this environment and owns the same package"
        " name; install agentic-briefcase in an environment of its own, for example with `pipx install"
        " agentic-briefcase`"
    )


def main() -> None:
    """Run the command line."""
    check_only_briefcase()
    from briefcase.cli.main import main as run  # noqa: PLC0415 - not before the check

    run()


def main_daemon() -> None:
    """Run `briefcase daemon`: the same program under the name service managers know."""
    sys.argv.insert(1, "daemon")
    main()


if __name__ == "__main__":
    main()
