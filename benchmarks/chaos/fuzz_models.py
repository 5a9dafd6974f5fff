"""Models and adapters of other software, one file of which is broken, for every command that reads them."""

import random
from collections.abc import Callable
from pathlib import Path

from benchmarks.chaos.fuzz_run import Run, nothing_wrong
from benchmarks.chaos.fuzz_sources import wrong_groups
from benchmarks.chaos.fuzz_tables import GENERATE, wrong_numbers
from benchmarks.chaos.mutations import break_file
from benchmarks.chaos.place import Place
from grao_pipeline.models.manifest import METRICS, MODEL_MANIFEST

COMMANDS = {"generate": 40, "train": 25, "logprobs": 20, "merge": 15}


def run(place: Place, directory: Path, generator: random.Random) -> Run:
    """A command on a model, or on a model with an adapter; no manifest of ours vouches for either."""
    stage = generator.choices(list(COMMANDS), list(COMMANDS.values()))[0]
    has_adapter = stage in ("generate", "train") and generator.random() < 0.5
    model = place.copy(place.model, directory)
    wrong = model
    adapter: tuple[object, ...] = ()
    if has_adapter:
        wrong = place.copy(place.adapter, directory)
        for name in (MODEL_MANIFEST, METRICS):
            (wrong / name).unlink()
        adapter = ("--adapter", wrong)
    break_file(generator.choice(sorted(path for path in wrong.iterdir() if path.is_file())), generator)
    out = directory / "out"
    arguments: dict[str, tuple[object, ...]] = {
        "generate": (place.prompts, out, "--model", model, *GENERATE, "--limit", 1, *adapter),
        "train": (
            *(place.groups, place.advantages, out, "--model", model, "--dry-run", "--device", "cpu"),
            *("--allow-off-policy", *adapter, *(("--lora-rank", 4) if adapter else ())),
        ),
        "logprobs": (place.groups, out, "--model", model, "--device", "cpu"),
        "merge": (out, "--model", place.model, "--model", model),
    }
    if stage == "generate" and generator.random() < 0.5:
        arguments[stage] = (*arguments[stage], "--use-generation-config")
    checks: dict[str, Callable[[], str | None]] = {
        "generate": lambda: wrong_groups(out),
        "logprobs": lambda: wrong_numbers(out, place.groups),
    }
    what = f"{'adapter' if adapter else 'model'} → {stage}"
    return Run(what, (stage, *arguments[stage]), checks.get(stage, nothing_wrong))
