"""What every command is given: the environment, the daemon's client, the screen.

The command line may not import the composition root (imports point one way), so `__main__` hands it in as a `Root`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import click

from briefcase.edges.cli.late import (
    daemon_client,
    data_dirs,
    device_signing,
    expected_daemons,
    json_output,
    logs,
    own_files,
    render,
    system,
)
from briefcase.edges.cli.messages import note
from briefcase.model.errors import CallerError
from briefcase.model.identifiers import ARGUMENT

if TYPE_CHECKING:
    from briefcase.adapters.telemetry.logger import Processor
    from briefcase.model.configuration import Configuration
    from briefcase.model.types import JsonValue

ANSWER_TIMEOUT_S: Final = 30.0

_NAME: Final = re.compile(ARGUMENT)
_F = TypeVar("_F", bound=Callable[..., Any])


class Root(Protocol):
    """What only the composition root can do."""

    def serve(self, environ: MutableMapping[str, str], on_ready: Callable[[], None] | None = None) -> None:
        """Run the daemon in this process until it is told to stop.

        Args:
            environ: this process's variables, which it reads its settings from.
            on_ready: called once, when calls can be served.

        Raises:
            BriefcaseError: it could not start; the message names what was expected.
        """
        ...

    def configuration(self, environ: Mapping[str, str]) -> Configuration:
        """Every setting of an environment, with where its value came from; nothing secret is in it.

        Raises:
            ConfigError: the data directory's own variable is not as expected.
        """
        ...


class App:
    """One run of the command line.

    Args:
        root: the composition root.
        environ: the environment's variables.
    """

    def __init__(self, root: Root, environ: MutableMapping[str, str]) -> None:
        self.root = root
        self.environ = environ
        self.debug = False
        self.sign_with: Path | None = None  # the key of a paired device, where changes are to be signed
        self.serves = False  # whether this is a server, whose errors are lines of its log

    @cached_property
    def data_dir(self) -> Path:
        """The data directory of this environment."""
        return data_dirs.data_dir_of(self.environ)

    @cached_property
    def socket_path(self) -> Path:
        """Where a daemon of this environment listens."""
        return data_dirs.socket_path_of(self.environ)

    @cached_property
    def screen(self) -> render.Screen:
        """Where results are written; loads the table writer, so a command asks for it late."""
        return render.Screen()

    @staticmethod
    def json(value: JsonValue) -> None:
        """Write one JSON value: indented on a terminal, on one line for programs."""
        json_output.write_json(value)

    def client(
        self, timeout_s: float = ANSWER_TIMEOUT_S, token: Callable[[], str] | None = None
    ) -> daemon_client.Client:
        """A client of the daemon this environment names; one answer may take so many seconds.

        Args:
            timeout_s: of one answer.
            token: gives the bearer token; else it is this environment's.
        """
        address = daemon_client.address_of(self.environ, lambda: self.socket_path)
        return daemon_client.Client(
            address,
            lambda: expected_daemons.expected_daemon(self.environ, lambda: self.data_dir),
            token or (lambda: daemon_client.token_of(self.environ, lambda: self.data_dir)),
            timeout_s=timeout_s,
            sign=None if self.sign_with is None else device_signing.signing(self.sign_with),
        )

    def begin_log(self, program: str, export: Processor | None = None) -> None:
        """Begin the log of a server, and outlive hangups from here on.

        Raises:
            ConfigError: the log's file cannot be opened.
        """
        self.serves = True
        system.outlive_hangups()
        logs.configure_logs(export=export, path=data_dirs.named_path(self.environ, logs.LOG_FILE))
        logs.LOG.say_start(program)

    @staticmethod
    def announce(url: str, next_step: str) -> None:
        """Say where a server is: a line of its log, or one for the person who started it on a terminal."""
        if logs.LOG.is_for_people:
            note(f"serving at {url}; next: {next_step}")
        else:
            logs.LOG.say("ready", url=url)

    def check_outside(self, path: Path) -> None:
        """Check that a new file would not lie in the data directory.

        Raises:
            CallerError: it would, by whatever path; what the daemon keeps there is never written by a command.
        """
        parent = path.absolute().parent
        if parent.is_dir() and own_files.OwnFiles(self.data_dir).holds_directory(parent):
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
