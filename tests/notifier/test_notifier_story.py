"""From an agent's call to a message, with a real daemon, a real notifier, a mail server and a webhook."""

import json
import subprocess
import sys
import tomllib
from contextlib import contextmanager

import pytest
import standardwebhooks

from support.daemons import RunningDaemon
from support.sinks import HttpSink, MailSink
from support.waiting import BOUND_S, wait_until


class Desk:
    """Runs commands beside a daemon, with settings of the notifier's own."""

    def __init__(self, daemon, directory):
        self.daemon = daemon
        self.config = directory / "notify" / "notifier.toml"
        self.env = {**daemon.env, "BRIEFCASE_NOTIFIER_CONFIG": str(self.config)}
        self.log = directory / "notifier.log"

    def run(self, *args, said="", **environment):
        return subprocess.run(
            [sys.executable, "-m", "briefcase", *args],
            env=self.env | environment, input=said, capture_output=True, text=True, timeout=BOUND_S, check=False,
        )  # fmt: skip

    def person(self, name, role):
        return self.daemon.request("POST", "/v1/operators", {"name": name, "role": role})[1]["token"]

    @contextmanager
    def notifier(self, token):
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "briefcase", "notifier"],
                env=self.env | {"BRIEFCASE_AUTH_TOKEN": token}, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            wait_until(lambda: process.poll() is not None or "following" in self.log.read_text(), self.log.read_text)
            yield process
        finally:
            process.terminate()
            assert process.wait(BOUND_S) == 0, self.log.read_text()


@pytest.fixture
def desk(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        yield Desk(daemon, tmp_path)


def wait_for(daemon, text):
    return daemon.call("note_add", {"text": text})["approval"]["id"]


def test_a_call_that_waits_is_told_by_mail_and_by_webhook_once_over_restarts(desk):
    with MailSink() as mail, HttpSink() as hook:
        assert desk.run("notify", "add", "mail", "--every", "1", said=mail.url).returncode == 0
        added = desk.run("notify", "add", "hook", "--webhook", "--every", "1", said=hook.url)
        receiver = standardwebhooks.Webhook(added.stdout.strip())
        token = desk.person("teller", "approver")
        with desk.notifier(token):
            first = wait_for(desk.daemon, "milk <!channel>")
            wait_until(lambda: mail.mails and hook.sent, desk.log.read_text)
        desk.log.unlink()
        second = wait_for(desk.daemon, "bread")
        with desk.notifier(token):
            wait_until(lambda: len(mail.mails) == 2 and len(hook.sent) == 2, desk.log.read_text)
    told = [receiver.verify(sent.body, sent.headers)["data"]["events"] for sent in hook.sent]
    assert [[one["id"] for one in events] for events in told] == [[f"approval:{first}"], [f"approval:{second}"]]
    assert f"briefcase approvals show {first}" in mail.mails[0].get_content()
    assert "milk" in told[0][0]["summary"]
    assert "<!channel>" not in hook.sent[0].body.decode() + mail.mails[0].as_string()
    assert token not in desk.log.read_text() + desk.config.read_text()


def test_an_auditors_token_tells_of_calls_without_arguments_and_of_alarms(desk):
    with HttpSink() as hook:
        desk.run("notify", "add", "hook", "--webhook", "--every", "1", said=hook.url)
        with desk.notifier(desk.person("teller", "auditor")):
            wait_for(desk.daemon, "milk")
            desk.person("cy", "operator")
            wait_until(lambda: b"operator_added" in b"".join(sent.body for sent in hook.sent), desk.log.read_text)
    told = [one for sent in hook.sent for one in json.loads(sent.body)["data"]["events"]]
    assert [(one["kind"], one["severity"]) for one in told] == [("waits", "medium"), ("operator_added", "high")]
    assert b"milk" not in b"".join(sent.body for sent in hook.sent)


def test_a_token_that_may_do_more_is_refused_and_none_is_taken_from_the_data_directory(desk):
    with HttpSink() as hook:
        desk.run("notify", "add", "hook", "--webhook", said=hook.url)
        agent = desk.daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        for token in (desk.daemon.operator_token, desk.person("bo", "operator"), agent):
            ended = desk.run("notifier", BRIEFCASE_AUTH_TOKEN=token)
            assert (ended.returncode, "may call tools" in ended.stderr) == (9, True), ended.stderr
            assert token not in ended.stderr
        ended = desk.run("notifier")
    assert (ended.returncode, "a token of the notifier's own" in ended.stderr) == (6, True), ended.stderr
    assert hook.sent == []


def test_one_notifier_at_a_time(desk):
    with HttpSink() as hook:
        desk.run("notify", "add", "hook", "--webhook", said=hook.url)
        token = desk.person("teller", "auditor")
        with desk.notifier(token):
            ended = desk.run("notifier", BRIEFCASE_AUTH_TOKEN=token)
    assert (ended.returncode, "already" in ended.stderr) == (9, True), ended.stderr


def test_what_was_given_up_is_listed_replayed_and_forgotten(desk):
    answers = iter([410])
    with HttpSink(lambda _: (next(answers, 204), {})) as hook:
        desk.run("notify", "add", "hook", "--webhook", "--every", "1", said=hook.url)
        with desk.notifier(desk.person("teller", "approver")):
            wait_for(desk.daemon, "milk")
            wait_until(lambda: desk.run("notify", "undelivered", "--json").stdout.count('"id"'), desk.log.read_text)
        (letter,) = json.loads(desk.run("notify", "undelivered", "--json").stdout)["undelivered"]
        assert (letter["target"], letter["problem"]) == ("hook", "the webhook answered status 410")
        assert desk.run("notify", "replay", "0" * 16).returncode == 4
        assert desk.run("notify", "replay", letter["id"]).returncode == 0
        assert json.loads(desk.run("notify", "undelivered", "--json").stdout) == {"undelivered": []}
    ids = [sent.headers["webhook-id"] for sent in hook.sent]
    assert len(ids) == 2
    assert ids[0] == ids[1]


def test_listing_prints_no_secret_and_a_target_is_tried_and_removed(desk):
    with HttpSink() as hook:
        secret = desk.run("notify", "add", "hook", "--webhook", said=f"{hook.url}/url-secret").stdout.strip()
        desk.run("notify", "add", "chat", "--agent", "scout", said="ntfys://user:url-secret@ntfy.example/topic-secret")
        settings = tomllib.loads(desk.config.read_text())["targets"]
        assert settings["hook"]["secret"] == secret
        shown = desk.run("notify", "list").stdout + desk.run("notify", "list", "--json").stdout
        assert "ntfys://" in shown
        assert shown.count(f"http://127.0.0.1:{hook.port}") == 2
        assert secret not in shown
        assert "url-secret" not in shown
        assert "topic-secret" not in shown
        assert desk.run("notify", "test", "hook").returncode == 0
        assert b"this is a test" in hook.sent[0].body
        assert json.loads(hook.sent[0].body)["data"]["events"][0]["where"] == "briefcase approvals list"
    failed = desk.run("notify", "test", "hook")
    assert failed.returncode == 8
    assert "url-secret" not in failed.stderr
    assert desk.run("notify", "remove", "chat").returncode == 0
    assert desk.run("notify", "remove", "chat").returncode == 4
    assert set(tomllib.loads(desk.config.read_text())["targets"]) == {"hook"}
