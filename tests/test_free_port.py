"""Ports for servers that are started later."""

import socket

import pytest

from grao_pipeline import free_port as ports


def test_it_is_none_that_an_outgoing_connection_may_get() -> None:
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            first, last = map(int, file.read().split())
    except OSError:
        pytest.skip("Linux alone says which ports these are")
    if (first, last) == (32768, 60999):  # Linux's own setting
        assert not set(range(first, last + 1)).intersection(ports.PORTS)


def test_it_is_one_that_nothing_listens_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(ports, "PORTS", [taken] * 100)
        with pytest.raises(OSError, match=f"no port from {taken} to {taken} is free"):
            ports.free_port("127.0.0.1")
    monkeypatch.undo()
    with socket.socket() as server:
        server.bind(("127.0.0.1", ports.free_port("127.0.0.1")))
        server.listen()
