"""Settings: every wrong value stops the start with its name, what was expected and what was found."""

import builtins
import os
from pathlib import Path

import pytest

from briefcase.adapters.disk.data_dir import data_dir_of, named_path, socket_path_of
from briefcase.core.payments.x402 import Asset, parse_asset
from briefcase.daemon.config_file import CONFIG_FILE, PAGES, FileConfig, load_file
from briefcase.daemon.configuration import config_keys
from briefcase.daemon.settings import UNSERVED, master_passphrase, parse_loopback_address, parse_settings
from briefcase.edges.cli.client import address_of
from briefcase.edges.control_plane import settings as control_plane
from briefcase.edges.gateway.settings import load_gateway_settings
from briefcase.model.errors import ConfigError
from briefcase.model.variables import BY_NAME


@pytest.fixture
def base(tmp_path):
    return {"BRIEFCASE_DATA_DIR": str(tmp_path)}


def test_an_empty_environment_gives_the_defaults(base, tmp_path):
    settings = parse_settings(base)

    assert settings.data_dir == tmp_path
    assert settings.unix_socket == tmp_path / "briefcased.sock"
    assert (settings.profile_mode, settings.strict_host, settings.tcp_addr) == ("reference", False, None)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BRIEFCASE_PROFILE_MODE", "prod", "expected one of reference, staging, ga, got `prod`"),
        ("BRIEFCASE_STRICT_HOST", "yes please", "expected 1, 0, true or false"),
        ("BRIEFCASE_SECRET_BACKEND", "vault", "expected one of auto, keyring, file, memory"),
        ("BRIEFCASE_TCP_ADDR", "0.0.0.0:80", "loopback"),
        ("BRIEFCASE_TCP_ADDR", "[::]:80", "loopback"),
        ("BRIEFCASE_TCP_ADDR", "[::ffff:10.0.0.1]:80", "loopback"),
        ("BRIEFCASE_TCP_ADDR", "192.168.0.1:80", "loopback"),
        ("BRIEFCASE_TCP_ADDR", "evil.example:80", "BRIEFCASE_TCP_ADDR"),
        ("BRIEFCASE_TCP_ADDR", "127.0.0.1:99999", "65535"),
        ("BRIEFCASE_TCP_ADDR", "127.0.0.1", "host:port"),
        ("BRIEFCASE_EXT_AUTHZ_ADDR", "0.0.0.0:9191", "loopback"),
        ("BRIEFCASE_UNIX_SOCKET", "/tmp/" + "x" * 120, "too long"),
        ("BRIEFCASE_VC_STATUS_UNKNOWN_MODE", "allow", "expected one of require_approval, deny, got `allow`"),
        ("BRIEFCASE_PROVIDER_BASE_URL", "provider.example", "expected `https://host"),
        ("BRIEFCASE_PROVIDER_BASE_URL", "https://scout:hunter2@provider.example", "without userinfo"),
        ("BRIEFCASE_PROVIDER_BASE_URL", "https://provider.example/?x=1", "without a query"),
        ("BRIEFCASE_CONTROL_PLANE_SYNC_INTERVAL_SECS", "0.5", "expected whole seconds from 1 to 604800, got `0.5`"),
        ("BRIEFCASE_CONTROL_PLANE_SYNC_INTERVAL_SECS", "0", "expected whole seconds"),
        ("BRIEFCASE_CONTROL_PLANE_SYNC_INTERVAL_SECS", "604801", "expected whole seconds"),
        ("BRIEFCASE_STRICT_HOSTS", "1", "did you mean `BRIEFCASE_STRICT_HOST`"),
    ],
)
def test_a_wrong_value_is_refused_by_name(base, name, value, says):
    with pytest.raises(ConfigError) as refused:
        parse_settings({**base, name: value})

    assert f"`{name}`" in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert says in str(refused.value) + refused.value.hint


@pytest.mark.parametrize("name", UNSERVED)
def test_a_variable_that_nothing_serves_is_refused(base, name):
    with pytest.raises(ConfigError, match=f"`{name}` is not served by this build") as refused:
        parse_settings({**base, name: "x"})

    assert "unset it" in refused.value.hint
    assert parse_settings({**base, name: ""}) == parse_settings(base)


