"""`grao generate` against one raw `LLM.generate` call: same prompts, sampling and engine settings, writing included.

    python -m benchmarks.generate
    python -m benchmarks.generate --model Qwen/Qwen2.5-0.5B-Instruct --prompts 512 --max-new-tokens 512   # on a GPU

The two sides have separate engines with the same arguments and take turns; every repetition has new prompts, so that
the prefix cache does not help from one to the next. The raw side gets token ids, keeps results in memory and decodes
no token; ours reads prompts, tokenizes, detokenizes, hashes and writes Parquet. The required ratio is 0.97.

Then the resume: a run that is stopped half way and started again must not sample a group twice.
"""

import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.common import describe_machine, make_model, print_table, write_prompts
from grao_pipeline.arguments import parse_arguments
from grao_pipeline.errors import Interrupted
from grao_pipeline.generation.engines.base import Engine, EngineOptions, Request, SampledGroup, Sampling
from grao_pipeline.generation.engines.vllm import VllmArguments, VllmEngine, llm_arguments
from grao_pipeline.generation.generate import generate_groups
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.models.chat import PromptTokenizer, stop_token_ids
from grao_pipeline.models.source import load_tokenizer, locate_model
from grao_pipeline.parsing import key_values
from grao_pipeline.storage.reader import open_table


class KeptOpen(Engine):
    """An engine that several runs share; it counts its requests, and stops after `stop_after` groups."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.num_requests = 0
        self.stop_after: int | None = None

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        finished = 0
        for groups in self._engine.generate(self._counted(parts), sampling):
            finished += len(groups)
            yield groups
            if self.stop_after is not None and finished >= self.stop_after:
                raise Interrupted("Stopped by the benchmark.")

    def close(self) -> None:
        pass

    def _counted(self, parts: Iterable[Sequence[Request]]) -> Iterator[Sequence[Request]]:
        for part in parts:
            self.num_requests += len(part)
            yield part


def raw_tokens_per_second(llm: Any, prompts_url: str, tokenizer: PromptTokenizer, options: GenerateOptions) -> float:
    """One `LLM.generate` call on a table's prompts, tokenized beforehand; tokens per second of this call."""
    from vllm import SamplingParams

    rows = open_table(prompts_url, "prompts").arrow().to_pylist()
    prompts = [{"prompt_token_ids": tokenizer.prompt(row["messages"])} for row in rows]
    parameters = [
        SamplingParams(
            n=options.samples,
            temperature=options.temperature,
            top_p=options.top_p,
            max_tokens=options.max_new_tokens,
            seed=int(row["prompt_id"][:15], 16),
            stop_token_ids=list(tokenizer.stop_token_ids),
            logprobs=0,
            detokenize=False,
        )
        for row in rows
    ]
    started = time.perf_counter()
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    seconds = time.perf_counter() - started
    return sum(len(c.token_ids) for output in outputs for c in output.outputs) / seconds


@click.command()
@click.option("--model", default=None, help="Model directory or hub id; a random one of 7 M parameters by default.")
@click.option("--prompts", "num_prompts", default=128, show_default=True)
@click.option("--prompt-words", default=80, show_default=True)
@click.option("--samples", default=8, show_default=True)
@click.option("--max-new-tokens", default=128, show_default=True)
@click.option("--prompts-per-part", default=32, show_default=True)
@click.option("--repetitions", default=5, show_default=True)
@click.option("--engine-arg", multiple=True, help="As in grao generate, for both sides.")
def main(
    model: str | None,
    num_prompts: int,
    prompt_words: int,
    samples: int,
    max_new_tokens: int,
    prompts_per_part: int,
    repetitions: int,
    engine_arg: tuple[str, ...],
) -> None:
    """Tokens per second of `grao generate` and of raw vLLM, and what a resume costs."""
    from vllm import LLM

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        model = model or str(make_model(root / "model", 256, 4, 8192, 1024))
        options = GenerateOptions(
            model=model,
            samples=samples,
            max_new_tokens=max_new_tokens,
            temperature=1.0,
            prompts_per_part=prompts_per_part,
        )
        given = key_values(list(engine_arg), "engine_arg")
        arguments = parse_arguments(VllmArguments, given, "engine 'vllm'", "engine_arg")
        engine_options = EngineOptions(model, "auto", 1024, "auto", 32).resolved()
        ours = KeptOpen(VllmEngine(engine_options, arguments))
        raw = LLM(**llm_arguments(engine_options, arguments))
        source = locate_model(model)
        loaded = load_tokenizer(source)
        tokenizer = PromptTokenizer(loaded, stop_token_ids(loaded, source.directory))
        rates: list[tuple[float, float]] = []
        for repetition in range(repetitions + 1):  # the first warms both up
            prompts = write_prompts(root / f"prompts-{repetition}", num_prompts, prompt_words, repetition)
            out = str(root / f"groups-{repetition}")
            raw_rate = 0.0
            if repetition % 2:  # the sides take turns in going first
                raw_rate = raw_tokens_per_second(raw, prompts, tokenizer, options)
            started = time.perf_counter()
            summary = generate_groups(prompts, out, options, make_engine=lambda _: ours)
            our_rate = summary.tokens / (time.perf_counter() - started)
            raw_rate = raw_rate or raw_tokens_per_second(raw, prompts, tokenizer, options)
            if repetition > 0:
                rates.append((our_rate, raw_rate))
                click.echo(f"{our_rate:,.0f} against {raw_rate:,.0f} tokens/s: {our_rate / raw_rate:.3f}", err=True)
        resumed = resume(root, options, ours, num_prompts, prompt_words)
    median_ours, median_raw = (statistics.median(side) for side in zip(*rates, strict=True))
    ratio = statistics.median(our_rate / raw_rate for our_rate, raw_rate in rates)
    title = (
        f"Generation: {num_prompts} prompts × {samples} samples × up to {max_new_tokens} tokens, median of "
        f"{repetitions} ({describe_machine()})"
    )
    columns = ["", "tokens/s", "ratio"]
    print_table(
        title,
        columns,
        [
            ["raw LLM.generate, results in memory", f"{median_raw:,.0f}", 1.0],
            ["grao generate, end to end", f"{median_ours:,.0f}", ratio],
        ],
    )
    print_table(
        "Resume of a half-done run", ["prompts", "requests before the stop", "saved", "requests after it"], [resumed]
    )


def resume(root: Path, options: GenerateOptions, engine: KeptOpen, num_prompts: int, words: int) -> list[int]:
    """Stop after half of the groups and resume: (prompts, requests before, groups saved, requests afterwards)."""
    prompts = write_prompts(root / "prompts-resume", num_prompts, words, 10_000)
    out = str(root / "groups-resume")
    engine.stop_after, engine.num_requests = num_prompts // 2, 0
    try:
        generate_groups(prompts, out, options, make_engine=lambda _: engine)
    except Interrupted as stop:
        click.echo(str(stop), err=True)
    before = engine.num_requests
    engine.stop_after, engine.num_requests = None, 0
    generate_groups(prompts, out, options, make_engine=lambda _: engine)
    return [num_prompts, before, num_prompts - engine.num_requests, engine.num_requests]


if __name__ == "__main__":
    main()
