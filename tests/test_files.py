"""What is not a text file of a person is refused by name, at once."""

import os
import re
import socket
from pathlib import Path

import pytest

from grao_pipeline.errors import InputError
from grao_pipeline.files import read_text


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\ufeffä".encode())
    assert read_text(tmp_path / "a") == "ä"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pipe", "expected a file, found a pipe."),
        ("socket", "expected a file, found a socket."),
        ("directory", "expected a file, found a directory."),
        ("/dev/zero", "expected a file, found a device."),
        ("missing", "No such file or directory."),
        ("a\0b", "embedded null byte."),
        ("x" * 5_000, "File name too long."),
        ("sparse", "it is larger than 16 MiB."),
    ],
)
def test_anything_but_a_file_is_refused_by_name(name: str, reason: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(InputError, match=re.escape(reason)) as raised:
            read_text(tmp_path / name)
    assert len(str(raised.value)) < 500


def test_bytes_that_are_no_text_are_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"a is not UTF-8 text"):
        read_text(tmp_path / "a")
