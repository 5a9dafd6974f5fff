"""Requests through a server's batch files (`/files`, `/batches`): half the price, within a day.

Requests go up as a JSONL file, the batch is polled, and the answers come down as files. A batch is recorded before it
is submitted and carries the record's key in its metadata: whenever a run ends, the next one finds the batch again.
"""

import json
import reprlib
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from grao_pipeline.errors import StageFailure
from grao_pipeline.models.server import Server
from grao_pipeline.models.server_errors import Refusal, is_refusal
from grao_pipeline.progress import Progress
from grao_pipeline.scoring.judges.batch_records import BatchRecord, BatchRecords

PATH = "/chat/completions"
ENDPOINT = f"/v1{PATH}"
WINDOW = "24h"
"""The only completion window that the API has."""
ENDED = ("completed", "expired", "cancelled", "failed")
MAX_REQUESTS = 50_000
MAX_BYTES = 190_000_000
"""Limits of an input file: 50,000 requests, 200 MB."""
METADATA_KEY = "grao_batch"
MAX_SUBMISSIONS = 3
"""How often a request is submitted that expires or fails at the server."""
CREATION_TRIES = 5
SECONDS_BETWEEN_TRIES = 1.0

Bodies = Mapping[str, Mapping[str, object]]
"""Custom ID → body of a request. A custom ID is a hash of the body's content."""
Answer = dict[str, Any] | Refusal


class Batches:
    """Answers requests through batches.

    Args:
        poll_seconds: between two looks at a batch.
    """

    def __init__(self, server: Server, records: BatchRecords, poll_seconds: float, progress: Progress) -> None:
        self._server = server
        self._records = records
        self._poll_seconds = poll_seconds
        self._progress = progress

    def submitted(self) -> set[str]:
        """The custom IDs of all requests in batches of earlier runs."""
        return {custom_id for record in self._known_records() for custom_id in record.custom_ids}

    def answers(self, bodies: Bodies) -> Iterator[tuple[str, Answer]]:
        """The answer of every request, by its custom ID. Those in batches of earlier runs are not submitted again.

        Raises:
            StageFailure: the server refuses a batch, or somebody cancelled one; its answers come before.
        """
        unanswered = dict(bodies)
        records = self._known_records()
        for submission in range(MAX_SUBMISSIONS + 1):
            covered = {custom_id for record in records for custom_id in record.custom_ids}
            fresh = {custom_id: body for custom_id, body in unanswered.items() if custom_id not in covered}
            if fresh and submission == MAX_SUBMISSIONS:
                break
            records += [self._submit(chunk) for chunk in in_files(fresh)]
            for record in records:
                for custom_id, answer in self._finish(record):
                    if unanswered.pop(custom_id, None) is not None:
                        yield custom_id, answer
            records = []
            if not unanswered:
                return
        for custom_id in unanswered:
            yield custom_id, Refusal(0, f"it was not answered in {MAX_SUBMISSIONS} batches")

    def _known_records(self) -> list[BatchRecord]:
        """The batches of earlier runs that the server knows."""
        known = []
        for record in self._records.all():
            batch_id = record.batch_id or self._find(record.key)
            if batch_id is None:  # the run ended before the batch was submitted
                self._records.forget(record)
                continue
            if record.batch_id is None:
                self._records.save(record := replace(record, batch_id=batch_id))
            known.append(record)
        return known

    def _submit(self, bodies: Bodies) -> BatchRecord:
        """Upload requests and submit them as one batch."""
        lines = [_line(custom_id, body) for custom_id, body in bodies.items()]
        record = BatchRecord(uuid.uuid4().hex, None, tuple(bodies))
        data = ("file", (f"{record.key}.jsonl", b"".join(lines), "application/jsonl"))
        headers = {"Content-Type": "multipart/form-data"}
        file_id = self._id("post", "/files", body={"purpose": "batch"}, files=[data], options={"headers": headers})
        self._records.save(record)
        record = replace(record, batch_id=self._create(file_id, record.key))
        self._records.save(record)
        self._progress.note(
            f"{self._server.base_url}: batch {record.batch_id} of {len(lines):,} requests is submitted."
        )
        return record

    def _create(self, file_id: str, key: str) -> str:
        """Submit a batch once, also where the server's answer is lost."""
        body = {
            "input_file_id": file_id,
            "endpoint": ENDPOINT,
            "completion_window": WINDOW,
            "metadata": {METADATA_KEY: key},
        }
        for number in range(CREATION_TRIES):
            try:
                return self._id("post", "/batches", retries=0, body=body)
            except StageFailure:
                time.sleep(SECONDS_BETWEEN_TRIES * 2**number)
                batch_id = self._find(key)
                if batch_id is not None:
                    return batch_id
                if number == CREATION_TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def _find(self, key: str) -> str | None:
        """The ID of the batch that carries this key; None where the server has none."""
        after = ""
        while True:
            listed = self._call("get", f"/batches?limit=100{after}")
            batches = listed.get("data") or []
            for batch in batches:
                if (batch.get("metadata") or {}).get(METADATA_KEY) == key:
                    return str(batch["id"])
            if not listed.get("has_more") or not batches:
                return None
            after = f"&after={batches[-1]['id']}"

    def _finish(self, record: BatchRecord) -> Iterator[tuple[str, Answer]]:
        """Wait for a batch; its answers.

        Raises:
            StageFailure: the server refused the batch, or it was cancelled while this run waited.
        """
        batch = self._wait(record)
        if batch is None:
            self._progress.warn(f"The server does not know batch {record.batch_id} any more; it is submitted again.")
            self._records.forget(record)
            return
        answers = dict(self._downloaded(batch))
        yield from answers.items()
        status, missing = batch["status"], len(record.custom_ids) - len(answers)
        if status == "failed":
            self._records.forget(record)
            raise StageFailure(f"The server refuses batch {record.batch_id}: {_reasons(batch)}")
        first_seen = not record.has_ended
        self._records.end(record)
        if status == "cancelled" and first_seen:
            raise StageFailure(
                f"Batch {record.batch_id} was cancelled; {len(answers):,} of its {len(record.custom_ids):,} requests "
                "were answered. Run the same command to submit the others again."
            )
        if missing and first_seen:
            self._progress.warn(
                f"Batch {record.batch_id} ({status}) left {missing:,} of {len(record.custom_ids):,} requests "
                "unanswered; they are submitted again."
            )

    def _wait(self, record: BatchRecord) -> dict[str, Any] | None:
        """The batch once it has ended; None where the server does not know it."""
        seen = ""
        while True:
            batch = self._server.call("get", f"/batches/{record.batch_id}")
            if isinstance(batch, Refusal):
                return None
            if not isinstance(batch.get("status"), str):
                raise StageFailure(
                    f"{self._server.base_url}/batches/{record.batch_id} has no status: {reprlib.repr(batch)}."
                )
            counts = batch.get("request_counts") or {}
            done, total = counts.get("completed") or 0, counts.get("total") or len(record.custom_ids)
            line = f"batch {record.batch_id}: {batch['status']}, {done:,} of {total:,} requests are answered."
            if line != seen:
                self._progress.note(line)
                seen = line
            if batch["status"] in ENDED:
                return batch
            time.sleep(self._poll_seconds)

    def _downloaded(self, batch: Mapping[str, Any]) -> Iterator[tuple[str, Answer]]:
        """The answers in a batch's files, by custom ID; a request that should be submitted again has none."""
        for name in ("output_file_id", "error_file_id"):
            if not batch.get(name):
                continue
            content = self._server.read(f"/files/{batch[name]}/content")
            if isinstance(content, Refusal):
                raise StageFailure(f"The file {batch[name]} of batch {batch['id']} cannot be read: {content.message}")
            for number, line in enumerate(content.split("\n"), start=1):
                try:
                    result = json.loads(line) if line.strip() else None
                    answer = None if result is None else _answer(result)
                    custom_id = "" if result is None or answer is None else str(result["custom_id"])
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    raise StageFailure(
                        f"Line {number} of the file {batch[name]} of batch {batch.get('id')} is not an answer: "
                        f"{reprlib.repr(line)} ({type(error).__name__})."
                    ) from error
                if answer is not None:
                    yield custom_id, answer

    def _call(self, method: str, path: str, retries: int | None = None, **arguments: object) -> dict[str, Any]:
        answer = self._server.call(method, path, retries, **arguments)
        if isinstance(answer, Refusal):
            raise StageFailure(
                f"{self._server.base_url}{path} refuses (status {answer.status}): {answer.message}. Does the server "
                "have batch files? If not, leave out --batch."
            )
        return answer

    def _id(self, method: str, path: str, retries: int | None = None, **arguments: object) -> str:
        """The ID of what a request makes."""
        answer = self._call(method, path, retries, **arguments)
        if not isinstance(answer.get("id"), str):
            raise StageFailure(f"{self._server.base_url}{path} answers without an ID: {reprlib.repr(answer)}.")
        return str(answer["id"])


