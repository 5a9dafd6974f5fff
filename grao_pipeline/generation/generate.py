"""`grao generate`: prompts → groups."""

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from grao_pipeline.errors import InputError, Interrupted, UsageError
from grao_pipeline.fingerprints import fingerprint, stage_fingerprint
from grao_pipeline.generation.engines import ENGINES
from grao_pipeline.generation.engines.base import Engine, EngineOptions, Request, Sample, Sampling, ServerOptions
from grao_pipeline.generation.extend import EarlierGroups
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.generation.part_assembler import Assembly, PreparedPart
from grao_pipeline.generation.rows import RowBuilder
from grao_pipeline.generation.sample_counts import SampleBudget, read_samples_file
from grao_pipeline.models.chat import (
    PromptTokenizer,
    declared_stop_token_ids,
    read_template,
    stop_token_ids,
)
from grao_pipeline.models.source import ModelSource, load_config, load_tokenizer, locate_model
from grao_pipeline.parsing import key_values
from grao_pipeline.plugins import load, named_source
from grao_pipeline.processes import StopSignals
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.writer import PartShare, TableWriter

DEFAULT_CONTEXT_LENGTH = 4096
ABORTED = Sample([], [], "abort")


@dataclass
class GenerateSummary:
    """What a run did. Counts of samples and tokens are of this run, not of parts that earlier runs made."""

    groups: int = 0
    parts_made: int = 0
    parts_found: int = 0
    parts_left_to_other_workers: int = 0
    groups_recovered: int = 0
    """Of unfinished parts, from a run that was asked to stop."""
    samples: int = 0
    samples_extended: int = 0
    """Samples of --extend, carried over."""
    tokens: int = 0
    finish_reasons: dict[str, int] = field(default_factory=lambda: {"stop": 0, "length": 0, "abort": 0})
    empty_completions: int = 0
    """Samples that ended at once: their turn is over, their text is empty."""
    prompts_too_long: int = 0
    prompts_clipped: int = 0
    references_too_long: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    fingerprint: str = ""
    policy: str = ""

    def count(self, samples: Sequence[Sample]) -> None:
        self.samples += len(samples)
        for sample in samples:
            self.tokens += len(sample.token_ids)
            self.finish_reasons[sample.finish_reason] += 1
            self.empty_completions += sample.finish_reason == "stop" and len(sample.token_ids) <= 1


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
    inputs: dict[str, Any] = {
        "prompts": prompts_fingerprint,
        "model": source.fingerprint,
        "tokenizer": source.tokenizer,
        "stop_token_ids": declared_stop_token_ids(source.directory),
    }
    if options.samples_file is not None:
        inputs["samples"] = fingerprint(read_samples_file(options.samples_file))
    if options.extend is not None:
        inputs["extend"] = open_table(options.extend, "groups").fingerprint
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
    progress: Progress = SILENT,
    make_engine: Callable[[EngineOptions], Engine] | None = None,
) -> GenerateSummary:
    """Sample a group for every prompt and write the groups table, part by part.

    Args:
        make_engine: builds the engine; by default what `options.engine` and `options.executor` name.

    Raises:
        InputError: prompts, model or tokenizer are not usable.
        MismatchError: `out` holds other work.
        StageFailure: the engine died; finished groups are kept, the same command goes on.
        Interrupted: by SIGTERM or SIGINT; likewise.
    """
    prompts = open_table(prompts_url, "prompts")
    source = locate_model(options.model, options.adapter)
    tokenizer = _prompt_tokenizer(options, source)
    provenance = groups_provenance(options, prompts.fingerprint, source, tokenizer.template)
    num_parts = -(-prompts.num_rows // options.prompts_per_part)
    writer = TableWriter(out, provenance, num_parts, progress, PartShare.parse(options.worker))
    summary = GenerateSummary(
        groups=prompts.num_rows,
        parts_found=writer.num_committed,
        fingerprint=provenance.fingerprint,
        policy=source.fingerprint,
    )
    if writer.missing():
        progress.note(f"{writer.num_committed} of {num_parts} parts are there; loading {options.model}.")
        make_engine = make_engine or _engine_maker(options, provenance.options["engine"], progress)
        _Run(options, source, tokenizer, _read_prompts(prompts), writer, summary, progress).execute(make_engine)
    summary.parts_left_to_other_workers = len(writer.finish())
    return summary


class _Run:
    """One run of an engine over the parts that are missing."""

    def __init__(
        self,
        options: GenerateOptions,
        source: ModelSource,
        tokenizer: PromptTokenizer,
        prompts: list[dict[str, Any]],
        writer: TableWriter,
        summary: GenerateSummary,
        progress: Progress,
    ) -> None:
        self._options = options
        self._source = source
        self._prompts = prompts
        self._writer = writer
        self._summary = summary
        self._progress = progress
        config = load_config(source)
        _refuse_classifier(options.model, config)
        self._context_length = _context_length(options, config)
        vocab_size = int(config.get_text_config().vocab_size)
        self._builder = RowBuilder(tokenizer, source.fingerprint, options.round, self._context_length, vocab_size)
        self._budget = SampleBudget(options)
        self._earlier = (
            EarlierGroups(open_table(options.extend, "groups"), source.fingerprint) if options.extend else None
        )
        size = options.prompts_per_part
        missing = sum(len(prompts[index * size : (index + 1) * size]) for index in writer.missing())
        committed = writer.num_committed_rows
        self._bar = progress.track("sampling", committed + missing, "groups", committed)
        self._sampling = Sampling(options.temperature, options.top_p, options.max_new_tokens, tokenizer.stop_token_ids)

    def execute(self, make_engine: Callable[[EngineOptions], Engine]) -> None:
        with self._progress.track(f"loading {self._options.model}"):
            engine = make_engine(_engine_options(self._options, self._source, self._context_length))
        with self._bar:
            self._sample(engine)

    def _sample(self, engine: Engine) -> None:
        assembly = Assembly(self._writer.missing(), self._prepare, self._builder, self._writer, self._committed)
        started = time.perf_counter()
        try:
            with StopSignals() as signals:
                for groups in signals.interruptible(engine.generate(assembly.parts(), self._sampling)):
                    for group in groups:
                        self._summary.count(group.samples)
                    self._summary.seconds = time.perf_counter() - started
                    self._bar.advance(len(groups), tokens_per_second=self._speed())
                    assembly.take(groups)
                assembly.finish()
                self._summary.seconds = time.perf_counter() - started
        except Interrupted as stop:
            saved = assembly.save_unfinished()
            raise Interrupted(
                f"{stop} {self._writer.num_committed} parts are committed, and {saved} finished groups of the others "
                "are kept. Run the same command again to go on."
            ) from None
        except BaseException:
            assembly.save_unfinished()
            raise
        finally:
            engine.close()
        self._summary.tokens_per_second = self._speed()

    def _speed(self) -> float:
        """Tokens per second of this run."""
        return self._summary.tokens / max(self._summary.seconds, 1e-9)

    def _prepare(self, index: int) -> PreparedPart:
        size = self._options.prompts_per_part
        part = PreparedPart(index, [], [])
        kept = self._writer.unfinished(index)
        finished = {row["prompt_id"]: row for row in kept.to_pylist()} if kept is not None else {}
        self._summary.groups_recovered += len(finished)
        for number, prompt in enumerate(self._prompts[index * size : (index + 1) * size]):
            if prompt["prompt_id"] in finished:
                part.rows.append(finished[prompt["prompt_id"]])
                part.finished.add(number)
            else:
                self._begin(part, number, prompt)
        self._bar.advance(len(part.rows) - len(part.requests))  # what needs no sampling
        return part

    def _begin(self, part: PreparedPart, number: int, prompt: dict[str, Any]) -> None:
        """Add a prompt's row to its part, and the request for what is to be sampled of it."""
        row = self._builder.begin(prompt)
        part.rows.append(row)
        self._summary.references_too_long += prompt["reference"] is not None and row["reference_token_ids"] is None
        earlier = self._earlier.samples(row) if self._earlier is not None else []
        self._summary.samples_extended += len(earlier)
        part.earlier[number] = earlier
        num_samples = self._budget.samples(prompt)
        if num_samples == 0:
            if not earlier:
                raise InputError(f"Prompt {prompt['prompt_id']} gets 0 samples; a group needs one at least.")
            return
        room = self._context_length - len(row["prompt_token_ids"])
        if room < 1:
            self._summary.prompts_too_long += 1
            self._summary.count([ABORTED] * num_samples)
            part.earlier[number] = earlier + [ABORTED] * num_samples
            return
        self._summary.prompts_clipped += room < self._options.max_new_tokens
        part.requests.append(
            Request(
                key=(part.index, number),
                prompt_token_ids=row["prompt_token_ids"],
                num_samples=num_samples,
                seed=_group_seed(self._options, prompt["prompt_id"], len(earlier)),
                max_new_tokens=min(room, self._options.max_new_tokens),
            )
        )

    def _committed(self, index: int) -> None:
        self._summary.parts_made += 1
        tokens = f"{self._summary.tokens:,} tokens so far · {self._speed():,.0f} tokens/s"
        self._bar.log(f"part {index} committed · {tokens}")


def _engine_maker(options: GenerateOptions, engine: str, progress: Progress) -> Callable[[EngineOptions], Engine]:
    if options.executor == "local":
        maker: Callable[[EngineOptions], Engine] = load("engine", engine, ENGINES)
        return maker
    from grao_pipeline.generation.engines.ray import RayEngine

    return lambda engine_options: RayEngine(
        engine_options, engine, options.actors, options.ray_address, options.actor_gpus, progress
    )


def _engine_options(options: GenerateOptions, source: ModelSource, context_length: int) -> EngineOptions:
    server = None
    if options.base_url is not None:
        server = ServerOptions(
            options.base_url,
            options.served_model,
            options.concurrency,
            options.retries,
            options.request_timeout,
            options.allow_retokenize,
        )
    return EngineOptions(
        model=str(source.directory),
        dtype=options.dtype,
        context_length=context_length,
        device=options.device,
        batch_size=options.batch_size,
        arguments=key_values(options.engine_arg, "engine_arg"),
        adapter=None if source.adapter is None else str(source.adapter),
        quantization=options.quantization,
        tensor_parallel_size=options.tensor_parallel_size,
        gpu_memory_utilization=options.gpu_memory_utilization,
        server=server,
    )


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


def _group_seed(options: GenerateOptions, prompt_id: str, num_earlier: int) -> int:
    """A 60-bit seed of the prompt's own: neighbouring seeds share samples in vLLM, hashes do not neighbour."""
    parts = [options.seed, options.round, prompt_id, *([num_earlier] if num_earlier else [])]
    return int(fingerprint(parts)[:15], 16)


def _refuse_classifier(model: str, config: Any) -> None:
    """A model without a language-modelling head would be given a random one, or a confusing error, by its engine."""
    for architecture in config.architectures or []:
        if "Classification" in architecture or "RewardModel" in architecture:
            raise InputError(f"{model} is a {architecture}; a policy is a causal language model.")


def _context_length(options: GenerateOptions, config: Any) -> int:
    limit = getattr(config.get_text_config(), "max_position_embeddings", None) or DEFAULT_CONTEXT_LENGTH
    if options.max_model_len is not None and options.max_model_len > limit:
        raise UsageError(f"--max-model-len {options.max_model_len}: the model's positions end at {limit}.")
    return int(options.max_model_len or limit)
