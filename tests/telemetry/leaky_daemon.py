"""The daemon with redaction switched off: the control run, in which the search for canaries must find them.

The switch is here and not in the product: the class that redacts is replaced by one that does not, before the daemon
composes itself.
"""

import sys

from briefcase.__main__ import main
from briefcase.daemon import stores as daemon


class LeakyRedactor:
    def __init__(self, *_) -> None:
        pass

    def redact(self, value: bytes) -> bytes:
        return value

    def redact_text(self, text: str) -> str:
        return text

    def redact_named(self, value: bytes) -> tuple[bytes, int]:
        return value, 0


if __name__ == "__main__":
    daemon.SecretRedactor = LeakyRedactor
    sys.argv[1:] = ["daemon"]
    sys.exit(main())
