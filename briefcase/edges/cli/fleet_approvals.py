"""`briefcase fleet approvals`: what waits at the devices of a fleet, opened and signed here with a paired signer's key.

The control plane is asked with an approver's token and trusted with nothing: what it carried is opened with the
signer's key, shown where the device signed it, and signed as `briefcase signer` signs; the device says what came of it.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Final, NamedTuple

import click
import orjson

from briefcase.core.characters.marks import visible_text
from briefcase.core.jose.base64url import JoseError, decode_base64url
from briefcase.core.operator.binding import binding_hex_of
from briefcase.core.operator.relay import read_carried
from briefcase.core.signers.texts import Signed, ruling_text
from briefcase.core.wire.approvals import ShownApproval
from briefcase.core.wire.fields import given
from briefcase.core.wire.reading import read_answer
from briefcase.core.wire.relay import TAKEN, AnswerSent, FleetApproval, FleetApprovals
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.fleet_client import FleetClient
from briefcase.edges.cli.late import fleet_sealing, render, shown_calls, signer_devices, system
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.signer import MIN_PREFIX_CHARS, check_read, key_option, print_call
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import CallerError
from briefcase.model.types import ApprovalStatus, JsonObject, format_rfc3339

APPROVALS: Final = "/v1/admin/approvals"
WAIT_S: Final = 30.0
LOOK_S: Final = 0.25
ACTIONS: Final = {ApprovalStatus.APPROVED: "approve_binding", ApprovalStatus.REJECTED: "deny_binding"}


@click.group(
    cls=LazyGroup,
    epilog=example("briefcase fleet approvals list", "briefcase fleet approvals approve 3f9a12bc --key signer.json"),
)
def approvals() -> None:
    """See what waits at the devices, and sign a yes or a no.

    BRIEFCASE_FLEET_TOKEN is an approver's token. What is shown is opened with the key of a signer that the device is
    paired with (`briefcase signer`), and signed with it; the device verifies.
    """


@approvals.command("list", epilog=example("briefcase fleet approvals list"))
@json_option
@pass_app
def list_approvals(app: App, *, as_json: bool) -> None:
    """List what waits, and what ended within the hour."""
    reply = FleetClient(app.environ).get(APPROVALS, FleetApprovals)
    if as_json:
        app.json(reply.document)
        return
    rows = [
        (
            one.approval_id[:MIN_PREFIX_CHARS],
            visible_text(one.device_name),
            render.styled(one.status),
            render.when(one.expires_at_rfc3339),
            *_head_of(one),
            ", ".join(f"{each.sent_by}: {visible_text(each.word or 'sent')}" for each in one.answers),
        )
        for one in reply.answer.approvals
    ]
    app.screen.table(("ID", "DEVICE", "STATUS", "UNTIL", "TOOL", "ASKED BY", "ANSWERS"), rows, empty="nothing waits")


@approvals.command("show", epilog=example("briefcase fleet approvals show 3f9a12bc"))
@click.argument("approval_id", metavar="ID")
@key_option
@json_option
@pass_app
def show(app: App, *, approval_id: str, key: Path, as_json: bool) -> None:
    """Show one call whole; the last line is the digest of it."""
    signer = _signer(key)
    document, shown = signer.opened(_find(FleetClient(app.environ), approval_id))
    binding = signer.binding_of(document)
    if as_json:
        app.json({**document, "binding_hex": binding})
        return
    print_call(shown, err=False)
    click.echo(binding)


@approvals.command("approve", epilog=example("briefcase fleet approvals approve 3f9a12bc --digest DIGEST"))
@click.argument("approval_id", metavar="ID")
@click.option("--digest", help="The last line of `fleet approvals show`: sign that, and ask nothing.")
@key_option
@json_option
@pass_app
def approve(app: App, *, approval_id: str, digest: str | None, key: Path, as_json: bool) -> None:
    """Show one call whole, and sign a yes to exactly that."""
    signer, client = _signer(key), FleetClient(app.environ)
    found = _find(client, approval_id)
    document, shown = signer.opened(found)
    check_read(shown, signer.binding_of(document), digest, read_with="briefcase fleet approvals show ID")
    _send(app, client, found, signer.ruling(ApprovalStatus.APPROVED, document), as_json=as_json)


@approvals.command("deny", epilog=example("briefcase fleet approvals deny 3f9a12bc"))
@click.argument("approval_id", metavar="ID")
@key_option
@json_option
@pass_app
def deny(app: App, *, approval_id: str, key: Path, as_json: bool) -> None:
    """Sign a no to one call."""
    signer, client = _signer(key), FleetClient(app.environ)
    found = _find(client, approval_id)
    document, _ = signer.opened(found)
    _send(app, client, found, signer.ruling(ApprovalStatus.REJECTED, document), as_json=as_json)


class _Signer(NamedTuple):
    """A paired device's key, at the other end of the relay."""

    kept: signer_devices.DeviceFile

    def opened(self, approval: FleetApproval) -> tuple[JsonObject, ShownApproval]:
        """What the device showed: as it came, which is signed, and as it is printed.

        Raises:
            CallerError: it is not sealed to this signer (`not_found`), not signed by the device that this signer is
                paired with, of another approval, or its digest is another than the one computed here (`conflict`).
        """
        sealed = given(approval.sealed_b64, "")
        if not sealed:
            raise CallerError(
                f"nothing is sealed to a signer: this approval is {approval.status}",
                code="not_found",
                hint="see `briefcase fleet approvals list`; a device seals to the signers that are paired with it",
            )
        try:
            plain = fleet_sealing.unseal(decode_base64url(sealed), decode_base64url(self.kept.seed_b64))
        except JoseError:
            raise CallerError("the control plane's answer holds no sealed text", code="conflict") from None
        document = read_carried(plain, self.kept.device_did)
        if document.get("id") != approval.approval_id:
            raise CallerError("the control plane shows another approval under this id", code="conflict")
        body = orjson.dumps(document)
        shown = Reply(read_answer(body, ShownApproval, APPROVALS), body, APPROVALS)
        shown_calls.digest_of(shown)
        return document, shown.answer

    def binding_of(self, document: JsonObject) -> str:
        """What it signs of a document that it shows."""
        return binding_hex_of(document, self.kept.device_did)

    def ruling(self, to: ApprovalStatus, document: JsonObject) -> dict[str, str]:
        """A signed yes or no, as it is sent."""
        signed = Signed(self.kept.signer_id, format_rfc3339(system.SystemClock().now_us()), str(uuid.uuid4()))
        binding = self.binding_of(document)
        return {
            "action": ACTIONS[to],
            "signer_id": signed.signer_id,
            "binding_hex": binding,
            "ts_rfc3339": signed.ts,
            "nonce": signed.nonce,
            "sig_b64": self.kept.sign(ruling_text(to, str(document["id"]), signed, binding)),
        }


