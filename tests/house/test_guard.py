"""The guard of `tests/conftest.py` is itself tested: without it a test could reach the real vendors."""

from __future__ import annotations

import os
import socket

import pytest

ELSEWHERE = ("192.0.2.1", 9)
"""Of the range that is kept for documentation: nobody is there."""


def test_other_machines_are_refused_and_remembered(forbidden_connections: list[str]) -> None:
    with socket.socket() as stream, pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        stream.connect(ELSEWHERE)
    with socket.socket(type=socket.SOCK_DGRAM) as datagram, pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        datagram.sendto(b"x", ELSEWHERE)
    with pytest.raises(AssertionError, match=r"api\.example"):
        socket.create_connection(("api.example", 443))
    assert forbidden_connections == ["192.0.2.1", "192.0.2.1", "api.example"]
    forbidden_connections.clear()


def test_this_machine_is_reached() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(("localhost", server.getsockname()[1])) as client,
    ):
        client.sendall(b"x")


def test_keys_and_proxies_of_the_caller_are_gone() -> None:
    left = [name for name in os.environ if name.upper().endswith(("_API_KEY", "_TOKEN", "_PROXY"))]
    assert left == []


def test_state_folder_is_new() -> None:
    assert not os.path.exists(os.environ["OSTLER_STATE_DIR"])