def test_the_payment_helper_is_named_by_its_whole_path(base):
    assert parse_settings(base).payment_helper is None
    named = parse_settings({**base, "BRIEFCASE_PAYMENT_HELPER": "/opt/wallet/pay"})
    assert str(named.payment_helper) == "/opt/wallet/pay"
    with pytest.raises(ConfigError, match="whole path of a program, got `pay`"):
        parse_settings({**base, "BRIEFCASE_PAYMENT_HELPER": "pay"})


@pytest.mark.parametrize(
    "keys",
    [
        "[payments]\nrail = 'cash'",
        "[payments]\nassets = ['eip155:137/0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359']",
        "[payments]\nassets = ['eip155:137/erc20:0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359 19']",
        "[payments]\nassets = ['solana:5eykt4/erc20:0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359']",
        "[providers]\nopaque_credentials = ['no id']",
    ],
)
def test_what_is_no_asset_no_rail_and_no_provider_is_refused(tmp_path, base, keys):
    path = tmp_path / CONFIG_FILE
    path.write_text(keys)
    with pytest.raises(ConfigError, match=str(path)):
        load_file(path, base)


@pytest.mark.parametrize(("text", "decimals"), [("", 6), (" 18", 18), (" 0", 0)])
def test_an_asset_is_named_as_caip_19_has_it_with_its_decimals(tmp_path, base, text, decimals):
    address = "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359"
    path = tmp_path / CONFIG_FILE
    path.write_text(f"[payments]\nassets = ['eip155:137/erc20:{address}{text}']")
    (named,) = load_file(path, base).payments.assets
    assert parse_asset(named) == Asset("eip155:137", address, decimals)


def test_strict_host_wants_the_socket_inside_the_data_directory(base):
    with pytest.raises(ConfigError, match="strict host"):
        parse_settings({**base, "BRIEFCASE_STRICT_HOST": "1", "BRIEFCASE_UNIX_SOCKET": "/tmp/other.sock"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[calls]\nper_secnd = 3", "per_secnd"),
        ("[calls]\nper_second = 0", "per_second"),
        ("[receipts]\nargs = 'all'", "args"),
        ("[calls", "briefcase.toml"),
    ],
)
def test_a_wrong_configuration_file_is_refused_by_key(tmp_path, text, says):
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_file(tmp_path / CONFIG_FILE)


def test_without_a_configuration_file_every_key_has_its_default(tmp_path):
    assert load_file(tmp_path / CONFIG_FILE) == FileConfig()
    assert FileConfig().receipts.args == "redacted"


def test_the_same_variables_make_the_same_settings_and_no_file_is_looked_at(base, tmp_path, monkeypatch):
    settings = parse_settings(base)
    (tmp_path / CONFIG_FILE).write_text("[calls")  # read later, when the directory is checked and locked
    monkeypatch.setattr(os, "stat", None)
    monkeypatch.setattr(builtins, "open", None)

    assert parse_settings(base) == settings


def test_a_passphrase_that_is_no_text_is_the_bytes_that_were_given(monkeypatch):
    given = os.fsdecode(b"p\xe4ss")

    assert master_passphrase({"BRIEFCASE_MASTER_PASSPHRASE": given}) == b"p\xe4ss"


def test_the_data_directory_follows_the_xdg_convention():
    assert str(data_dir_of({"XDG_DATA_HOME": "/x"})) == "/x/briefcase"
    assert str(data_dir_of({"HOME": "/h"})) == "/h/.local/share/briefcase"


@pytest.mark.parametrize(
    ("named", "path"),
    [
        ("~", "/h"),
        ("~/bc", "/h/bc"),
        ("~//bc", "/h/bc"),
        ("/a/~/bc", "/a/~/bc"),
        ("a~", "a~"),
        (".", "."),
        ("./~", "~"),
    ],
)
def test_a_variable_may_name_the_home_directory_as_a_shell_does(named, path):
    variables = (
        "BRIEFCASE_DATA_DIR", "BRIEFCASE_UNIX_SOCKET", "BRIEFCASE_DAEMON_UNIX_SOCKET", "BRIEFCASE_AGENT_SOCKET",
    )  # fmt: skip
    environ = {"HOME": "/h", **dict.fromkeys(variables, named)}
    absolute = Path(path).absolute()
    assert {named_path(environ, name) for name in variables} == {Path(path)}
    assert (data_dir_of(environ), socket_path_of(environ)) == (absolute, absolute)
    assert address_of(environ, lambda: Path("/x")).socket_path == path
    gateway = load_gateway_settings(environ | {"BRIEFCASE_AUTH_TOKEN": "t"}, Path("/x"), Path("/y"))
    assert gateway.daemon_socket == absolute


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[receipts]\ncheckpoint_dir = '~/kept'\n[file_read]\nprefixes = ['~', '/srv']", None),
        ("[receipts]\ncheckpoint_dir = '~eve/kept'", "`receipts.checkpoint_dir`: expected a path, or one that begins"),
        ("[file_read]\nprefixes = ['~eve']", "`file_read.prefixes`: expected a path, or one that begins with `~/`"),
    ],
)
def test_a_path_in_the_configuration_file_may_begin_at_home(tmp_path, text, says):
    (tmp_path / CONFIG_FILE).write_text(text)
    if says is not None:
        with pytest.raises(ConfigError, match=says):
            load_file(tmp_path / CONFIG_FILE, {"HOME": "/h"})
        return
    config = load_file(tmp_path / CONFIG_FILE, {"HOME": "/h"})
    assert (config.receipts.checkpoint_dir, config.file_read.prefixes) == ("/h/kept", ("/h", "/srv"))