def _signer(key: Path) -> _Signer:
    kept = signer_devices.load_device(key.expanduser())
    if not kept.signer_id:
        raise CallerError("this device is not paired", code="unknown_signer", hint="run `briefcase signer pair`")
    return _Signer(kept)


def _find(client: FleetClient, wanted: str) -> FleetApproval:
    """The approval whose id begins so, with what is sealed.

    Raises:
        CallerError: none or several begin so (`not_found`).
    """
    listed = client.get(APPROVALS, FleetApprovals).answer.approvals
    found = [one for one in listed if one.approval_id.startswith(wanted)]
    if len(wanted) < MIN_PREFIX_CHARS or len(found) != 1:
        raise CallerError(
            f"expected the beginning of one id, of {MIN_PREFIX_CHARS} characters or more, got `{wanted}`",
            code="not_found",
            hint="see `briefcase fleet approvals list`",
        )
    return client.get(_path_of(found[0]), FleetApproval).answer


def _send(app: App, client: FleetClient, approval: FleetApproval, ruling: dict[str, str], *, as_json: bool) -> None:
    """Send an answer, and wait for what its device says of it.

    Raises:
        CallerError: the device refused it, or another answer took its place (`conflict`).
    """
    sent = client.post(f"{_path_of(approval)}/answer", AnswerSent, ruling).answer
    until_s = time.monotonic() + WAIT_S
    word, message, status = None, "", approval.status
    while word is None and time.monotonic() < until_s:
        now = client.get(_path_of(approval), FleetApproval).answer
        own = next((each for each in now.answers if each.answer_id == sent.answer_id), None)
        if own is None:
            raise CallerError("another answer by this token took the place of this one", code="conflict")
        word, message, status = own.word, own.message or "", now.status
        if word is None:
            time.sleep(LOOK_S)
    if word not in {None, TAKEN}:
        raise CallerError(
            f"the device did not take it: {visible_text(message)} ({visible_text(word or '')})",
            code="conflict",
            hint="look at it again: `briefcase fleet approvals show ID`",
        )
    if as_json:
        app.json({"approval_id": approval.approval_id, "status": status, "word": word})
    elif word is None:
        note(f"sent; the device of {approval.approval_id} has said nothing yet: `briefcase fleet approvals list`")
    else:
        app.screen.line(f"{approval.approval_id}: {status}")


def _head_of(approval: FleetApproval) -> tuple[str, str]:
    head = given(approval.head, None)
    return ("sealed", "") if head is None else (visible_text(head.tool_id), visible_text(head.principal))


def _path_of(approval: FleetApproval) -> str:
    return f"{APPROVALS}/{approval.device_id}/{approval.approval_id}"