def in_files(bodies: Bodies) -> list[dict[str, Mapping[str, object]]]:
    """Requests in as many files as the limits demand, in order."""
    files: list[dict[str, Mapping[str, object]]] = []
    size = 0
    for custom_id, body in bodies.items():
        length = len(_line(custom_id, body))
        if not files or len(files[-1]) == MAX_REQUESTS or size + length > MAX_BYTES:
            files.append({})
            size = 0
        files[-1][custom_id] = body
        size += length
    return files


def _line(custom_id: str, body: Mapping[str, object]) -> bytes:
    """A request as a line of an input file."""
    request = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}
    return json.dumps(request).encode() + b"\n"


def _answer(result: Mapping[str, Any]) -> Answer | None:
    """The answer in a line of an output or error file; None where the request should be submitted again: it expired,
    or the server was too busy."""
    response = result.get("response")
    if not response:
        return None
    status, body = int(response["status_code"]), response.get("body")
    if status == 200 and isinstance(body, dict):
        return body
    error = (body.get("error") if isinstance(body, dict) else None) or result.get("error") or {}
    message = str(error.get("message") if isinstance(error, dict) else error)
    return Refusal(status, message) if is_refusal(status, message) else None


def _reasons(batch: Mapping[str, Any]) -> str:
    """Why the server refused a batch."""
    errors: Sequence[Mapping[str, Any]] = (batch.get("errors") or {}).get("data") or []
    return " ".join(str(error.get("message")) for error in errors[:3]) or "it gives no reason."
