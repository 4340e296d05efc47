"""Every environment variable that this project reads: its default, unit, form, and the page that explains it.

`docs/reference.md` and `briefcase config show` are made from this table. A test finds every variable that the code
reads and holds it against this table; another gives each default by name and sees no change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

SETTINGS_PAGE: Final = "operations.md#settings"

_MAY_HOLD_SECRET: Final = re.compile("[@?#]")  # of an address: userinfo, a query


class Variable(msgspec.Struct, frozen=True):
    """One environment variable.

    `default` is a value that it may be given without changing anything; `otherwise` says what holds where it has no
    such value. `form` says how the value is read: a `path` may begin with `~/`, a `secret` is never shown. `words`
    are its only values, where there are only some. `reader` names the library that reads it, where it is not our code.
    """

    name: str
    what: str
    page: str
    default: str = ""
    otherwise: str = ""
    unit: str = ""
    form: Literal["text", "path", "secret"] = "text"
    words: tuple[str, ...] = ()
    reader: str = ""

    @property
    def is_secret(self) -> bool:
        """Whether its value is never shown."""
        return self.form == "secret"

    def shown(self, value: str) -> str | None:
        """The value as it may be shown; None for a secret, and for an address that may hold one."""
        if self.is_secret or ("://" in value and _MAY_HOLD_SECRET.search(value)):
            return None
        return value


_SWITCH: Final = ("0", "1", "false", "true")

VARIABLES: Final[Mapping[str, tuple[Variable, ...]]] = {
    "The daemon": (
        Variable(
            "BRIEFCASE_DATA_DIR",
            "where everything is kept; commands look here for the token",
            SETTINGS_PAGE,
            otherwise="`briefcase` in `XDG_DATA_HOME`",
            form="path",
        ),
        Variable(
            "BRIEFCASE_PROFILE_MODE",
            "what follows where a rule does not hold",
            "operations.md#modes",
            default="reference",
            words=("reference", "staging", "ga"),
        ),
        Variable(
            "BRIEFCASE_STRICT_HOST",
            "isolation on a host that several people use",
            "operations.md#strict-host",
            default="0",
            words=_SWITCH,
        ),
        Variable(
            "BRIEFCASE_UNIX_SOCKET",
            "the operator's socket",
            "operations.md#strict-host",
            otherwise="`briefcased.sock` in the data directory",
            form="path",
        ),
        Variable(
            "BRIEFCASE_AGENT_SOCKET",
            "a second socket, for agents of other users; the gateway connects to it, too",
            "deploy/README.md#the-agents-socket",
            otherwise="none",
            form="path",
        ),
        Variable(
            "BRIEFCASE_TCP_ADDR",
            "a loopback address to listen on, `host:port`",
            "operations.md#who-answers",
            otherwise="no TCP",
        ),
        Variable(
            "BRIEFCASE_EXT_AUTHZ_ADDR",
            "a loopback address where Envoy asks over gRPC, `host:port`",
            "decisions.md#over-grpc",
            otherwise="no gRPC",
        ),
        Variable("BRIEFCASE_NAMED_PIPE", "the pipe on Windows", "operations.md#strict-host", otherwise="none"),
        Variable(
            "BRIEFCASE_SECRET_BACKEND",
            "where secrets are kept",
            "backup.md",
            default="auto",
            words=("auto", "keyring", "file", "memory"),
        ),
        Variable(
            "BRIEFCASE_MASTER_PASSPHRASE",
            "seals the key of the secrets' file",
            "backup.md",
            otherwise="the key lies in a file of its own",
            form="secret",
        ),
        Variable(
            "BRIEFCASE_IDENTITY_KEY",
            "where the daemon's identity is kept",
            "keys.md",
            default="software",
            words=("software", "pkcs11", "tpm"),
        ),
        Variable(
            "BRIEFCASE_PROOF_KEYS",
            "where the keys are kept that tokens of providers and MCP servers are bound to",
            "keys.md",
            default="software",
            words=("software", "pkcs11", "tpm"),
        ),
        Variable(
            "BRIEFCASE_PKCS11_MODULE", "the PKCS#11 library of the token", "keys.md", otherwise="none", form="path"
        ),
        Variable("BRIEFCASE_PKCS11_TOKEN", "the token's label", "keys.md", otherwise="none"),
        Variable("BRIEFCASE_PKCS11_PIN", "the PIN of the token's user", "keys.md", otherwise="none", form="secret"),
        Variable(
            "BRIEFCASE_TPM_TCTI",
            "how the TPM is reached, as the TCG software stack writes it: `device:/dev/tpmrm0`",
            "keys.md",
            otherwise="none",
        ),
        Variable(
            "BRIEFCASE_PROVIDER_BASE_URL",
            "the address of the provider `demo`, named at the start",
            "providers.md",
            otherwise="no provider is named",
        ),
        Variable(
            "BRIEFCASE_VC_STATUS_UNKNOWN_MODE",
            "what happens where a credential's status is not known",
            "providers.md",
            default="require_approval",
            words=("require_approval", "deny"),
        ),
        Variable(
            "BRIEFCASE_CONTROL_PLANE_SYNC_INTERVAL_SECS",
            "how often the control plane is asked",
            "fleet.md",
            default="60",
            unit="seconds",
        ),
        Variable(
            "BRIEFCASE_RISK_CLASSIFIER_URL",
            "a classifier of calls, over https or on this machine",
            "operations.md#a-risk-classifier",
            otherwise="none",
        ),
        Variable(
            "BRIEFCASE_PAYMENT_HELPER",
            "a program that holds the wallet, by its whole path",
            "payments.md",
            otherwise="none: nothing is paid in `ga`",
            form="path",
        ),
    ),
    "Commands, and whoever connects to a daemon": (
        Variable(
            "BRIEFCASE_DAEMON_UNIX_SOCKET",
            "the daemon's socket",
            "operations.md#who-answers",
            otherwise="the socket of a daemon with this environment",
            form="path",
        ),
        Variable(
            "BRIEFCASE_DAEMON_BASE_URL",
            "the daemon's address over TCP, `http://127.0.0.1:PORT`",
            "operations.md#who-answers",
            otherwise="the socket",
        ),
        Variable("BRIEFCASE_DAEMON_NAMED_PIPE", "the daemon's pipe on Windows", SETTINGS_PAGE, otherwise="none"),
        Variable(
            "BRIEFCASE_DAEMON_DID",
            "who must answer over TCP",
            "operations.md#who-answers",
            otherwise="the file `identity_did` in the data directory",
        ),
        Variable(
            "BRIEFCASE_DAEMON_UID",
            "who must answer over the socket, by uid",
            "operations.md#who-answers",
            otherwise="the owner of the data directory",
        ),
        Variable(
            "BRIEFCASE_AUTH_TOKEN",
            "the token to use; the gateway takes an agent's only",
            "mcp.md",
            otherwise="`auth_token` in the data directory",
            form="secret",
        ),
        Variable(
            "BRIEFCASE_AUTH_TOKEN_FILE",
            "a private file that holds the token to use, instead of `BRIEFCASE_AUTH_TOKEN`",
            "setup.md",
            otherwise="none",
            form="path",
        ),
        Variable(
            "BRIEFCASE_BACKUP_PASSPHRASE",
            "the passphrase of a sealed backup",
            "backup.md",
            otherwise="asked for",
            form="secret",
        ),
        Variable("NO_COLOR", "set to anything: no colours", SETTINGS_PAGE, otherwise="colours on a terminal"),
    ),
    "The MCP gateway": (
        Variable(
            "BRIEFCASE_MCP_HTTP_ADDR",
            "a loopback address for Streamable HTTP, `host:port`",
            "mcp.md",
            otherwise="standard input and output only",
        ),
        Variable("BRIEFCASE_MCP_HTTP_PATH", "the path there", "mcp.md", default="/mcp"),
        Variable(
            "BRIEFCASE_MCP_NO_STDIO", "do not serve standard input", "mcp.md", default="0", words=_SWITCH
        ),
        Variable(
            "BRIEFCASE_MCP_HOLD_SECS",
            "how long a call is held for a person, at most 600; 0 holds none",
            "mcp.md#a-call-that-waits",
            default="45",
            unit="seconds",
        ),
    ),
    "The control plane": (
        Variable(
            "BRIEFCASE_CONTROL_PLANE_DATABASE_URL",
            "its PostgreSQL",
            "fleet.md",
            otherwise="needed, or `--embedded`",
            form="secret",
        ),
        Variable(
            "BRIEFCASE_CONTROL_PLANE_LISTEN", "where it listens, `address:port`", "fleet.md", default="127.0.0.1:8790"
        ),
        Variable(
            "BRIEFCASE_CONTROL_PLANE_PUBLIC_BASE_URL",
            "the address that devices use",
            "fleet.md",
            otherwise="the listener's own",
        ),
        Variable(
            "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN",
            "the administrator's token; a device that enrols gives it, too",
            "fleet.md",
            otherwise="needed; a command asks for it",
            form="secret",
        ),
        Variable(
            "BRIEFCASE_CONTROL_PLANE_AUDITOR_TOKEN",
            "the auditor's token",
            "fleet.md",
            otherwise="no auditor",
            form="secret",
        ),
        Variable(
            "BRIEFCASE_CONTROL_PLANE_SIGNING_KEY_FILE",
            "the key that signs bundles, shared by all its processes",
            "fleet.md",
            otherwise="`control-plane/signing_key` in the data directory",
            form="path",
        ),
        Variable(
            "BRIEFCASE_FLEET_URL", "the control plane that `briefcase fleet` steers", "fleet.md", otherwise="needed"
        ),
        Variable(
            "BRIEFCASE_FLEET_TOKEN",
            "an administrator's, auditor's or approver's token for it",
            "fleet.md",
            otherwise="needed",
            form="secret",
        ),
    ),
    "The notifier": (
        Variable(
            "BRIEFCASE_NOTIFIER_CONFIG",
            "whom `briefcase notifier` tells, and of what",
            "notifications.md",
            otherwise="`briefcase/notifier.toml` in `XDG_CONFIG_HOME`",
            form="path",
        ),
    ),
    "Logs and telemetry": (
        Variable(
            "BRIEFCASE_LOG_FILE",
            "a file for the log of a server; SIGHUP opens it anew",
            "ops/README.md#logs",
            otherwise="standard error",
            form="path",
        ),
        Variable(
            "BRIEFCASE_OTEL",
            "whether OpenTelemetry is on",
            "ops/README.md#opentelemetry",
            otherwise="on where an endpoint is set",
            words=_SWITCH,
        ),
        *(
            Variable(
                f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT",
                f"where {what} sent, over OTLP/HTTP",
                "ops/README.md#opentelemetry",
                otherwise="none",
            )
            for signal, what in (
                ("", "everything is"), ("TRACES_", "traces are"), ("METRICS_", "metrics are"), ("LOGS_", "logs are"),
            )
        ),
        Variable(
            "OTEL_SDK_DISABLED",
            "`true` switches it off where `BRIEFCASE_OTEL` is not set",
            "ops/README.md#opentelemetry",
            default="false",
        ),
        *(
            Variable(
                f"OTEL_{signal}_EXPORTER",
                f"whether {signal.lower()} are sent",
                "ops/README.md#opentelemetry",
                default="otlp",
                words=("otlp", "none"),
            )
            for signal in ("TRACES", "METRICS", "LOGS")
        ),
        Variable(
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "how it is sent",
            "ops/README.md#opentelemetry",
            default="http/protobuf",
            words=("http/protobuf",),
        ),
        Variable(
            "OTEL_TRACES_SAMPLER",
            "which requests are traced",
            "ops/README.md#opentelemetry",
            default="traceidratio",
            words=tuple(by + of for by in ("", "parentbased_") for of in ("traceidratio", "always_on", "always_off")),
        ),
        Variable(
            "OTEL_TRACES_SAMPLER_ARG", "the share that is traced, 0 to 1", "ops/README.md#opentelemetry", default="0.1"
        ),
        Variable(
            "OTEL_METRIC_EXPORT_INTERVAL",
            "how often metrics are sent",
            "ops/README.md#opentelemetry",
            default="60000",
            unit="milliseconds",
        ),
        Variable(
            "OTEL_SERVICE_NAME",
            "what the process is called there",
            "ops/README.md#opentelemetry",
            otherwise="`briefcase`, the gateway `briefcase-gateway`",
        ),
        Variable(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "headers of each export",
            "ops/README.md#opentelemetry",
            otherwise="none",
            form="secret",
            reader="the OTLP exporter",
        ),
        Variable(
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "how long one export may take",
            "ops/README.md#opentelemetry",
            default="10",
            unit="seconds",
            reader="the OTLP exporter",
        ),
        Variable(
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "the authority of the collector's certificate",
            "ops/README.md#opentelemetry",
            otherwise="the system's",
            reader="the OTLP exporter",
        ),
        Variable(
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "traces that wait to be sent",
            "ops/README.md#opentelemetry",
            default="2048",
            reader="OpenTelemetry's SDK",
        ),
        Variable(
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            "traces of one export",
            "ops/README.md#opentelemetry",
            default="512",
            reader="OpenTelemetry's SDK",
        ),
    ),
    "The system": (
        Variable(
            "NOTIFY_SOCKET",
            "where a server says that it is ready, alive and stopping (`sd_notify`)",
            "deploy/README.md#with-systemd",
            otherwise="nobody is told",
            form="path",
        ),
        Variable(
            "WATCHDOG_USEC",
            "within what time a server gives a sign of life there",
            "deploy/README.md#with-systemd",
            otherwise="it gives none",
            unit="µs",
        ),
        Variable(
            "WATCHDOG_PID", "the process of which it is asked", "deploy/README.md#with-systemd", otherwise="each"
        ),
        Variable("HOME", "what `~` stands for in a path", SETTINGS_PAGE, otherwise="the user's home", form="path"),
        Variable(
            "XDG_DATA_HOME",
            "where the data directory is, unless it is named",
            SETTINGS_PAGE,
            default="~/.local/share",
            form="path",
        ),
        Variable(
            "XDG_CONFIG_HOME", "where programs keep their settings", "setup.md", default="~/.config", form="path"
        ),
        Variable(
            "CLAUDE_CONFIG_DIR", "where Claude Code keeps its files", "setup.md", otherwise="the home", form="path"
        ),
        Variable("CODEX_HOME", "where Codex keeps its files", "setup.md", default="~/.codex", form="path"),
        Variable(
            "SSL_CERT_FILE", "authorities that upstreams' certificates are held against", "fleet.md#enrol",
            otherwise="the system's", reader="OpenSSL",
        ),
        Variable(
            "SSL_CERT_DIR", "a directory of them", "fleet.md#enrol", otherwise="the system's", reader="OpenSSL"
        ),
    ),
}  # fmt: skip
BY_NAME: Final[Mapping[str, Variable]] = {
    variable.name: variable for variables in VARIABLES.values() for variable in variables
}
OWN_PREFIX: Final = "BRIEFCASE_"
SECRET_NAMES: Final = tuple(name for name, found in BY_NAME.items() if found.is_secret and name.startswith(OWN_PREFIX))
