"""`briefcase signer`: the reference device. It holds a key of its own, shows whole calls, and signs what it showed.

It needs no token and reads nothing of the daemon's: run it as another user, or on another host over a forwarded port or
socket. Both digests that it signs are computed here, from the document that is printed; where the daemon names others,
or is another daemon than the one it was paired with, nothing is signed.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import uuid
from pathlib import Path
from typing import Final, NamedTuple

import click
import orjson

from briefcase.core.jose.base64url import JoseError, decode_base64url, encode_base64url
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.operator.binding import binding_hex_of
from briefcase.core.signers.texts import Signed, list_text, ruling_text
from briefcase.core.wire.approvals import Approved, Denied, ShownApproval
from briefcase.core.wire.fields import given
from briefcase.core.wire.reading import read_answer
from briefcase.core.wire.signers import PairingCompleted, SignerApprovals
from briefcase.edges.cli.app import ANSWER_TIMEOUT_S, App, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.late import (
    daemon_client,
    expected_daemons,
    render,
    shown_calls,
    signer_devices,
    signer_noise,
    system,
)
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.secrets import read_secret
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import CallerError
from briefcase.model.types import ApprovalStatus, JsonObject, format_rfc3339

MIN_PREFIX_CHARS: Final = 8
UUID_CHARS: Final = 36
key_option = click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("~/.config/briefcase/signer.json"),
    show_default=True,
    help="This device's key file.",
)


@click.group(cls=LazyGroup, epilog=example("briefcase signer list", "briefcase signer approve 3f9a12bc"))
def signer() -> None:
    """Be a paired device: see what waits, and sign a yes or a no."""


@signer.command("init", epilog=example("briefcase signer init"))
@key_option
def init(*, key: Path) -> None:
    """Make this device's key, in a file of its own."""
    device = signer_devices.make_device(key.expanduser())
    click.echo(hashlib.sha256(device.public_key).hexdigest())
    note(f"the key is in `{key}`; pair it: `briefcase signers pair` at the daemon, `briefcase signer pair` here")


@signer.command("pair", epilog=example("briefcase signer pair --name laptop"))
@key_option
@click.option("--name", default="", help="What the device is called in lists and receipts.")
@click.option("--address", metavar="URL", help="Reach the daemon here, not where the pairing says.")
@json_option
@pass_app
def pair(app: App, *, key: Path, name: str, address: str | None, as_json: bool) -> None:
    """Pair this device with a daemon.

    Reads the line that `briefcase signers pair` printed from standard input, or asks for it. Another user than the
    daemon's sets BRIEFCASE_AGENT_SOCKET to the agents' socket, and BRIEFCASE_DAEMON_UID to the daemon's uid.
    """
    path = key.expanduser()
    device = signer_devices.load_device(path)
    try:
        line = parse_json(read_secret("line of the pairing", is_new=False).encode())
    except CallerError:
        line = None  # something else was pasted
    given_line = line if isinstance(line, dict) else {}
    fields = [given_line.get(one, "") for one in ("base_url", "pairing_id", "pairing_code", "device_did")]
    base_url, pairing_id, code, did = (one if isinstance(one, str) else "" for one in fields)
    if not (base_url and pairing_id and code):
        raise CallerError("expected the line that `briefcase signers pair` prints")
    if not base_url.startswith("http"):  # the operator's socket: another user's device comes by the agents'
        base_url = app.environ.get("BRIEFCASE_AGENT_SOCKET") or base_url
    base_url = address or base_url
    try:
        side = signer_noise.Initiator(decode_base64url(code))
        first = side.write_message(hashlib.sha256(device.public_key).digest())
        sent = {
            "msg1_b64": encode_base64url(first),
            "algorithm": "ed25519",
            "signer_pubkey_b64": encode_base64url(device.public_key),
            "device_name": name,
        }
        place = path_of("v1", "signer", "pair", pairing_id, "complete")
        reply = _client(app, base_url, did).post(place, PairingCompleted, sent)
        answer = parse_json(side.read_message(decode_base64url(reply.answer.msg2_b64)))
    except (JoseError, signer_noise.NoiseError):
        raise CallerError(
            "the daemon's answer was not made with this pairing's code", code="untrusted_daemon", hint="pair anew"
        ) from None
    told = answer if isinstance(answer, dict) else {}
    signer_id, device_did = str(told.get("signer_id", "")), str(told.get("device_did", did))
    if did and device_did != did:
        raise CallerError("another daemon answered than the one that opened the pairing", code="untrusted_daemon")
    signer_devices.save_device(path, signer_devices.DeviceFile(device.seed_b64, signer_id, device_did, base_url))
    if as_json:
        app.json({"signer_id": signer_id, "device_did": device_did})
        return
    click.echo(signer_id)
    note(f"paired with `{device_did}`: `briefcase signer list` shows what waits")


