"""What is remembered of submitted batches, so that a run that was killed finds them again and asks nothing twice."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from grao_pipeline.errors import DamagedPart, InputError, MismatchError
from grao_pipeline.scoring.judges.base import Reply
from grao_pipeline.scoring.judges.request_forms import RequestForm
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.json_record import read_record, write_record

SUFFIX = ".json"
DIRECT = "direct"
"""File of the questions that were asked directly, to find out what the server accepts."""


@dataclass(frozen=True)
class BatchRecord:
    """A batch: written before it is submitted, and again with its ID.

    Example: `BatchRecord("5f0c…", "batch_67…", ("a1…", "b2…"))`
    """

    key: str
    """Also in the batch's metadata on the server."""
    batch_id: str | None
    """None where the run ended before the server answered."""
    custom_ids: tuple[str, ...]
    """The requests of the batch."""
    has_ended: bool = False


class BatchRecords:
    """The records of one scores table, a file each.

    Args:
        url: directory; it exists only while there are records.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._directory = Directory(url)

    def all(self) -> list[BatchRecord]:
        """Every record, in the order of their keys.

        Raises:
            InputError: a file is not a record.
        """
        return [self._read(name) for name in self._directory.names() if name.endswith(SUFFIX)]

    def direct(self) -> tuple[RequestForm | None, dict[str, Reply]]:
        """The form that the server accepts, if it is known, and the replies to questions that were asked directly, by
        custom ID.

        Raises:
            InputError: the file is not the one that was written.
        """
        value = self._record(DIRECT)
        if value is None:
            return None, {}
        try:
            return RequestForm(**value["form"]), {key: Reply(**reply) for key, reply in value["replies"].items()}
        except (TypeError, KeyError, AttributeError) as error:
            raise self._damaged(DIRECT, error) from error

    def save_direct(self, form: RequestForm, replies: Mapping[str, Reply]) -> None:
        """Write them."""
        value = {"form": asdict(form), "replies": {key: asdict(reply) for key, reply in replies.items()}}
        write_record(self._directory, DIRECT, value)

    def save(self, record: BatchRecord) -> None:
        """Write a record, whole or not at all."""
        write_record(self._directory, f"{record.key}{SUFFIX}", asdict(record))

    def end(self, record: BatchRecord) -> None:
        """Note that a batch has ended."""
        self.save(replace(record, has_ended=True))

    def forget(self, record: BatchRecord) -> None:
        """Delete a record."""
        self._directory.delete(f"{record.key}{SUFFIX}")

    def clear(self) -> None:
        """Delete all records, and their directory: everything that they stand for is stored."""
        self._directory.delete_all()

    def _read(self, name: str) -> BatchRecord:
        value = self._record(name) or {}
        try:
            return BatchRecord(**{**value, "custom_ids": tuple(value["custom_ids"])})
        except (TypeError, KeyError) as error:
            raise self._damaged(name, error) from error

    def _record(self, name: str) -> dict[str, Any] | None:
        """The checked content of a file; None where there is no such file.

        Raises:
            InputError: it is not the content that was written.
        """
        try:
            return read_record(self._directory, name)
        except (DamagedPart, MismatchError) as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, error: Exception) -> InputError:
        return InputError(
            f"{self._directory.path(name)} is not the record that was written ({error}). Delete it; its questions "
            "are asked again."
        )
