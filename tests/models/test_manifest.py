"""A trained model is verified before it is used: every file, and the manifest itself."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from grao_pipeline.errors import InputError
from grao_pipeline.models.manifest import ModelManifest, read_model_manifest, verify_where_trained
from grao_pipeline.storage.file_records import record_files
from grao_pipeline.storage.manifest import Provenance

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)), "additional/t.jinja": b"{{ x }}"}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    manifest = ModelManifest(
        Provenance("model", "f" * 32, {}, {}), "m" * 32, {"steps": 3}, record_files(tmp_path, FILES)
    )
    manifest.write(tmp_path)
    return tmp_path


def flip(path: Path, index: int, bit: int = 0) -> None:
    """One bit; size, mtime and inode stay as they were."""
    state, data = path.stat(), bytearray(path.read_bytes())
    data[index] ^= 1 << bit
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_an_intact_model_passes_and_is_read_as_it_was_written(trained: Path) -> None:
    verify_where_trained(trained)
    manifest = read_model_manifest(trained)
    assert manifest is not None
    assert (manifest.model, manifest.summary, manifest.files.keys()) == ("m" * 32, {"steps": 3}, FILES.keys())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage",
    [lambda path: flip(path, 1), lambda path: os.truncate(path, 1), Path.unlink, lambda path: os.truncate(path, 999)],
    ids=["flipped", "cut", "deleted", "grown"],
)
def test_a_damaged_file_is_named(trained: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(trained / name)
    with pytest.raises(InputError, match=rf"{name} is damaged: .* delete .*manifest\.json"):
        verify_where_trained(trained)


@pytest.mark.slow
def test_no_flipped_bit_of_the_manifest_changes_what_is_read(trained: Path) -> None:
    """Every bit of it: named, or the same values (a space is another blank)."""
    path, before = trained / "manifest.json", read_model_manifest(trained)
    for index in range(path.stat().st_size):
        for bit in (0, 5):
            flip(path, index, bit)
            with suppress(InputError):
                assert read_model_manifest(trained) == before, (index, bit)
            flip(path, index, bit)


@pytest.mark.parametrize("text", ['{"version": 3}', '{"parts": []}'])
def test_a_manifest_of_other_software_is_not_ours(trained: Path, text: str) -> None:
    (trained / "manifest.json").write_text(text)
    (trained / "model.safetensors").write_bytes(b"other")
    verify_where_trained(trained)


@pytest.mark.parametrize("text", ["", "[" * 100_000, "\udc80", json.dumps({"fingerprint": "f"})])
def test_a_manifest_that_may_be_ours_is_named(trained: Path, text: str) -> None:
    (trained / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"manifest\.json (is damaged|was not written)"):
        verify_where_trained(trained)
