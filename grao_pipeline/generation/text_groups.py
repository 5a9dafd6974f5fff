"""Groups of texts from a chat server whose tokenizer nobody has: for references and judging, not for training."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from grao_pipeline.contract import Row
from grao_pipeline.errors import UsageError
from grao_pipeline.fingerprints import fingerprint, stage_fingerprint
from grao_pipeline.generation.engine_maker import engine_maker
from grao_pipeline.generation.engines.base import Engine, EngineOptions, Request, Sample, Sampling
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.generation.part_assembler import PartAssembler
from grao_pipeline.generation.part_preparer import PreparedPart, read_prompts
from grao_pipeline.generation.run_engine import run_engine
from grao_pipeline.generation.run_report import RunReport
from grao_pipeline.generation.sample_counts import SampleCounts, read_samples_file
from grao_pipeline.generation.server_options import server_options
from grao_pipeline.generation.summary import PART_COLUMNS, GenerateSummary
from grao_pipeline.messages import plain_messages
from grao_pipeline.models.reasoning import Split, split_text
from grao_pipeline.models.server import Server
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.writer import PartShare, TableWriter

NO_CONTEXT = 2**31 - 1
"""The server knows its context, we do not."""


def texts_provenance(options: GenerateOptions, prompts_fingerprint: str) -> Provenance:
    """The identity of a table of texts; asks the server for its model where none is named.

    Raises:
        UsageError: an option cannot work without a model.
    """
    _check(options)
    shaping = options.content() | {"engine": "openai"}
    served_model = _served_model(options)
    policy = fingerprint(["served", served_model])  # its weights are unknown
    inputs: dict[str, Any] = {"prompts": prompts_fingerprint, "model": policy}
    if options.samples_file is not None:
        inputs["samples"] = fingerprint(read_samples_file(options.samples_file))
    details = {"policy": policy, "served_model": served_model}
    return Provenance("groups", stage_fingerprint("generate", shaping, inputs), shaping, inputs, details)


def sample_texts(prompts_url: str, out: str, options: GenerateOptions, progress: Progress = SILENT) -> GenerateSummary:
    """Sample a group of texts for every prompt and write the groups table, part by part.

    Raises:
        UsageError: an option cannot work without a model.
        MismatchError: `out` has another fingerprint.
        StageFailure: the server failed. Finished groups are saved; the same command resumes.
        Interrupted: SIGTERM or SIGINT; finished groups are saved likewise.
    """
    prompts = open_table(prompts_url, "prompts")
    provenance = texts_provenance(options, prompts.fingerprint)
    num_parts = -(-prompts.num_rows // options.prompts_per_part)
    writer = TableWriter(out, provenance, num_parts, progress, PartShare.parse(options.worker))
    summary = GenerateSummary(
        groups=prompts.num_rows,
        parts_found=writer.num_committed,
        engine=options.engine,
        fingerprint=provenance.fingerprint,
        policy=provenance.inputs["model"],
    )
    for index in writer.committed():
        summary.add_part(writer.read(index, PART_COLUMNS))
    if writer.missing():
        server = server_options(options.model_copy(update={"api": "chat"}))
        make_engine: Callable[[EngineOptions], Engine] = engine_maker(options, progress)
        engine = make_engine(EngineOptions("", "auto", NO_CONTEXT, "cpu", options.batch_size, server=server))
        sampling = Sampling(options.temperature, options.top_p, options.max_new_tokens, ())
        with progress.track("sampling", prompts.num_rows, "groups", writer.num_committed_rows) as bar:
            report = RunReport(summary, bar)
            preparer = TextPreparer(options, summary.policy, prompts, summary)
            run_engine(engine, PartAssembler(preparer, writer, report), sampling, report)
        summary.remarks = engine.remarks()
    summary.parts_left_to_other_workers = len(writer.finish())
    summary.finish(options.reference_reasoning)
    return summary


class TextPreparer:
    """Prepares the parts of one run."""

    def __init__(self, options: GenerateOptions, policy: str, prompts: TableReader, summary: GenerateSummary) -> None:
        self._options = options
        self._prompts = read_prompts(prompts)
        self._summary = summary
        self._counts = SampleCounts(options)
        self.builder = TextRowBuilder(policy, options.round)

    def prepare(self, index: int, recovered: pa.Table | None) -> PreparedPart:
        """The rows and requests of part `index`.

        Args:
            recovered: groups of this part that a stopped run finished.
        """
        size = self._options.prompts_per_part
        part = PreparedPart(index, [], [])
        finished = {} if recovered is None else {row["prompt_id"]: row for row in recovered.to_pylist()}
        self._summary.groups_recovered += len(finished)
        for number, prompt in enumerate(self._prompts[index * size : (index + 1) * size]):
            if prompt["prompt_id"] in finished:
                part.rows.append(finished[prompt["prompt_id"]])
                part.finished.add(number)
                continue
            part.rows.append({**prompt, "prompt_token_ids": [], "reference_token_ids": None})
            part.requests.append(self._request((index, number), prompt))
        return part

    def _request(self, key: tuple[int, int], prompt: Row) -> Request:
        options = self._options
        return Request(
            key=key,
            prompt_token_ids=[],
            num_samples=max(1, self._counts.samples(prompt)),
            seed=int(fingerprint([options.seed, options.round, prompt["prompt_id"]])[:15], 16),
            max_new_tokens=options.max_new_tokens,
            messages=plain_messages(prompt["messages"]),
            tools=prompt["tools"],
        )


class TextRowBuilder:
    """Completes rows with texts."""

    def __init__(self, policy: str, round_number: int) -> None:
        self._policy = policy
        self._round = round_number

    def finish(self, row: Row, samples: Sequence[Sample]) -> Row:
        """The complete row. A completion is the answer; reasoning that a server gives apart has its own column, and a
        thought in the answer is split off.
        """
        texts = [sample.text or "" for sample in samples]
        splits = [
            split_text(text) if sample.reasoning is None else Split(sample.reasoning, text)
            for sample, text in zip(samples, texts, strict=True)
        ]
        return {
            **row,
            "group_id": fingerprint([row["prompt_id"], self._policy, texts]),
            "completions": texts,
            "reasoning": [split.reasoning for split in splits],
            "answers": [split.answer for split in splits],
            "completion_token_ids": [[] for _ in samples],
            "completion_logprobs": None,
            "finish_reasons": [sample.finish_reason for sample in samples],
            "policy": self._policy,
            "round": self._round,
            "retokenized": True,
        }


def _check(options: GenerateOptions) -> None:
    if options.engine != "openai" or options.api == "completions":
        raise UsageError("this option is required. Only --engine openai --api chat does without.", option="model")
    if options.base_url is None:
        raise UsageError(
            "the openai engine needs a server's address, e.g. http://localhost:8000/v1.", option="base_url"
        )
    for name in ("extend", "adapter", "chat_template", "max_model_len", "quantization"):
        if getattr(options, name) is not None:
            raise UsageError("this needs --model: without it, nobody knows the model's tokens.", option=name)
    for name in ("top_k", "min_p", "repetition_penalty", "stop", "sampling_arg", "limit", "use_generation_config"):
        if getattr(options, name) != GenerateOptions.model_fields[name].default:
            raise UsageError("this needs --model: texts of a chat server are sampled without it.", option=name)
    for name, value in (("executor", options.executor), ("processes", options.processes)):
        if value not in ("local", "auto", 1):
            raise UsageError("this needs --model: texts of a server are sampled from this process.", option=name)


def _served_model(options: GenerateOptions) -> str:
    """The name of the model on the server."""
    if options.served_model is not None:
        return options.served_model
    assert options.base_url is not None
    return Server(options.base_url, None, 1, options.retries, options.request_timeout).model
