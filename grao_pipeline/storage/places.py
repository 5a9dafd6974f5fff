"""Places of outputs: paths of this machine, and URLs that are put together in the same way."""

from dataclasses import dataclass
from pathlib import Path
from typing import Union


@dataclass(frozen=True)
class Url:
    """A directory at an fsspec URL, with the few methods of `Path` that naming a place needs.

    Example: `Url("s3://bucket/runs") / "store"` → `s3://bucket/runs/store`
    """

    text: str

    def __truediv__(self, name: str) -> "Url":
        return Url(f"{self.text.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.text

    def __fspath__(self) -> str:
        return self.text

    @property
    def name(self) -> str:
        """The last name."""
        return self.text.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> "Url":
        """The directory that it is in."""
        return Url(self.text.rstrip("/").rpartition("/")[0])


Place = Union[Path, Url]  # noqa: UP007  # evaluated where a dataclass is made


def place_of(text: str) -> Place:
    """The place that a text names."""
    return Url(text) if "://" in text else Path(text)
