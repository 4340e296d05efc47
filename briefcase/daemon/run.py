"""The daemon's process, from its variables to its end: steps 1 and 2 of a start (`composition` has all six).

What the later steps need is loaded while a thread opens the vault: deriving its key takes as long as the imports do.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Final

from briefcase.adapters.disk.data_dir import DataDirLock, prepare_data_dir
from briefcase.adapters.system import outlive_hangups
from briefcase.adapters.vault.opening import begin_vault
from briefcase.daemon.settings import master_passphrase, parse_settings
from briefcase.model.variables import SECRET_NAMES

_PR_SET_DUMPABLE: Final = 4  # prctl(2)


def serve(environ: MutableMapping[str, str], on_ready: Callable[[], None] | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT; drains, then returns.

    Args:
        environ: the environment of this process; the secrets in it are taken out.
        on_ready: called once, when calls can be served.

    Raises:
        BriefcaseError: it could not start.
    """
    began_s = time.monotonic()
    outlive_hangups()

    # 1. the settings, and the process
    settings, passphrase = parse_settings(environ), master_passphrase(environ)
    pin = environ.get("BRIEFCASE_PKCS11_PIN", "")
    harden_process(environ)

    # 2. the data directory
    data_dir = prepare_data_dir(settings.data_dir)
    lock = DataDirLock(data_dir)
    try:
        gc.disable()  # a start leaves no garbage; `tune_interpreter` collects after it
        opening = begin_vault(settings.secret_backend, data_dir, passphrase)

        # 3. to 6.
        from briefcase.daemon.composition import Foundation, run

        run(Foundation(settings, environ, data_dir, opening, began_s, pin), on_ready)
    finally:
        gc.enable()
        lock.release()


def harden_process(environ: MutableMapping[str, str]) -> None:
    """Leave no core dump, let no other process of the user read our memory, hand children no secret.

    Args:
        environ: the environment of this process.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    for name in SECRET_NAMES:
        environ.pop(name, None)
