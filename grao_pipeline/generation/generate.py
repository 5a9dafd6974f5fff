"""`grao generate`: prompts → groups."""

from collections.abc import Callable
from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.fingerprints import fingerprint, stage_fingerprint
from grao_pipeline.generation.engine_maker import engine_maker, parse_sampling_arguments
from grao_pipeline.generation.engine_output import EngineOutput
from grao_pipeline.generation.engines import ENGINES
from grao_pipeline.generation.engines.base import Engine, EngineOptions, Sampling
from grao_pipeline.generation.engines.make import resolve_engine_name
from grao_pipeline.generation.extend import count_tokens
from grao_pipeline.generation.generation_config import unused_note, with_generation_config
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.generation.part_assembler import PartAssembler
from grao_pipeline.generation.part_preparer import PartPreparer
from grao_pipeline.generation.policy import Policy, load_policy, load_prompt_tokenizer
from grao_pipeline.generation.run_engine import run_engine
from grao_pipeline.generation.run_report import RunReport
from grao_pipeline.generation.sample_counts import read_samples_file
from grao_pipeline.generation.server_options import server_options
from grao_pipeline.generation.several_processes import sample_in_processes, shares_of
from grao_pipeline.generation.summary import PART_COLUMNS, GenerateSummary
from grao_pipeline.generation.text_groups import sample_texts
from grao_pipeline.models.chat import PromptTokenizer, declared_stop_token_ids
from grao_pipeline.models.source import ModelSource, locate_model
from grao_pipeline.models.templates import TemplateSettings, mentions, read_template
from grao_pipeline.models.token_text import StopStrings
from grao_pipeline.notes import greedy
from grao_pipeline.plugins import named_source
from grao_pipeline.progress import SILENT, Bar, Progress
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.manifest_file import has_manifest
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.writer import PartShare, TableWriter

UNKNOWN_BEHAVIOR = (
    "The engine does not return log-probs of the distribution that it sampled from (temperature, top-p, …), only the "
    "policy's at temperature 1: --correction refuses these samples."
)
EngineMaker = Callable[[EngineOptions], Engine]


def groups_provenance(
    options: GenerateOptions,
    prompts_fingerprint: str,
    source: ModelSource,
    tokenizer: PromptTokenizer | None = None,
    extended: str | None = None,
) -> Provenance:
    """The identity of a groups table; known before anything is sampled, and without importing an engine.

    Args:
        tokenizer: its template is stored for the trainer and its marks of reasoning for rewards. They are not part of
            the fingerprint, which has the tokenizer and the options of the template.
        extended: fingerprint of the groups of `--extend`; by default it is read.
    """
    options = with_generation_config(options, source.directory)
    engine = resolve_engine_name(options.engine)
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
        inputs["extend"] = extended or open_table(options.extend, "groups").fingerprint
    settings = TemplateSettings.parse(options.template_arg, options.template_date)
    details = {"policy": source.fingerprint, "logprobs_mode": "raw", "chat_template": None, **settings.details()}
    details |= source.details(options.model or "")
    if tokenizer is not None:
        details |= {"chat_template": tokenizer.template, "reasoning_marks": tokenizer.mark_texts}
    return Provenance("groups", stage_fingerprint("generate", shaping, inputs), shaping, inputs, details)


