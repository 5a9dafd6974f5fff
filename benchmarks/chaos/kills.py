"""SIGKILL at random moments of a stage, then the same command until it ends: the output must be the undisturbed one."""

import itertools
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.chaos.content import difference
from benchmarks.chaos.place import Place
from benchmarks.chaos.trial import Trial
from grao_pipeline.testing import group_row, score_row, write_table

MOST_KILLS = 3
"""Per trial."""
ROWS = 20_000
GROUPS = 1_500
TURNS = (
    *("prompts", "import", "generate", "score", "advantages", "train", "evaluate", "curriculum", "train --lora-rank"),
    *("references", "minibatch", "resample", "logprobs", "merge", "export", "export to JSON lines"),
)
RARE = ("rounds run", "tournament")
TURNS_PER_RARE = 3
"""They take a minute: one of them has its turn after this many turns of all stages."""
Arguments = Callable[[Path], Sequence[object]]


def trials(place: Place, seed: int) -> Iterator[Trial]:
    """Every stage in turn, and rounds now and then."""
    of_stages = commands(place)
    undisturbed: dict[str, tuple[Path, float]] = {}
    for number in itertools.count():
        turn, is_not_theirs = divmod(number, TURNS_PER_RARE)
        for stage in (*TURNS, *([] if is_not_theirs else [RARE[turn % len(RARE)]])):
            if stage not in undisturbed:
                undisturbed[stage] = run_undisturbed(place, stage, of_stages[stage])
            yield _trial(place, stage, of_stages[stage], f"{seed}-{number}", *undisturbed[stage])


def commands(place: Place) -> dict[str, Arguments]:
    """The arguments of every stage for an output."""
    large = place.fresh("large")
    rows = large / "rows.jsonl"
    rows.write_text(
        "".join(f"{json.dumps({'question': f'What is {i} and 1?', 'answer': str(i + 1)})}\n" for i in range(ROWS))
    )
    sampled = [{"prompt": f"Name {i}", "completions": [f"{i} a", f"{i} b"], "rewards": [1.0, 0.0]} for i in range(400)]
    samples = large / "samples.jsonl"
    samples.write_text("".join(f"{json.dumps(row)}\n" for row in sampled))
    groups = [group_row(f"What is {i}?", [f"{i}", f"{i + 1} or so"]) for i in range(GROUPS)]
    scores = [score_row(str(row["group_id"]), [i % 3 / 2, 0.25]) for i, row in enumerate(groups)]
    many_groups = write_table(large / "groups", "groups", groups, rows_per_part=50)
    many_scores = write_table(large / "scores", "scores", scores, rows_per_part=50)
    train = ("--model", place.model, *place.TRAIN)
    return {
        "prompts": lambda out: ("prompts", rows, out, "--eval-fraction", 0.1),
        "import": lambda out: ("import", samples, out, "--prompts-per-part", 4),
        "generate": lambda out: ("generate", place.prompts, out, "--model", place.model, *place.GENERATE),
        "score": lambda out: ("score", many_groups, out, *place.SCORE, "--cache", out.parent / "cache.sqlite"),
        "advantages": lambda out: ("advantages", many_groups, out, "--scores", many_scores),
        "evaluate": lambda out: ("evaluate", many_groups, many_scores, out),
        "curriculum": lambda out: (
            *("curriculum", place.prompts, out, "--num-prompts", 16),
            *("--history", place.groups, place.scores),
        ),
        "train": lambda out: ("train", place.groups, place.advantages, out, *train),
        "train --lora-rank": lambda out: ("train", place.groups, place.advantages, out, *train, "--lora-rank", 4),
        "references": lambda out: (
            *("references", place.prompts, out, "--overwrite-references"),
            *("--groups", place.groups, "--scores", place.scores),
        ),
        "minibatch": lambda out: ("minibatch", place.prompts, out, "--prompts-per-round", 16),
        "resample": lambda out: ("resample", place.prompts, place.groups, place.scores, out, "--samples", 8),
        "logprobs": lambda out: ("logprobs", place.groups, out, "--model", place.trained),
        "merge": lambda out: ("merge", out, "--model", place.model, "--model", place.trained),
        "export": lambda out: ("export", many_groups, out / "pairs.parquet", "--scores", many_scores),
        "export to JSON lines": lambda out: (
            *("export", many_groups, out / "rows.jsonl", "--scores", many_scores, "--format", "flat"),
        ),
        "rounds run": lambda out: ("rounds", "run", write_rounds(place, out)),
        "tournament": lambda out: (
            *("tournament", write_rounds(place, out, variants={"grao": {}, "sft": {"train": {"objective": "sft"}}})),
            *("--baseline", "grao"),
        ),
    }


def write_rounds(place: Place, out: Path, **more: object) -> Path:
    """A configuration of one round whose results lie in `out`, next to it."""
    path = out.parent / "rounds.yaml"
    generate = {"engine": "transformers", "samples": 2, "max_new_tokens": 8, "prompts_per_part": 8}
    configuration = {
        "output": str(out),
        "model": str(place.model),
        "rounds": 1,
        "prompts": {"train": str(place.prompts), "eval": str(place.prompts)},
        "generate": generate,
        "score": [{"reward": "length", "reward_arg": ["target=6"]}],
        "train": {"groups_per_step": 8, "checkpoint_steps": 1, "device": "cpu"},
        **more,
    }
    path.write_text(json.dumps(configuration))  # JSON is YAML
    return path


def run_undisturbed(place: Place, stage: str, arguments: Arguments) -> tuple[Path, float]:
    """The output, and how many seconds it took."""
    out = place.fresh("undisturbed") / "out"
    started = time.monotonic()
    end = place.run(*arguments(out))
    if end.code != 0:
        raise RuntimeError(f"grao {stage}: {end.stderr}")
    return out, time.monotonic() - started


def _trial(place: Place, stage: str, arguments: Arguments, seed: str, undisturbed: Path, seconds: float) -> Trial:
    generator = random.Random(f"kills {stage} {seed}")
    directory = place.fresh()
    out, kills, moments = directory / "out", 0, []
    for _ in range(generator.randint(1, MOST_KILLS)):
        moments.append(generator.uniform(0.0, seconds))
        command = place.start(*arguments(out))
        time.sleep(moments[-1])
        kills += command.poll() is None
        command.kill()
        command.communicate()
    end = place.run(*arguments(out))
    detail = f"seed {seed}, killed after {', '.join(f'{moment:.2f}' for moment in moments)} of {seconds:.2f} s"
    if end.fault or end.code:
        return Trial(stage, end.fault or "REFUSED", f"{detail}: {end.last_line}", kills)
    unequal = difference(out, undisturbed)
    shutil.rmtree(directory)
    return Trial(stage, "DIFFERENT" if unequal else "equal", f"{detail}: {unequal}", kills)
