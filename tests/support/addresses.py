"""Addresses for processes that are told which one to listen at."""

import random
import socket

OWN_PORTS = range(20_000, 30_000)  # below what Linux and macOS give to those who ask for any port


def free_port() -> int:
    """A port of loopback that nobody listens at, and that the system gives to nobody else meanwhile."""
    for port in random.sample(OWN_PORTS, len(OWN_PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