@signer.command("list", epilog=example("briefcase signer list"))
@key_option
@json_option
@pass_app
def list_waiting(app: App, *, key: Path, as_json: bool) -> None:
    """List what waits for a yes."""
    reply = _device(app, key).ask()
    if as_json:
        app.json(reply.document)
        return
    rows = [
        (one.id[:MIN_PREFIX_CHARS], one.tool_id, one.principal, one.kind, render.when(one.expires_at), one.summary)
        for one in reply.answer.approvals
    ]
    app.screen.table(("ID", "TOOL", "ASKED BY", "KIND", "UNTIL", "CALL"), rows, empty="nothing waits")
    if left_off := reply.answer.left_off:
        note(f"{left_off} more wait: these are the oldest, and a newer one is shown by its whole id")


@signer.command("show", epilog=example("briefcase signer show 3f9a12bc"))
@click.argument("approval_id", metavar="ID")
@key_option
@json_option
@pass_app
def show(app: App, *, approval_id: str, key: Path, as_json: bool) -> None:
    """Show one call whole; the last line is the digest of it."""
    device = _device(app, key)
    document, shown = _shown(device.ask(approval_id), approval_id)
    if as_json:
        app.json({**document, "binding_hex": device.binding_of(document)})
        return
    print_call(shown, err=False)
    click.echo(device.binding_of(document))


@signer.command(
    "approve", epilog=example("briefcase signer approve 3f9a12bc", "briefcase signer approve 3f9a12bc --digest DIGEST")
)
@click.argument("approval_id", metavar="ID")
@click.option("--digest", help="The last line of `signer show`: sign that, and ask nothing.")
@click.option("--reason", default="", help="Why, for the receipt.")
@key_option
@json_option
@pass_app
def approve(app: App, *, approval_id: str, digest: str | None, reason: str, key: Path, as_json: bool) -> None:
    """Show one call whole, and sign a yes to exactly that.

    Prints the approval token, which is the asking agent's to use.
    """
    device = _device(app, key)
    document, shown = _shown(device.ask(approval_id), approval_id)
    binding = device.binding_of(document)
    check_read(shown, binding, digest, read_with="briefcase signer show ID")
    answer = device.approve(shown.id, binding, reason)
    if as_json:
        app.json(answer.document)
    elif answer.answer.status == "pending":
        note(f"{shown.id}: {shown_calls.count_of_yes(answer.answer)}")
    else:
        click.echo(given(answer.answer.approval_token, ""))
        note(f"approved {shown.id}")


@signer.command("deny", epilog=example("briefcase signer deny 3f9a12bc --reason 'wrong customer'"))
@click.argument("approval_id", metavar="ID")
@click.option("--reason", default="", help="Why, for the receipt and for the agent.")
@key_option
@json_option
@pass_app
def deny(app: App, *, approval_id: str, reason: str, key: Path, as_json: bool) -> None:
    """Sign a no to one call."""
    device = _device(app, key)
    document, shown = _shown(device.ask(approval_id), approval_id)
    binding = device.binding_of(document)
    answer = device.deny(shown.id, binding, reason)
    if as_json:
        app.json(answer.document)
    else:
        app.screen.line(f"denied {shown.id}")


def _client(app: App, base_url: str, did: str) -> daemon_client.Client:
    """A client that sends no token, to a daemon at a socket's path or a loopback address, which is the one of `did`."""
    named = "BRIEFCASE_DAEMON_BASE_URL" if base_url.startswith("http") else "BRIEFCASE_DAEMON_UNIX_SOCKET"
    address = daemon_client.address_of({named: base_url}, lambda: app.socket_path)

    def expected() -> expected_daemons.ExpectedDaemon:
        environ = {**app.environ, "BRIEFCASE_DAEMON_DID": did} if did else app.environ
        return expected_daemons.expected_daemon(environ, lambda: app.data_dir)

    return daemon_client.Client(address, expected, str, timeout_s=ANSWER_TIMEOUT_S)


