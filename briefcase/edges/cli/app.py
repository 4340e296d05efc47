"""What every command is given: the environment, the daemon's client, the screen.

The command line may not import the composition root (imports point one way), so `__main__` hands it in as a `Root`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import click

from briefcase.model.errors import CallerError

if TYPE_CHECKING:
    from briefcase.edges.cli.client import Client
    from briefcase.edges.cli.render import Screen

ANSWER_TIMEOUT_S: Final = 30.0

_NAME: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._][A-Za-z0-9._:@-]{0,127}")
_F = TypeVar("_F", bound=Callable[..., Any])


class Root(Protocol):
    """What only the composition root can do."""

    def serve(self, environ: Mapping[str, str], on_ready: Callable[[], None] | None = None) -> None:
        """Run the daemon in this process until it is told to stop.

        Args:
            environ: the variables it reads its settings from.
            on_ready: called once, when calls can be served.

        Raises:
            BriefcaseError: it could not start; the message names what was expected.
        """
        ...


class App:
    """One run of the command line.

    Args:
        root: the composition root.
        environ: the environment's variables.
    """

    def __init__(self, root: Root, environ: Mapping[str, str]) -> None:
        self.root = root
        self.environ = environ
        self.debug = False

    @cached_property
    def data_dir(self) -> Path:
        """The data directory of this environment."""
        from briefcase.adapters.disk.data_dir import data_dir_of  # noqa: PLC0415 - not for `--help`

        return data_dir_of(self.environ)

    @cached_property
    def socket_path(self) -> Path:
        """Where a daemon of this environment listens."""
        from briefcase.adapters.disk.data_dir import socket_path_of  # noqa: PLC0415 - as above

        return socket_path_of(self.environ)

    @cached_property
    def screen(self) -> Screen:
        """Where results are written; loads the table writer, so a command asks for it late."""
        from briefcase.edges.cli.render import Screen  # noqa: PLC0415 - `--version` and `--help` need no table writer

        return Screen()

    def client(self, timeout_s: float = ANSWER_TIMEOUT_S) -> Client:
        """A client of the daemon this environment names; one answer may take so many seconds."""
        from briefcase.edges.cli.client import Client, address_of, token_of  # noqa: PLC0415 - as above
        from briefcase.edges.client.expected import expected_daemon  # noqa: PLC0415 - as above

        address = address_of(self.environ, lambda: self.socket_path)
        return Client(
            address,
            lambda: expected_daemon(self.environ, lambda: self.data_dir),
            lambda: token_of(self.environ, lambda: self.data_dir),
            timeout_s=timeout_s,
        )

    def check_outside(self, path: Path) -> None:
        """Check that a new file would not lie in the data directory.

        Raises:
            CallerError: it would, by whatever path; what the daemon keeps there is never written by a command.
        """
        from briefcase.adapters.disk.own_files import OwnFiles  # noqa: PLC0415 - not for `--help`

        parent = path.absolute().parent
        if parent.is_dir() and OwnFiles(self.data_dir).holds_directory(parent):
            raise CallerError(f"`{path}` is in the data directory `{self.data_dir}`", hint="choose another place")


pass_app = click.make_pass_decorator(App)


def check_name(_ctx: click.Context, _param: click.Parameter, name: str) -> str:
    """Check that an argument can name a thing of the daemon's; which names a noun allows is the daemon's to say.

    Raises:
        CallerError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise CallerError(f"expected a name of letters, digits and `. _ : @ -`, got `{name}`")
    return name


def json_option(command: _F) -> _F:
    """Add `--json`: results for programs on standard output, errors as JSON on standard error."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")(command)
