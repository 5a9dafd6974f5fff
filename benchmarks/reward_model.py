"""`reward-model` against `transformers.pipeline("text-classification")`: sequences per second, and the same scores.

    python -m benchmarks.reward_model
    python -m benchmarks.reward_model --device cuda --dtype bfloat16 --model Skywork/Skywork-Reward-V2-Qwen3-0.6B

Both judge the same conversations in one process, in turns. The peer runs as it is ordinarily used, in batches of 32 in
the order of the data, on texts to which the chat template is already applied; ours starts from the messages. Without
--model, the model is a random Qwen2-style classifier of 5 million parameters. On CPU the table also has processor time,
because other processes lengthen wall-clock time.
"""

import argparse
import itertools
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table

from grao_pipeline.scoring.rewards.base import Candidate, RewardRuntime
from grao_pipeline.scoring.rewards.reward_model.reward import RewardModel
from grao_pipeline.testing import TEXTS, make_tiny_reward_model

SAMPLES_PER_PROMPT = 9
"""Eight samples and the reference."""
SHORTEST, LONGEST = 16, 512
COLUMNS = (
    *("threads", "ours, seq/s", "pipeline, seq/s", "ratio (wall)"),
    *("ours, CPU s", "pipeline, CPU s", "ratio (CPU)", "max |Δ|"),
)
WORDS = " ".join(TEXTS).split()


@dataclass(frozen=True)
class Measured:
    """One run over all the sequences."""

    wall_seconds: float
    processor_seconds: float
    scores: list[float]


def make_model(path: Path) -> Path:
    """A random Qwen2-style sequence classifier of 5 million parameters with its tokenizer."""
    return make_tiny_reward_model(
        path,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=5,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        initializer_range=0.05,
    )


def make_candidates(tokenizer: Any, num_sequences: int, seed: int = 0) -> list[Candidate]:
    """Groups of conversations whose lengths are log-normal, from 16 to 512 tokens, with a median of about 100."""
    rng = random.Random(seed)
    candidates: list[Candidate] = []
    while len(candidates) < num_sequences:
        prompt = [{"role": "user", "content": " ".join(rng.choices(WORDS, k=rng.randint(3, 12)))}]
        for _ in range(min(SAMPLES_PER_PROMPT, num_sequences - len(candidates))):
            target = min(max(rng.lognormvariate(4.6, 0.8), SHORTEST), LONGEST)
            words = rng.choices(WORDS, k=LONGEST)
            while words and num_tokens(tokenizer, prompt, words) > target:
                words = words[: int(len(words) * 0.9)]
            candidates.append(Candidate(prompt, " ".join(words), None, {}))
    return candidates


def num_tokens(tokenizer: Any, prompt: list[dict[str, str]], words: Sequence[str]) -> int:
    return len(tokenizer.encode(conversation(tokenizer, prompt, " ".join(words)), add_special_tokens=False))


def conversation(tokenizer: Any, prompt: Sequence[Any], completion: str) -> str:
    messages = [*prompt, {"role": "assistant", "content": completion}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False))


def measure(judge: Callable[[], list[float]]) -> Measured:
    wall, processor = time.perf_counter(), time.process_time()
    scores = judge()
    return Measured(time.perf_counter() - wall, time.process_time() - processor, scores)


def compare(model: Path, options: argparse.Namespace, table: Table) -> None:
    """Add a row per number of threads: medians over alternating turns. Every turn has new sequences: no cache helps."""
    auto = "float32" if options.device == "cpu" else "bfloat16"
    dtype = auto if options.dtype == "auto" else options.dtype
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(model))
    arguments = RewardModel.Arguments.model_validate({"model": str(model), "dtype": dtype, "engine": options.engine})
    reward = RewardModel(arguments, RewardRuntime(options.batch_size, options.device))
    peer = transformers.pipeline(
        "text-classification",
        model=str(model),
        tokenizer=tokenizer,
        device=options.device,
        dtype=dtype,
        batch_size=options.peer_batch_size,
    )

    def ours(candidates: Sequence[Candidate]) -> list[float]:
        return [float(judgement.reward or 0.0) for judgement in reward.score(candidates)]

    def theirs(texts: Sequence[str]) -> list[float]:
        return [float(output["score"]) for output in peer(texts, function_to_apply="none")]

    seeds = itertools.count()
    for threads in options.threads:
        warm = make_candidates(tokenizer, 32, next(seeds))
        ours(warm)
        torch.set_num_threads(threads)
        theirs([conversation(tokenizer, candidate.messages, candidate.completion) for candidate in warm])
        runs = []
        for _ in range(options.repetitions):
            candidates = make_candidates(tokenizer, options.sequences, next(seeds))
            texts = [conversation(tokenizer, candidate.messages, candidate.completion) for candidate in candidates]
            runs.append((measure(partial(ours, candidates)), measure(partial(theirs, texts))))
        difference = max(abs(a - b) for run in runs for a, b in zip(*(side.scores for side in run), strict=True))
        wall = [statistics.median(run.wall_seconds for run in side) for side in zip(*runs, strict=True)]
        processor = [statistics.median(run.processor_seconds for run in side) for side in zip(*runs, strict=True)]
        table.add_row(
            str(threads),
            *(f"{options.sequences / seconds:.1f}" for seconds in wall),
            f"{wall[1] / wall[0]:.2f}",
            *(f"{seconds:.2f}" for seconds in processor),
            f"{processor[1] / processor[0]:.2f}",
            f"{difference:.1e}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a reward model with one output and a chat template; a random one by default")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--engine", default="transformers", choices=["transformers", "vllm"])
    parser.add_argument("--batch-size", type=int, default=32, help="as in grao score")
    parser.add_argument("--peer-batch-size", type=int, default=32, help="of the pipeline; on CPU, 1 is fastest")
    parser.add_argument("--sequences", type=int, default=64 * SAMPLES_PER_PROMPT)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", help="by default 1 2 on CPU")
    options = parser.parse_args()
    options.threads = options.threads or ([1, 2] if options.device == "cpu" else [torch.get_num_threads()])
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # its processor time then counts as this process's
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(options.model) if options.model else make_model(Path(scratch))
        sides = f"engine {options.engine}, pipeline in batches of {options.peer_batch_size}"
        title = f"{options.sequences} sequences, {options.device}, {sides}, medians of {options.repetitions}"
        table = Table(*COLUMNS, title=title)
        compare(model, options, table)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