@pytest.fixture
def readers(base, tmp_path):
    """Each program's reading of an environment that has all it needs."""
    token, home = "t" * 43, {"HOME": "/h"}
    every = base | home | {"BRIEFCASE_AUTH_TOKEN": token, "BRIEFCASE_OTEL": "1"}
    plane = every | {control_plane.DATABASE_URL: "postgresql://x/y", control_plane.ADMIN_VARIABLE: token}
    return (
        lambda **given: parse_settings(every | given),
        lambda **given: parse_settings(home | given),
        lambda **given: load_gateway_settings(
            every | {"BRIEFCASE_MCP_HTTP_ADDR": "127.0.0.1:1"} | given, tmp_path / "s", tmp_path
        ),
        lambda **given: control_plane.parse_settings(plane | given, control_plane.ServeOptions()),
    )


@pytest.mark.parametrize(
    "variable", [one for one in BY_NAME.values() if one.default and not one.reader], ids=lambda one: one.name
)
def test_a_default_of_the_reference_changes_nothing(readers, variable):
    for read in readers:
        assert read(**{variable.name: variable.default}) == read()


@pytest.mark.parametrize("variable", [one for one in BY_NAME.values() if one.words], ids=lambda one: one.name)
def test_the_words_of_the_reference_are_those_that_are_taken(readers, variable):
    refusals, wanting = [], []
    for read in readers:
        for word in variable.words:
            try:
                read(**{variable.name: word})
            except ConfigError as error:  # it is taken, and needs another beside it
                wanting.append(str(error))
        try:
            read(**{variable.name: "no-such-word"})
        except ConfigError as error:
            refusals.append(str(error))
    assert refusals
    assert all(f"`{variable.name}`" in refusal for refusal in refusals)
    assert not [refusal for refusal in wanting if f"`{variable.name}`" in refusal]


def test_every_key_of_the_file_has_a_page_and_says_what_it_is():
    keys = list(config_keys())
    assert {key.section for key in keys} == set(PAGES) == set(FileConfig.__struct_fields__)
    assert all(key.what and key.allowed for key in keys)


def test_another_users_home_directory_is_not_guessed():
    expected = "`BRIEFCASE_DATA_DIR`: expected a path, or one that begins with `~/`, got `~eve/bc`"
    with pytest.raises(ConfigError, match=expected):
        data_dir_of({"BRIEFCASE_DATA_DIR": "~eve/bc"})


@pytest.mark.parametrize(("text", "address"), [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:2", ("::1", 2))])
def test_loopback_addresses_are_read(text, address):
    assert parse_loopback_address(text) == address


@pytest.mark.parametrize(
    ("base_url", "reached"),
    [
        ("http://127.0.0.1:8787/", ("127.0.0.1:8787",)),
        ("http://[::1]:8787", ("[::1]:8787",)),
        ("http://localhost:8787", ("localhost:8787",)),
        ("https://provider.example", ()),
        ("http://10.0.0.8:80", ()),
        (None, ()),
    ],
)
def test_a_provider_of_this_host_may_be_reached_and_no_other_private_one(base, base_url, reached):
    settings = parse_settings(base | ({"BRIEFCASE_PROVIDER_BASE_URL": base_url} if base_url else {}))

    assert settings.local_provider == reached
    assert settings.provider_base_url == (base_url and base_url.rstrip("/"))
    assert settings.vc_unknown_mode == "require_approval"
