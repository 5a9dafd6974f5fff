"""A port for a server that is started later."""

import random
import socket

PORTS = range(20_000, 32_768)
"""Below those that Linux gives to outgoing connections, of which one could take the port in between."""


def free_port(host: str = "") -> int:
    """A port of this machine (or of one of its addresses) that nothing listens on.

    Raises:
        OSError: none is free.
    """
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                server.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"no port from {PORTS[0]} to {PORTS[-1]} is free")