def generate_groups(
    prompts_url: str,
    out: str,
    options: GenerateOptions,
    progress: Progress = SILENT,
    *,
    make_engine: EngineMaker | None = None,
) -> GenerateSummary:
    """Sample a group for every prompt and write the groups table, part by part.

    Example:
        options = GenerateOptions(model="models/base", engine="transformers", samples=4, max_new_tokens=16)
        generate_groups("data/train", "runs/groups", options)

    Args:
        make_engine: opens the engine; by default the one of `options.engine` and `options.executor`.

    Raises:
        UsageError: an option cannot work.
        InputError: prompts, model or tokenizer cannot be used.
        MismatchError: `out` has another fingerprint.
        StageFailure: the engine died. Finished groups are saved; the same command resumes.
        Interrupted: SIGTERM or SIGINT; finished groups are saved likewise.
    """
    if not options.model:
        return sample_texts(prompts_url, out, options, progress)
    prompts = open_table(prompts_url, "prompts")
    source = locate_model(options.model, options.adapter)
    options = with_generation_config(options, source.directory)
    provenance = groups_provenance(options, prompts.fingerprint, source)
    num_prompts = min(prompts.num_rows, options.limit or prompts.num_rows)
    num_parts = -(-num_prompts // options.prompts_per_part)
    share = PartShare.parse(options.worker)
    # What has no manifest is unfinished; where all is there, no tokenizer is needed, which takes seconds to import.
    writer = TableWriter(out, provenance, num_parts, SILENT, share) if has_manifest(out) else None
    if writer is None or not writer.was_complete:
        tokenizer = load_prompt_tokenizer(options, source)
        provenance = groups_provenance(options, prompts.fingerprint, source, tokenizer)
        writer = TableWriter(out, provenance, num_parts, progress, share)  # this one says what is damaged
    summary = GenerateSummary(
        groups=num_prompts,
        parts_found=writer.num_committed,
        engine=resolve_engine_name(options.engine),
        fingerprint=provenance.fingerprint,
        policy=source.fingerprint,
    )
    for index in writer.committed():
        summary.add_part(writer.read(index, PART_COLUMNS))
    if writer.missing():
        if make_engine is not None and options.processes not in ("auto", 1):
            raise UsageError("an engine object samples in its own process.", option="processes")
        shares = shares_of(options, writer.missing()) if make_engine is None else []
        make_engine = make_engine or engine_maker(options, progress)
        if not shares:  # else each process says so
            progress.note(f"{writer.num_committed} of {num_parts} parts are there; loading {options.model}.")
        policy = load_policy(options, source, tokenizer)
        preparer = PartPreparer(options, policy, prompts, summary)
        _say_what_is_unusual(options, policy, prompts.num_rows, progress)
        preparer.check(writer.missing(), progress)
        bar = _groups_bar(progress, writer, num_prompts, options.prompts_per_part, summary.prompts_refused)
        if shares:
            earlier = writer.committed()
            with bar:
                for of_process in sample_in_processes(prompts_url, out, shares, progress, bar):
                    summary.add_process(of_process)
            writer = TableWriter(out, provenance, num_parts, progress, share)
            for index in set(writer.committed()).difference(earlier):
                summary.add_part(writer.read(index, PART_COLUMNS))
        else:
            with progress.track(f"loading {options.model}"):
                engine = make_engine(_engine_options(options, policy))
            with bar:
                summary.remarks = _sample(engine, options, policy, preparer, writer, RunReport(summary, bar))
            summary.set_precision(engine.precision())
        summary.groups -= summary.prompts_refused
    elif writer.was_complete:
        summary.groups = writer.num_committed_rows
    summary.parts_left_to_other_workers = len(writer.finish())
    if options.extend is not None:
        sampled = prompts.arrow(["prompt_id"])[:num_prompts]["prompt_id"]
        summary.tokens_extended = count_tokens(open_table(options.extend, "groups"), sampled)
    summary.finish(options.reference_reasoning)
    summary.notes += greedy(options.temperature, options.samples)
    return summary


def _sample(
    engine: Engine,
    options: GenerateOptions,
    policy: Policy,
    preparer: PartPreparer,
    writer: TableWriter,
    report: RunReport,
) -> list[str]:
    """Sample what is missing in this process; remarks on how that was done."""
    sampling = _sampling(options, policy)
    output = EngineOutput(sampling, StopStrings(sampling.stop, policy.tokenizer.token_text))
    run_engine(engine, PartAssembler(preparer, writer, report), sampling, report, output)
    return engine.remarks() + ([UNKNOWN_BEHAVIOR] if output.has_unknown_behavior else [])


def _say_what_is_unusual(options: GenerateOptions, policy: Policy, num_prompts: int, progress: Progress) -> None:
    tokenizer = policy.tokenizer
    if not tokenizer.stop_token_ids:
        progress.warn("The model has no end-of-sequence token: no completion ends before its token limit.")
    if mentions(tokenizer.template, "strftime_now"):
        progress.note(
            f"The chat template prints the current date; for this table it is {tokenizer.settings.date} "
            "(--template-date), so that the same command writes the same table on another day."
        )
    if options.limit is not None and options.limit < num_prompts:
        progress.note(f"The first {options.limit} of {num_prompts} prompts are sampled from (--limit).")
    unused = unused_note(options, policy.source.directory)
    if unused is not None:
        progress.note(unused)


def _groups_bar(
    progress: Progress, writer: TableWriter, num_prompts: int, prompts_per_part: int, num_refused: int
) -> Bar:
    """Counts the groups of the table, committed ones included."""
    sizes = [min(prompts_per_part, num_prompts - index * prompts_per_part) for index in writer.missing()]
    committed = writer.num_committed_rows
    return progress.track("sampling", committed + sum(sizes) - num_refused, "groups", committed)


def _sampling(options: GenerateOptions, policy: Policy) -> Sampling:
    return Sampling(
        temperature=options.temperature,
        top_p=options.top_p,
        max_new_tokens=options.max_new_tokens,
        stop_token_ids=policy.tokenizer.stop_token_ids,
        top_k=options.top_k,
        min_p=options.min_p,
        repetition_penalty=options.repetition_penalty,
        stop=tuple(options.stop),
        arguments=parse_sampling_arguments(options),
    )


def _engine_options(options: GenerateOptions, policy: Policy) -> EngineOptions:
    adapter = policy.source.adapter
    return EngineOptions(
        model=str(policy.source.directory),
        dtype=options.dtype,
        context_length=policy.context_length,
        device=options.device,
        batch_size=options.batch_size,
        adapter=None if adapter is None else str(adapter),
        quantization=options.quantization,
        tensor_parallel_size=options.tensor_parallel_size,
        gpu_memory_utilization=options.gpu_memory_utilization,
        server=server_options(options),
        reads_text=bool(options.stop),
        weights=policy.fingerprint,
    )
