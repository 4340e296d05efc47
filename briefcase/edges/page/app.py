"""One request to the operator page: read `Page._answer` top to bottom.

 1. `Host` is `localhost` and our port; a browser says that the request is of this page's own     (403)
 2. a POST names our origin and brings a form within its bound                                     (403, 413, 415)
 3. the session: its cookie, at its own place                                                      (401)
 4. the form's own token                                                                           (403)
 5. the view answers, by the API's paths, in the name of who is logged in
 6. a fault becomes a page that says what happened and what to do

Every answer has the headers of `_HEADERS` and a policy of its own for scripts (CSP), with a new nonce.
No GET changes anything: the log-in link shows whose it is, and the form on it uses the code up.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias

import blacksheep
import msgspec

from briefcase.adapters.telemetry.logger import get_logger
from briefcase.core.calls.ratelimits import PrincipalBuckets
from briefcase.edges.api.in_process import InProcessApi
from briefcase.edges.api.services import Services
from briefcase.edges.http.asgi import Receive, Scope, Send
from briefcase.edges.http.guard import check_browser_headers
from briefcase.edges.page.asking import Asked, Events, Moved, Shown, Told, View, parse_fields
from briefcase.edges.page.rendering import Templates
from briefcase.edges.page.sessions import WHOLE_S, Session, Sessions
from briefcase.edges.page.table import NAVIGATION, VIEWS, Item
from briefcase.model.errors import BriefcaseError, CallerError

COOKIE: Final = "briefcase_page"
FORM_FIELD: Final = "form_token"
NONCE_CHARS: Final = 22
ENTRANCE: Final = re.compile(r"/ui(?:/login|/approvals(?:/[^/]+)?)?")  # links from elsewhere: they show nothing
MAX_LOGIN_BYTES: Final = 1_024

_FORM: Final = b"application/x-www-form-urlencoded"
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),  # with `no-referrer` a browser names no origin in a form it sends
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), publickey-credentials-get=(self)"),
)
_UNSTORED: Final = (b"cache-control", b"no-store")
_FOR_GOOD: Final = (b"cache-control", b"public, max-age=31536000, immutable")  # its address has its digest

_log: Final = get_logger("briefcase.page")

_Served: TypeAlias = Callable[[blacksheep.Request], Awaitable[blacksheep.Response]]


class Page:
    """The operator page as an ASGI application.

    Args:
        services: what the API answers from.
        buckets: how much each person may ask, here and of the API together.
        sessions: who is logged in.
        authority: `localhost:PORT`, the only name that the page has.
    """

    def __init__(self, services: Services, buckets: PrincipalBuckets, sessions: Sessions, authority: str) -> None:
        self._api = InProcessApi(services, buckets)
        self._services = services
        self._sessions = sessions
        self._authority = authority.encode()
        self._templates = Templates()
        self._site = self._new_site()
        self._is_stopped = False

    def stop(self) -> None:
        """End what would be followed for ever: the server is going."""
        self._is_stopped = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        await self._site.start()  # type: ignore[no-untyped-call] # the first time; it returns at once afterwards
        await self._site(scope, receive, send)

    def _new_site(self) -> blacksheep.Application:
        site = blacksheep.Application(router=blacksheep.Router())
        site.show_error_details = False  # whatever `APP_SHOW_ERROR_DETAILS` says
        for method, path, handler in (
            ("GET", "/ui", self._show_entrance),
            ("GET", "/ui/approvals", self._show_entrance),
            ("GET", "/ui/approvals/{id}", self._show_entrance),
            ("GET", "/ui/login", self._show_login),
            ("POST", "/ui/login", self._log_in),
            ("GET", "/ui/static/{name}", self._send_file),
            ("POST", "/ui/{place}/logout", self._log_out),
        ):
            site.router.add(method, path, self._served(handler))
        for view in VIEWS:
            site.router.add(view.method, f"/ui/{{place}}{view.path}", self._served(self._viewed(view)))
        site.router.fallback = self._served(self._nowhere)
        return site

    # --- each request -------------------------------------------------------------------------------------------

    def _served(self, handler: _Served) -> _Served:
        async def serve(request: blacksheep.Request) -> blacksheep.Response:
            try:
                return await self._answer(request, handler)
            except BriefcaseError as error:  # 6
                return self._fault(error)
            except Exception as error:  # noqa: BLE001 - nothing of it may leave; all of it is logged
                _log.error("a page failed", detail=repr(error), exc_info=error)
                return self._fault(BriefcaseError("something went wrong inside"))

        return serve

    async def _answer(self, request: blacksheep.Request, handler: _Served) -> blacksheep.Response:
        # 1. whose page the browser is on
        headers = [(name.lower(), value) for name, value in request.headers]
        path = request.url.path.decode("ascii")
        is_entrance = request.method == "GET" and ENTRANCE.fullmatch(path) is not None
        checked = [header for header in headers if header[0] == b"host"] if is_entrance else headers
        check_browser_headers(checked, frozenset({self._authority}))

        # 2. a form of ours
        if request.method != "GET":
            origins = [value for name, value in headers if name == b"origin"]
            if origins != [b"http://" + self._authority]:
                raise CallerError("expected a form of this page's own", code="forbidden", hint="reload the page")
            if (request.headers.get_first(b"content-type") or b"").split(b";")[0].strip().lower() != _FORM:
                raise CallerError("expected a form", code="unsupported_media_type")

        # 3. to 5. are the handler's
        return await handler(request)

    def _viewed(self, view: View) -> _Served:
        async def answer(request: blacksheep.Request) -> blacksheep.Response:
            # 3. the session
            session = self._session_of(request)

            try:
                return await self._answer_view(request, view, session)
            except BriefcaseError as error:  # 6
                back = "" if view.method == "GET" else request.url.path.decode("ascii").rpartition("/")[0]
                return self._fault(error, session, view, back)

        return answer

    async def _answer_view(self, request: blacksheep.Request, view: View, session: Session) -> blacksheep.Response:
        # 4. the form's own token
        form = {} if view.method == "GET" else await self._own_form(request, session, view.max_form_bytes)

        # 5. the view
        params = _params(request)
        query = parse_fields(request.url.query or b"")
        asked = Asked(
            self._api,
            session,
            params,
            query,
            form,
            self._services.ledger.now_us(),
            lambda: not self._is_stopped and self._sessions.is_live(session),
            f"http://{self._authority.decode()}",
        )
        shown = await view.answer(asked)
        match shown:
            case Moved(to):
                return self._moved(f"/ui/{session.place}{to}")
            case Told(value):
                told = blacksheep.Content(b"application/json", msgspec.json.encode(value))
                return blacksheep.Response(HTTPStatus.OK, [*_HEADERS, _UNSTORED], told)
            case Events(pieces):
                content = blacksheep.StreamedContent(b"text/event-stream", pieces)
                return blacksheep.Response(HTTPStatus.OK, [*_HEADERS, _UNSTORED], content)
        return self._shown(shown, session, view)

    def _session_of(self, request: blacksheep.Request) -> Session:
        place = _params(request).get("place", "")
        session = self._sessions.find(place, _cookies(request.headers))
        if session is None:
            raise CallerError("nobody is logged in here", code="unauthorized", hint="run `briefcase ui` for a new link")
        return session

    async def _own_form(self, request: blacksheep.Request, session: Session, most: int) -> Mapping[str, str]:
        """A form of a page of this very session."""
        form = await self._form(request, most)
        if not hmac.compare_digest(form.get(FORM_FIELD, "").encode(), session.form_token.encode()):
            raise CallerError("the form is not of this log-in", code="forbidden", hint="reload the page")
        return form

    async def _form(self, request: blacksheep.Request, most: int) -> Mapping[str, str]:
        body = await request.read() or b""  # the server has bounded it
        if len(body) > most:
            raise CallerError(f"expected a form of at most {most:,} bytes", code="payload_too_large")
        return parse_fields(body)

    # --- logging in and out -------------------------------------------------------------------------------------

    async def _show_entrance(self, _: blacksheep.Request) -> blacksheep.Response:
        return self._shown(Shown("entrance", "Log in"))

    async def _show_login(self, request: blacksheep.Request) -> blacksheep.Response:
        code = parse_fields(request.url.query or b"").get("code", "")
        principal = self._sessions.holder_of(code)
        if principal is None:
            raise _spent()
        return self._shown(Shown("login", "Log in", {"code": code, "principal": principal}))

    async def _log_in(self, request: blacksheep.Request) -> blacksheep.Response:
        form = await self._form(request, MAX_LOGIN_BYTES)
        begun = self._sessions.begin(form.get("code", ""))
        if begun is None:
            raise _spent()
        _log.info("logged in to the page", by=begun.session.principal.name)
        home = next(item for item in NAVIGATION if self._may_see(begun.session, item))
        moved = self._moved(f"/ui/{begun.session.place}{home.path}")
        moved.headers.add(b"set-cookie", _cookie(begun.session.place, begun.cookie, WHOLE_S))
        return moved

    async def _log_out(self, request: blacksheep.Request) -> blacksheep.Response:
        session = self._session_of(request)
        await self._own_form(request, session, MAX_LOGIN_BYTES)
        self._sessions.end(session)
        answer = self._shown(Shown("left", "Logged out"))
        answer.headers.add(b"set-cookie", _cookie(session.place, "", 0))
        return answer

    # --- answers ------------------------------------------------------------------------------------------------

    def _may_see(self, session: Session, item: Item) -> bool:
        return self._api.may(session.principal, *item.needs)

    def _shown(self, shown: Shown, session: Session | None = None, view: View | None = None) -> blacksheep.Response:
        nonce = self._services.entropy.token()[:NONCE_CHARS]
        values: dict[str, object] = {"title": shown.title, "nonce": nonce, "session": session, "navigation": ()}
        if session is not None:
            values["navigation"] = [one for one in NAVIGATION if self._may_see(session, one)]
            values["base"] = f"/ui/{session.place}"
            values["here"] = "" if view is None else view.path
        html = self._templates.page(shown.template, {**values, **shown.values})
        content = blacksheep.Content(b"text/html; charset=utf-8", html)
        return blacksheep.Response(shown.status, [*_HEADERS, _UNSTORED, _policy(nonce)], content)

    def _fault(
        self, error: BriefcaseError, session: Session | None = None, view: View | None = None, back: str = ""
    ) -> blacksheep.Response:
        redact = self._services.redactor.redact_text
        said = {"code": error.code, "message": redact(error.message), "hint": redact(error.hint), "back": back}
        return self._shown(Shown("fault", "Not done", said, error.http_status), session, view)

    def _moved(self, to: str) -> blacksheep.Response:
        return blacksheep.Response(HTTPStatus.SEE_OTHER, [*_HEADERS, _UNSTORED, (b"location", to.encode("ascii"))])

    async def _send_file(self, request: blacksheep.Request) -> blacksheep.Response:
        found = self._templates.files.get(_params(request).get("name", ""))
        if found is None:
            return await self._nowhere(request)
        return blacksheep.Response(HTTPStatus.OK, [*_HEADERS, _FOR_GOOD], blacksheep.Content(*found))

    async def _nowhere(self, _: blacksheep.Request) -> blacksheep.Response:
        raise CallerError("nothing is at this path", code="not_found")


def _spent() -> CallerError:
    return CallerError(
        "this link was used, or is too old", code="unauthorized", hint="run `briefcase ui` for a new link"
    )


def _params(request: blacksheep.Request) -> dict[str, str]:
    """What the path of a request holds at its route's names."""
    return {name: value or "" for name, value in (request.route_values or {}).items()}


def _policy(nonce: str) -> tuple[bytes, bytes]:
    return b"content-security-policy", (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ).encode()


def _cookie(place: str, value: str, max_age_s: int) -> bytes:
    return f"{COOKIE}={value}; Path=/ui/{place}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict".encode()


def _cookies(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The values of every cookie of our name (RFC 6265 section 5.4: others may stand before it)."""
    pairs = [
        pair.strip().partition(b"=")
        for name, value in headers
        if name.lower() == b"cookie"
        for pair in value.split(b";")
    ]
    return [value.decode("latin-1") for name, _, value in pairs if name == COOKIE.encode()]
