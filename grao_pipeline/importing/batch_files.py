"""The output file of OpenAI's batch API, with its input file: requests and choices are joined by `custom_id`."""

from collections.abc import Mapping
from contextlib import closing

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.importing.columns import METADATA
from grao_pipeline.progress import Progress
from grao_pipeline.prompts.base import DroppedRow, Prompt, Row
from grao_pipeline.prompts.canonical import canonical_json
from grao_pipeline.prompts.formats.openai_batch import convert
from grao_pipeline.prompts.sources import open_source


class BatchRequests:
    """The requests of a batch's input file, by `custom_id`.

    Raises:
        InputError: the file cannot be read, or two requests have one `custom_id`.
        UsageError: a row of it is not a request.
    """

    def __init__(self, path: str, progress: Progress) -> None:
        self._rows: dict[str, Row] = {}
        with open_source(path, "train", None, progress) as source, closing(source.rows) as rows:
            for number, row in enumerate(rows):
                name = row.get("custom_id")
                if not isinstance(name, str) or "body" not in row:
                    raise UsageError(
                        f"row {number} of {path} has no custom_id and body: a request of a batch has both.",
                        option="batch_input",
                    )
                if name in self._rows:
                    raise InputError(f"{path} has two requests with custom_id '{name}'; it must be unique.")
                self._rows[name] = row

    @property
    def fingerprint(self) -> str:
        """A hash of the requests."""
        return fingerprint([canonical_json(row) for row in self._rows.values()])

    def joined(self, output: Row) -> dict[str, object]:
        """A row of the output file with its request: the prompt and the responses.

        Raises:
            DroppedRow: the request failed, is not in the input file, or has no conversation.
        """
        request = self._rows.get(str(output.get("custom_id")))
        if request is None:
            raise DroppedRow("the input file has no request with this custom_id")
        responses = _responses(output)
        prompt: Prompt = convert(request)
        fields = {"prompt": prompt.messages, "tools": prompt.tools, "responses": responses}
        return {**fields, METADATA: prompt.metadata}


def _responses(output: Row) -> list[object]:
    response, error = output.get("response"), output.get("error")
    body = response.get("body") if isinstance(response, Mapping) else None
    status = response.get("status_code") if isinstance(response, Mapping) else None
    if error or not isinstance(body, Mapping) or (status is not None and status != 200):
        code = error.get("code") if isinstance(error, Mapping) else status
        raise DroppedRow(f"the request failed ({code})" if code else "the request failed")
    if isinstance(body.get("choices"), list):
        return list(body["choices"])
    if isinstance(body.get("output"), list):
        return [_of_responses_api(body)]
    raise DroppedRow("the response has no choices")


def _of_responses_api(body: Row) -> dict[str, object]:
    """An answer of /v1/responses as a choice."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, object]] = []
    for item in body["output"]:
        parts = [part for part in item.get("content") or item.get("summary") or () if isinstance(part, Mapping)]
        spoken = [str(part["text"]) for part in parts if part.get("text") is not None]
        if item.get("type") == "message":
            texts += spoken
        elif item.get("type") == "reasoning":
            thoughts += spoken
        elif item.get("type") == "function_call":
            calls.append({"id": item.get("call_id"), "function": {key: item.get(key) for key in ("name", "arguments")}})
        else:
            raise DroppedRow(f"the response holds an item of type '{item.get('type')}'")
    message: dict[str, object] = {"role": "assistant", "content": "\n".join(texts)}
    message |= {"reasoning_content": "\n".join(thoughts)} if thoughts else {}
    message |= {"tool_calls": calls} if calls else {}
    return {"message": message, "finish_reason": body.get("status")}
