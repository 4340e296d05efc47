"""What leaves: signed webhooks and Apprise, to https or this machine, after no redirect."""

import asyncio
import datetime as dt
import json
import socket

import pytest
import standardwebhooks
from test_notifier_wording import event

from briefcase.edges.notifier import sending
from briefcase.edges.notifier.sending import SendError, open_sender
from briefcase.edges.notifier.settings import Target
from briefcase.edges.notifier.wording import message_of
from briefcase.model.errors import ConfigError
from support.sinks import HttpSink, MailSink

SECRET = "whsec_" + "QUFB" * 11
MESSAGE = message_of([event(agent="scout", tool="note_add", summary="text <b>")], 0, "")


def webhook(sink):
    return open_sender("hook", Target(webhook=sink.url, secret=SECRET))


async def test_a_webhook_is_signed_as_the_specification_says():
    with HttpSink() as sink:
        await webhook(sink).send(MESSAGE)
    (sent,) = sink.sent
    found = standardwebhooks.Webhook(SECRET).verify(sent.body, sent.headers)
    assert (found["type"], sent.headers["webhook-id"]) == ("briefcase.notification", MESSAGE.id)
    assert found["data"]["events"][0]["agent"] == "scout"


async def test_a_receiver_refuses_a_forged_an_altered_and_a_late_one():
    with HttpSink() as sink:
        await webhook(sink).send(MESSAGE)
    (sent,) = sink.sent
    receiver = standardwebhooks.Webhook(SECRET)
    late = str(int(sent.headers["webhook-timestamp"]) - 600)
    signed_late = receiver.sign(MESSAGE.id, dt.datetime.fromtimestamp(int(late), dt.UTC), sent.body.decode())
    for body, headers in (
        (sent.body + b" ", sent.headers),
        (sent.body, sent.headers | {"webhook-id": "msg_other"}),
        (sent.body, sent.headers | {"webhook-timestamp": late}),
        (sent.body, sent.headers | {"webhook-timestamp": late, "webhook-signature": signed_late}),
        (sent.body, {name: value for name, value in sent.headers.items() if name != "webhook-signature"}),
    ):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            receiver.verify(body, headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook("whsec_" + "QkJC" * 11).verify(sent.body, sent.headers)


async def test_a_message_that_is_sent_again_has_the_id_it_had():
    with HttpSink(lambda number: (500 if number == 1 else 204, {})) as sink:
        with pytest.raises(SendError) as caught:
            await webhook(sink).send(MESSAGE)
        await webhook(sink).send(MESSAGE)
    assert not caught.value.is_final
    assert {sent.headers["webhook-id"] for sent in sink.sent} == {MESSAGE.id}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed(status):
    with HttpSink() as elsewhere, HttpSink(lambda _: (status, {"Location": elsewhere.url})) as sink:
        with pytest.raises(SendError) as caught:
            await webhook(sink).send(MESSAGE)
        with pytest.raises(SendError):
            await open_sender("json", Target(url=f"json://127.0.0.1:{sink.port}/x")).send(MESSAGE)
    assert "redirects are not followed" in caught.value.problem
    assert caught.value.is_final
    assert (len(sink.sent), elsewhere.sent) == (2, [])


@pytest.mark.parametrize(
    ("status", "is_final"),
    [(400, True), (404, True), (410, True), (408, False), (429, False), (500, False), (503, False)],
)
async def test_what_will_never_be_taken_is_told_apart(status, is_final):
    with HttpSink(lambda _: (status, {})) as sink, pytest.raises(SendError) as caught:
        await webhook(sink).send(MESSAGE)
    assert caught.value.is_final is is_final


async def test_a_receiver_that_is_not_there_is_tried_again():
    with HttpSink() as sink:
        gone = webhook(sink)
    with pytest.raises(SendError) as caught:
        await gone.send(MESSAGE)
    assert not caught.value.is_final


async def test_a_mail_arrives_with_its_subject():
    with MailSink() as sink:
        await open_sender("mail", Target(url=sink.url)).send(MESSAGE)
    (mail,) = sink.mails
    assert mail["subject"] == "briefcase: scout waits for note_add"
    assert "approvals show" in mail.get_content()
    assert "<b>" not in mail.get_content()


async def test_a_service_of_apprise_gets_title_and_body():
    with HttpSink() as sink:
        await open_sender("json", Target(url=f"json://127.0.0.1:{sink.port}/x")).send(MESSAGE)
    found = json.loads(sink.sent[0].body)
    assert (found["title"], found["message"]) == (MESSAGE.title, MESSAGE.body)


async def test_a_service_that_hangs_is_left_to_itself_and_begun_once(monkeypatch):
    monkeypatch.setattr(sending, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        sender = open_sender("json", Target(url=f"json://127.0.0.1:{port}/x?rto=2"))
        for problem in ("no answer in 0.2 s", "an earlier message still hangs there"):
            with pytest.raises(SendError) as caught:
                await sender.send(MESSAGE)
            assert caught.value.problem == problem
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nothing://x/secret", "an address of Apprise"),
        ("secret", "an address of Apprise"),
        ("json://example.com/secret", "encrypted"),
        ("mailto://ann:secret@mail.example.com", "encrypted"),
        (
            "mailto://127.0.0.1/?smtp=mail.example.com&from=secret@example.com&to=a@example.com&mode=insecure",
            "encrypted",
        ),
        ("jsons://example.com/secret?redirect=yes", "without `redirect`"),
        ("jsons://example.com/secret?verify=no", "certificates verified"),
    ],
)
def test_an_address_that_is_not_safe_is_refused_and_not_repeated(url, says):
    with pytest.raises(ConfigError) as caught:
        open_sender("ops", Target(url=url))
    assert says in caught.value.message
    assert "secret" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("url", ["ntfy://topic", "jsons://example.com/x", "mailtos://ann:pw@gmail.com"])
def test_an_address_that_is_encrypted_is_taken(url):
    assert open_sender("ops", Target(url=url))


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(ConfigError) as caught:
        open_sender("ops", Target(url="ntfy://topic"))
    assert "agentic-briefcase[notify]" in caught.value.hint
