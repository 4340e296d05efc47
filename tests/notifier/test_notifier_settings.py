"""`notifier.toml`: every wrong value is named, no address is repeated, and edits leave the rest as it was."""

import pytest

from briefcase.edges.notifier.editing import add_target, remove_target
from briefcase.edges.notifier.settings import Target, config_path, parse_settings, read_settings
from briefcase.model.errors import CallerError, ConfigError

SECRET = "whsec_" + "A" * 43 + "="
WRONG = {
    "no TOML": ("targets = [", "is no TOML"),
    "an unknown member": ("page = 1", "unknown field `page`"),
    "an unknown member of a target": ('[targets.a]\nurl = "x://y"\nwhere = 1', "unknown field `where`"),
    "a name of another form": ('[targets."A b"]\nurl = "x://y"', "a target's name"),
    "neither address": ("[targets.a]", "one of `url` and `webhook`"),
    "both addresses": (f'[targets.a]\nurl = "x://y"\nwebhook = "https://h/"\nsecret = "{SECRET}"', "one of `url`"),
    "a webhook without a secret": ('[targets.a]\nwebhook = "https://h/"', "`secret` of the form"),
    "a short secret": ('[targets.a]\nwebhook = "https://h/"\nsecret = "whsec_AAAA"', "`secret` of the form"),
    "a secret where nothing is signed": (f'[targets.a]\nurl = "x://y"\nsecret = "{SECRET}"', "`secret` of the form"),
    "clear text": (f'[targets.a]\nwebhook = "http://hook.example/leaks"\nsecret = "{SECRET}"', "expected https"),
    "userinfo": (f'[targets.a]\nwebhook = "https://leaks:x@h/"\nsecret = "{SECRET}"', "without userinfo"),
    "a page in clear text": ('page_url = "http://page.example"', "expected https"),
    "a severity": ('[targets.a]\nurl = "x://y"\nseverity = "huge"', "severity"),
    "no pace": ('[targets.a]\nurl = "x://y"\nevery_s = 0', "every_s"),
    "a time": ('[targets.a]\nurl = "x://y"\n[targets.a.quiet]\nfrom = "25:00"\nto = "07:00"', "from"),
    "a zone": ('[targets.a]\nurl = "x://y"\n[targets.a.quiet]\nfrom = "22:00"\nto = "07:00"\nzone = "Up"', "time zone"),
    "a zone that is a path": (
        '[targets.a]\nurl = "x://y"\n[targets.a.quiet]\nfrom = "22:00"\nto = "07:00"\nzone = "../../etc/passwd"',
        "time zone",
    ),
}


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named_and_no_address_is_repeated(tmp_path, text, says):
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, tmp_path / "notifier.toml")
    assert says in caught.value.message
    assert "leaks" not in caught.value.message + caught.value.hint
    assert SECRET not in caught.value.message


def test_a_file_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "notifier.toml"
    path.write_text('[targets.a]\nurl = "x://y"\n')
    path.chmod(0o640)
    with pytest.raises(ConfigError) as caught:
        read_settings(path)
    assert caught.value.code == "insecure_host"


def test_without_a_file_the_command_that_makes_it_is_named(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_settings(tmp_path / "notifier.toml")
    assert "notify add" in caught.value.hint


def test_an_edit_leaves_comments_and_other_targets_as_they_were(tmp_path):
    path = tmp_path / "new" / "notifier.toml"
    add_target(path, "ops", Target(url="slack://a/b/c"))
    path.write_text("# ours\nsummaries = false\n" + path.read_text() + "agents = ['scout'] # only\n")
    before = path.read_text()
    add_target(path, "hook", Target(webhook="https://h/", secret=SECRET, severity="high"))
    assert path.read_text().startswith(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_settings(path).targets["hook"] == Target(webhook="https://h/", secret=SECRET, severity="high")
    remove_target(path, "hook")
    assert path.read_text().rstrip() == before.rstrip()
    with pytest.raises(CallerError) as caught:
        remove_target(path, "hook")
    assert caught.value.code == "not_found"


def test_an_edit_of_a_wrong_file_changes_nothing(tmp_path):
    path = tmp_path / "notifier.toml"
    path.touch(0o600)
    path.write_text("page = 1\n")
    with pytest.raises(ConfigError):
        add_target(path, "ops", Target(url="slack://a/b/c"))
    assert path.read_text() == "page = 1\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["notifier.toml", "notifier.toml.lock"]


def test_where_the_file_is(tmp_path):
    assert config_path({"BRIEFCASE_NOTIFIER_CONFIG": "/a/b.toml"}).as_posix() == "/a/b.toml"
    assert config_path({"XDG_CONFIG_HOME": "/x"}).as_posix() == "/x/briefcase/notifier.toml"
    assert config_path({"HOME": str(tmp_path)}) == tmp_path / ".config/briefcase/notifier.toml"
