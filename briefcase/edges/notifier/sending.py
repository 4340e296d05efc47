"""The two ways a message leaves: Apprise, for a hundred services, and Standard Webhooks, signed.

Both go to https or to this machine alone, verify certificates and follow no redirect: what an address says is where a
message goes. What may have reached the other side is sent again under the same id, so that a receiver can tell.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.net.urls import parse_url
from briefcase.edges.notifier.settings import LOOPBACK, Target
from briefcase.edges.notifier.wording import Message, webhook_body
from briefcase.model.errors import BriefcaseError, ConfigError
from briefcase.model.ports import HttpRequest

if TYPE_CHECKING:
    import apprise
    import standardwebhooks

TIMEOUT_S: Final = 15.0
MAX_ANSWER_BYTES: Final = 64 << 10
EXTRA_HINT: Final = "pip install 'agentic-briefcase[notify]'; in a checkout: pip install '.[notify]'"
WORTH_ANOTHER_TRY: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
ON_THIS_DESK: Final = frozenset({"dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})


class SendError(Exception):
    """A message was not taken. `is_final`: the same message will not be taken later either."""

    def __init__(self, problem: str, *, is_final: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.is_final = is_final


class Sender(Protocol):
    """One target's way out."""

    async def send(self, message: Message) -> None:
        """Send a message, within `TIMEOUT_S`.

        Raises:
            SendError: it was not taken, or nobody knows.
        """
        ...


def open_sender(name: str, target: Target) -> Sender:
    """The way out to a target.

    Raises:
        ConfigError: a library of the extra is not installed, or the address is none, or not safe to send to.
    """
    try:
        return WebhookSender(name, target) if target.webhook else AppriseSender(name, target)
    except ModuleNotFoundError as error:
        raise ConfigError(f"a notifier needs `{error.name}`, which is not installed", hint=EXTRA_HINT) from None


class WebhookSender:
    """Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp` and `webhook-signature` over the body.

    Raises:
        ConfigError: as `open_sender`.
    """

    def __init__(self, name: str, target: Target) -> None:
        del name
        import standardwebhooks

        self._url = target.webhook
        self._authority = parse_url(target.webhook).authority  # the person names it, on this machine or not
        self._signer: standardwebhooks.Webhook = standardwebhooks.Webhook(target.secret)

    async def send(self, message: Message) -> None:
        """As the port says."""
        body, now = webhook_body(message), dt.datetime.now(dt.UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(message.id, now, body.decode()),
        }
        request = HttpRequest(
            "POST",
            self._url,
            headers,
            body,
            timeout_ms=int(TIMEOUT_S * 1_000),
            max_body_bytes=MAX_ANSWER_BYTES,
            pool_key=self._authority,
        )
        outbound = GuardedOutbound([self._authority])
        try:
            status = (await outbound.request(request)).status
        except BriefcaseError as error:
            raise SendError(error.message) from None
        finally:
            await outbound.close()
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            moved = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
            is_final = status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in WORTH_ANOTHER_TRY
            why = "; redirects are not followed" if moved else ""
            raise SendError(f"the webhook answered status {int(status)}{why}", is_final=is_final)


class AppriseSender:
    """An address of Apprise. Its libraries block, so each message is sent on a thread that may be left behind.

    Raises:
        ConfigError: as `open_sender`.
    """

    def __init__(self, name: str, target: Target) -> None:
        self._service = _service_of(name, target.url)
        self._thread: threading.Thread | None = None

    async def send(self, message: Message) -> None:
        """As the port says. A send that hangs is left to itself; until it ends, no other is begun."""
        if self._thread is not None and self._thread.is_alive():
            raise SendError("an earlier message still hangs there")
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        taken: list[bool] = []

        def run() -> None:
            try:
                taken.append(bool(self._service.notify(body=message.body, title=message.title, body_format="text")))
            except Exception:  # noqa: BLE001 - whatever a service's plugin raises, the message was not taken
                taken.append(False)
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        self._thread = threading.Thread(target=run, name="apprise", daemon=True)
        self._thread.start()
        try:
            await asyncio.wait_for(done.wait(), TIMEOUT_S)
        except TimeoutError:
            raise SendError(f"no answer in {TIMEOUT_S:g} s") from None
        if not taken[0]:
            raise SendError("the service did not take it")


def _service_of(name: str, url: str) -> apprise.NotifyBase:
    """The service of an address.

    Raises:
        ConfigError: there is no such, or it would go in clear text over a network, unverified, or after redirects.
    """
    import apprise

    logging.getLogger("apprise").disabled = True  # its lines repeat addresses, which are secrets
    asset = apprise.AppriseAsset(http_redirects=False, secure_logging=True, plugin_paths=[], app_id="briefcase")
    service = apprise.Apprise.instantiate(url, asset=asset)
    problem = f"target `{name}`: expected an address of Apprise"
    if service is None:
        raise ConfigError(problem, hint="see https://github.com/caronc/apprise/wiki for the forms of addresses")
    if service.redirects or not service.verify_certificate:
        raise ConfigError(f"{problem} without `redirect` and with certificates verified")
    if not _is_private(service):
        raise ConfigError(
            f"{problem} that is encrypted, or on this machine",
            hint="most have a form that is: `mailtos://`, `ntfys://`",
        )
    return service


def _is_private(service: apprise.NotifyBase) -> bool:
    """Whether what goes to a service is read by nobody on the way."""
    scheme = str(service.url()).partition("://")[0]
    secure: object = service.secure_protocol
    if scheme in ON_THIS_DESK or scheme in (secure if isinstance(secure, tuple | list) else (secure,)):
        return True
    return {str(service.host), str(getattr(service, "smtp_host", "") or service.host)} <= LOOPBACK
