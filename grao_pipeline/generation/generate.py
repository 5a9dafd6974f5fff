"""`grao generate`: prompts → groups."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from grao_pipeline.config import GenerateOptions, key_values
from grao_pipeline.devices import resolve_device, resolve_dtype
from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.fingerprints import fingerprint, group_fingerprint, stage_fingerprint
from grao_pipeline.generation.engines import ENGINES
from grao_pipeline.generation.engines.base import Engine, EngineOptions, Request, Sample, SampledGroup, Sampling
from grao_pipeline.generation.tokenization import (
    PromptTokenizer,
    declared_stop_token_ids,
    read_template,
    stop_token_ids,
)
from grao_pipeline.models import ModelSource, load_config, load_tokenizer, locate_model
from grao_pipeline.plugins import load, named_source
from grao_pipeline.schemas import GROUPS
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.writer import TableWriter

DEFAULT_CONTEXT_LENGTH = 4096
ABORTED = Sample([], [], "abort")


@dataclass
class GenerateSummary:
    """What a run did. Counts of samples and tokens are of this run, not of parts that earlier runs made."""

    groups: int = 0
    parts_made: int = 0
    parts_found: int = 0
    samples: int = 0
    tokens: int = 0
    finish_reasons: dict[str, int] = field(default_factory=lambda: {"stop": 0, "length": 0, "abort": 0})
    prompts_too_long: int = 0
    prompts_clipped: int = 0
    references_too_long: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    fingerprint: str = ""
    policy: str = ""

    def count(self, samples: list[Sample]) -> None:
        self.samples += len(samples)
        for sample in samples:
            self.tokens += len(sample.token_ids)
            self.finish_reasons[sample.finish_reason] += 1


def groups_provenance(
    options: GenerateOptions, prompts_fingerprint: str, source: ModelSource, chat_template: str | None = None
) -> Provenance:
    """The identity of a groups table, known before anything is sampled (and without importing an engine).

    Args:
        chat_template: the text of the template in use; carried along for the trainer, not part of the fingerprint
            (the tokenizer's fingerprint and `options.chat_template` are).
    """
    engine = engine_name(options.engine)
    template = fingerprint(read_template(options.chat_template))
    shaping = options.content() | {"engine": engine, "chat_template": template}
    shaping |= named_source("engine", engine, ENGINES)
    inputs = {
        "prompts": prompts_fingerprint,
        "model": source.fingerprint,
        "tokenizer": source.tokenizer,
        "stop_token_ids": declared_stop_token_ids(source.directory),
    }
    details = {"policy": source.fingerprint, "logprobs_mode": "raw", "chat_template": chat_template}
    return Provenance("groups", stage_fingerprint("generate", shaping, inputs), shaping, inputs, details)


def engine_name(engine: str) -> str:
    """What `auto` stands for on this machine."""
    if engine != "auto":
        return engine
    return "vllm" if importlib.util.find_spec("vllm") is not None else "transformers"


def generate_groups(
    prompts_url: str,
    out: str,
    options: GenerateOptions,
    notice: Callable[[str], None] = lambda _: None,
    make_engine: Callable[[EngineOptions], Engine] | None = None,
) -> GenerateSummary:
    """Sample a group for every prompt and write the groups table, part by part.

    Args:
        make_engine: builds the engine; by default the one that `options.engine` names.

    Raises:
        InputError: prompts, model or tokenizer are not usable.
        MismatchError: `out` holds other work.
        StageFailure: the engine died; committed parts stay, the same command goes on.
    """
    prompts = open_table(prompts_url, "prompts")
    source = locate_model(options.model)
    tokenizer = _prompt_tokenizer(options, source)
    provenance = groups_provenance(options, prompts.fingerprint, source, tokenizer.template)
    num_parts = -(-prompts.num_rows // options.prompts_per_part)
    writer = TableWriter(out, provenance, num_parts, notice)
    summary = GenerateSummary(
        groups=prompts.num_rows,
        parts_found=writer.num_committed,
        fingerprint=provenance.fingerprint,
        policy=source.fingerprint,
    )
    if writer.missing():
        notice(f"{writer.num_committed} of {num_parts} parts are there; loading {options.model}.")
        run = _Run(options, source, tokenizer, _read_prompts(prompts), writer, summary, notice)
        run.execute(make_engine or load("engine", provenance.options["engine"], ENGINES))
    writer.finish()
    return summary


class _Run:
    """The parts being assembled while the engine samples."""

    def __init__(
        self,
        options: GenerateOptions,
        source: ModelSource,
        tokenizer: PromptTokenizer,
        prompts: list[dict[str, Any]],
        writer: TableWriter,
        summary: GenerateSummary,
        notice: Callable[[str], None],
    ) -> None:
        self._options = options
        self._source = source
        self._tokenizer = tokenizer
        self._prompts = prompts
        self._writer = writer
        self._summary = summary
        self._notice = notice
        config = load_config(source)
        _refuse_classifier(options.model, config)
        self._vocab_size = int(config.get_text_config().vocab_size)
        self._context_length = _context_length(options, config)
        self._rows: dict[int, list[dict[str, Any]]] = {}
        self._unsampled: dict[int, int] = {}

    def execute(self, make_engine: Callable[[EngineOptions], Engine]) -> None:
        options = self._options
        device = resolve_device(options.device)
        engine_options = EngineOptions(
            model=str(self._source.directory),
            dtype=resolve_dtype(options.dtype, device),
            context_length=self._context_length,
            device=device,
            batch_size=options.batch_size,
            arguments=key_values(options.engine_arg, "--engine-arg"),
        )
        sampling = Sampling(options.temperature, options.top_p, options.max_new_tokens, self._tokenizer.stop_token_ids)
        engine = make_engine(engine_options)
        started = time.perf_counter()
        try:
            for groups in engine.generate(self._parts(), sampling):
                for group in groups:
                    self._take(group)
                self._summary.seconds = time.perf_counter() - started
                self._commit_finished()
            self._commit_finished()
        finally:
            engine.close()
        self._summary.tokens_per_second = self._summary.tokens / max(self._summary.seconds, 1e-9)

    def _parts(self) -> Iterator[list[Request]]:
        size = self._options.prompts_per_part
        for part in self._writer.missing():
            self._rows[part] = [self._encode(row) for row in self._prompts[part * size : (part + 1) * size]]
            requests = []
            for index, row in enumerate(self._rows[part]):
                room = self._context_length - len(row["prompt_token_ids"])
                if room < 1:
                    self._summary.prompts_too_long += 1
                    self._fill(row, [ABORTED] * self._options.samples)
                    continue
                self._summary.prompts_clipped += room < self._options.max_new_tokens
                requests.append(
                    Request(
                        key=(part, index),
                        prompt_token_ids=row["prompt_token_ids"],
                        num_samples=self._options.samples,
                        seed=_group_seed(self._options, row["prompt_id"]),
                        max_new_tokens=min(room, self._options.max_new_tokens),
                    )
                )
            self._unsampled[part] = len(requests)
            yield requests

    def _encode(self, prompt: dict[str, Any]) -> dict[str, Any]:
        ids = self._tokenizer.prompt(prompt["messages"])
        reference = prompt["reference"]
        reference_ids = None if reference is None else self._tokenizer.reference(prompt["messages"], reference)
        largest = max([*ids, *(reference_ids or [])], default=0)
        if not ids or largest >= self._vocab_size:
            raise InputError(
                f"Prompt {prompt['prompt_id']} becomes token ids up to {largest} ({len(ids)} of them); the model's "
                f"vocabulary has {self._vocab_size}. Model and tokenizer do not fit, or the prompt is empty."
            )
        if len(ids) + len(reference_ids or []) > self._context_length:
            self._summary.references_too_long += reference_ids is not None
            reference_ids = None  # it cannot be trained on
        return {**prompt, "prompt_token_ids": ids, "reference_token_ids": reference_ids}

    def _take(self, group: SampledGroup) -> None:
        part, index = group.key
        self._fill(self._rows[part][index], group.samples)
        self._unsampled[part] -= 1

    def _fill(self, row: dict[str, Any], samples: list[Sample]) -> None:
        self._summary.count(samples)
        ids = [sample.token_ids for sample in samples]
        row["group_id"] = group_fingerprint(row["prompt_id"], self._source.fingerprint, ids)
        row["completions"] = [self._tokenizer.text(token_ids) for token_ids in ids]
        row["completion_token_ids"] = ids
        row["completion_logprobs"] = [sample.logprobs for sample in samples]
        row["finish_reasons"] = [sample.finish_reason for sample in samples]
        row["policy"] = self._source.fingerprint
        row["round"] = self._options.round

    def _commit_finished(self) -> None:
        for part in [part for part, unsampled in self._unsampled.items() if unsampled == 0]:
            self._writer.write(part, pa.Table.from_pylist(self._rows.pop(part), schema=GROUPS.arrow()))
            del self._unsampled[part]
            self._summary.parts_made += 1
            speed = self._summary.tokens / max(self._summary.seconds, 1e-9)
            self._notice(f"part {part} committed · {self._summary.tokens:,} tokens so far · {speed:,.0f} tokens/s")


def _prompt_tokenizer(options: GenerateOptions, source: ModelSource) -> PromptTokenizer:
    tokenizer = load_tokenizer(source)
    stops = stop_token_ids(tokenizer, source.directory)
    return PromptTokenizer(tokenizer, stops, read_template(options.chat_template))


def _read_prompts(prompts: TableReader) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = prompts.read().to_pylist()
    seen: set[str] = set()
    for row in rows:
        if row["prompt_id"] in seen:
            raise InputError(f"{prompts.url}: prompt_id {row['prompt_id']} appears twice; it must be unique.")
        seen.add(row["prompt_id"])
    return rows


def _group_seed(options: GenerateOptions, prompt_id: str) -> int:
    """A 60-bit seed of the prompt's own: neighbouring seeds share samples in vLLM, hashes do not neighbour."""
    return int(fingerprint([options.seed, options.round, prompt_id])[:15], 16)


def _refuse_classifier(model: str, config: Any) -> None:
    """A model without a language-modelling head would be given a random one, or a confusing error, by its engine."""
    for architecture in config.architectures or []:
        if "Classification" in architecture or "RewardModel" in architecture:
            raise InputError(f"{model} is a {architecture}; a policy is a causal language model.")


def _context_length(options: GenerateOptions, config: Any) -> int:
    limit = getattr(config.get_text_config(), "max_position_embeddings", None) or DEFAULT_CONTEXT_LENGTH
    if options.context_length is not None and options.context_length > limit:
        raise UsageError(f"--context-length {options.context_length}: the model's positions end at {limit}.")
    return int(options.context_length or limit)