class _Device(NamedTuple):
    """A paired device, and the daemon it was paired with."""

    kept: signer_devices.DeviceFile
    client: daemon_client.Client

    def ask(self, wanted: str = "") -> Reply[SignerApprovals]:
        """What waits; with a whole id, that one alone.

        Raises:
            CallerError: another daemon answers than the one it was paired with (`untrusted_daemon`).
        """
        signed = self._fresh()
        body = self._sent(signed, list_text(signed))
        if len(wanted) == UUID_CHARS:
            body["approval_id"] = wanted
        reply = self.client.post("/v1/signer/approvals", SignerApprovals, body)
        if reply.answer.device_did != self.kept.device_did:
            raise CallerError(
                f"expected the daemon `{self.kept.device_did}`, got `{reply.answer.device_did}`",
                code="untrusted_daemon",
            )
        return reply

    def binding_of(self, document: JsonObject) -> str:
        """What it signs of a document that it shows."""
        return binding_hex_of(document, self.kept.device_did)

    def approve(self, approval_id: str, binding_hex: str, reason: str) -> Reply[Approved]:
        """Sign a yes."""
        body = self._ruling(ApprovalStatus.APPROVED, approval_id, binding_hex, reason)
        return self.client.post(path_of("v1", "signer", "approvals", approval_id, "approve"), Approved, body)

    def deny(self, approval_id: str, binding_hex: str, reason: str) -> Reply[Denied]:
        """Sign a no."""
        body = self._ruling(ApprovalStatus.REJECTED, approval_id, binding_hex, reason)
        return self.client.post(path_of("v1", "signer", "approvals", approval_id, "deny"), Denied, body)

    def _ruling(self, to: ApprovalStatus, approval_id: str, binding_hex: str, reason: str) -> dict[str, str]:
        signed = self._fresh()
        said = {**self._sent(signed, ruling_text(to, approval_id, signed, binding_hex)), "binding_hex": binding_hex}
        return {**said, "reason": reason} if reason else said

    def _fresh(self) -> Signed:
        return Signed(self.kept.signer_id, format_rfc3339(system.SystemClock().now_us()), str(uuid.uuid4()))

    def _sent(self, signed: Signed, text: bytes) -> dict[str, str]:
        return {
            "signer_id": signed.signer_id,
            "ts_rfc3339": signed.ts,
            "nonce": signed.nonce,
            "sig_b64": self.kept.sign(text),
        }


def _device(app: App, key: Path) -> _Device:
    """The device of a key file.

    Raises:
        CallerError: it is not paired (`unknown_signer`), or there is no such file (`not_found`).
    """
    kept = signer_devices.load_device(key.expanduser())
    if not kept.signer_id:
        raise CallerError("this device is not paired", code="unknown_signer", hint="run `briefcase signer pair`")
    return _Device(kept, _client(app, kept.base_url, kept.device_did))


def _shown(reply: Reply[SignerApprovals], wanted: str) -> tuple[JsonObject, ShownApproval]:
    """One call: the document as it came, which is signed, and as it is printed.

    Raises:
        CallerError: none or several begin so (`not_found`), it shows no whole call, or the daemon's digest of it is
            another than this device's (`conflict`).
    """
    found = [
        one for one in reply.listed("approvals") if isinstance(one, dict) and str(one.get("id")).startswith(wanted)
    ]
    if len(wanted) < MIN_PREFIX_CHARS or len(found) != 1:
        raise CallerError(
            f"expected the beginning of one id that waits, of {MIN_PREFIX_CHARS} characters or more, got `{wanted}`",
            code="not_found",
            hint="see `briefcase signer list`",
        )
    document = found[0]
    body = orjson.dumps(document)
    shown = Reply(read_answer(body, ShownApproval, reply.endpoint), body, reply.endpoint)
    shown_calls.digest_of(shown)
    return document, shown.answer


def check_read(shown: ShownApproval, binding: str, digest: str | None, *, read_with: str) -> None:
    """Check that a person read a call: show it and ask, or compare the digest that they were shown.

    Args:
        shown: the call.
        binding: what will be signed of it.
        digest: what the person was shown with it, or None to show it now.
        read_with: the command that shows it.

    Raises:
        CallerError: there is no terminal to ask at, or the digest is of something else (`conflict`).
    """
    if digest is None:
        print_call(shown, err=True)
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CallerError(
                "expected `--digest` of the call: there is no terminal to ask at",
                code="conflict",
                hint=f"read `{read_with}`; its last line is the digest",
            )
        click.confirm("Sign a yes to all of the above?", abort=True, err=True)
    elif digest.lower() != binding:
        raise CallerError("the call is not as it was shown with this digest", code="conflict", hint="look at it again")


def print_call(shown: ShownApproval, *, err: bool) -> None:
    """Print a whole call.

    Args:
        shown: the call.
        err: to standard error, so that standard output holds the answer alone.
    """
    for line in shown_calls.lines_of(shown, shutil.get_terminal_size().columns):
        click.echo(line.plain, err=err)
