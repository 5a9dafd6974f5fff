"""The trials, run in a process that may die: `python -m grao_pipeline.doctor.trials NAME …`.

Each one does the real work on a tiny model that is made on the spot, and prints one line of JSON.
"""

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from grao_pipeline.errors import MissingDependency, UsageError
from grao_pipeline.garbage import collect_rarely
from grao_pipeline.plugins import EXTRAS, distribution, missing_for

ATTENTIONS = ("split", "varlen", "flex", "rows")
ENGINES = ("transformers", "vllm")
"""Engines that need no server."""
ALONE = ("engine vllm",)
"""Trials that get a process for themselves: vLLM changes the process that it runs in."""


def names(only: list[str]) -> list[str]:
    """The names of the trials of these kinds, or with these names, in order; of all where nothing is named."""
    by_kind = {
        "packages": [f"package {distribution(name)}" for name in sorted(EXTRAS) if name != "vllm"],
        "devices": ["devices"],
        "engines": [f"engine {name}" for name in ENGINES],
        "attentions": [f"attention {name}" for name in ATTENTIONS],
        "sandbox": ["sandbox"],
    }
    return [name for kind, trials in by_kind.items() for name in trials if not only or kind in only or name in only]


KINDS = ("packages", "devices", "engines", "attentions", "sandbox")


def attempt(name: str, folder: Path) -> dict[str, object]:
    """Try one thing: its state and what to say of it."""
    kind, _, argument = name.partition(" ")
    trials: dict[str, Callable[[str, Path], str]] = {
        "package": _package,
        "devices": _devices,
        "engine": _engine,
        "attention": _attention,
        "sandbox": _sandbox,
    }
    start = time.monotonic()
    try:
        try:
            state, detail = "works", trials[kind](argument, folder)
        except ModuleNotFoundError as error:
            raise missing_for(error) or error from None
    except MissingDependency as error:
        state, detail = "not installed", str(error)
    except UsageError as error:
        state, detail = "not here", error.message
    except Exception as error:  # whatever does not work is the answer
        text = str(error).strip().splitlines()
        state, detail = "fails", f"{type(error).__name__}: {text[0] if text else ''}"
    return {"name": name, "state": state, "detail": detail, "seconds": round(time.monotonic() - start, 2)}


def _package(package: str, _: Path) -> str:
    name = next(module for module in EXTRAS if distribution(module) == package)
    module = importlib.import_module(name)
    try:
        return version(package)
    except PackageNotFoundError:
        return str(getattr(module, "__version__", "of an unknown version"))


def _devices(_: str, folder: Path) -> str:
    """A matrix product on each device, in the precisions that a training uses."""
    import torch

    said = []
    for device in ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]:
        for dtype in (torch.float32, torch.bfloat16):
            ones = torch.ones(64, 64, device=device, dtype=dtype)
            assert float((ones @ ones).sum()) == 64.0**3, f"{device} computes {dtype} wrongly"
        memory = ""
        if device != "cpu":
            free, total = torch.cuda.mem_get_info(device)
            memory = f" {torch.cuda.get_device_name(device)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
        said.append(f"{device}{memory}")
    return "; ".join(said)


@cache
def _tiny(folder: Path) -> tuple[str, str]:
    """(model, prompts) to try with."""
    from grao_pipeline.testing import make_tiny_model, prompt_row, write_table

    rows = [prompt_row(f"Say {number}.", f"It is {number}.") for number in range(2)]
    model = make_tiny_model(folder / "model")
    return str(model), write_table(folder / "prompts", "prompts", rows)


def _engine(name: str, folder: Path) -> str:
    from grao_pipeline.generation.generate import generate_groups
    from grao_pipeline.generation.options import GenerateOptions

    model, prompts = _tiny(folder)
    options = GenerateOptions(model=model, engine=name, samples=2, max_new_tokens=8)
    summary = generate_groups(prompts, str(folder / f"groups-{name}"), options)
    return f"sampled {summary.tokens} tokens"


@cache
def _advantages(folder: Path) -> tuple[str, str]:
    """(groups, advantages) to train on."""
    from grao_pipeline.advantages.compute import compute_advantages
    from grao_pipeline.advantages.options import AdvantagesOptions, WeightedScores
    from grao_pipeline.generation.generate import generate_groups
    from grao_pipeline.generation.options import GenerateOptions
    from grao_pipeline.scoring.options import ScoreOptions
    from grao_pipeline.scoring.score import score_groups

    model, prompts = _tiny(folder)
    groups, scores, advantages = (str(folder / name) for name in ("groups", "scores", "advantages"))
    generate_groups(prompts, groups, GenerateOptions(model=model, engine="transformers", samples=2, max_new_tokens=8))
    score_groups(groups, scores, ScoreOptions(reward="length", reward_arg=["target=5"], use_cache=False))
    weighted = [WeightedScores(url=scores, weight=1.0)]
    compute_advantages(groups, advantages, AdvantagesOptions(scores=weighted, keep_zero_variance=True))
    return groups, advantages


def _attention(name: str, folder: Path) -> str:
    from grao_pipeline.models.devices import resolve_device
    from grao_pipeline.training.options import TrainOptions
    from grao_pipeline.training.train import train_model

    model, _ = _tiny(folder)
    groups, advantages = _advantages(folder)
    dtype = "bfloat16" if name == "varlen" else "float32"
    options = TrainOptions.model_validate({"model": model, "attention": name, "max_steps": 1, "dtype": dtype})
    summary = train_model(groups, advantages, str(folder / f"model-{name}"), options)
    return f"trained a step of {summary.tokens} tokens on {resolve_device('auto')}"


def _sandbox(_: str, folder: Path) -> str:
    from grao_pipeline.scoring.options import ScoreOptions
    from grao_pipeline.scoring.score import score_groups
    from grao_pipeline.testing import write_groups

    code = "```python\ndef double(x):\n    return 2 * x\n```"
    groups = write_groups(folder / "code", {"Write double.": [code]}, None, tests="assert double(2) == 4")
    options = ScoreOptions(reward="python-tests", use_cache=False)
    summary = score_groups(groups, str(folder / "code-scores"), options)
    if summary.mean_reward != 1.0:
        raise RuntimeError(f"a right program got the reward {summary.mean_reward}")
    return "ran the tests of a program"


def _lines(trials: list[str]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="grao-doctor-") as name:
        for trial in trials:
            with redirect_stdout(sys.stderr):
                result = attempt(trial, Path(name))
            yield json.dumps(result)


if __name__ == "__main__":
    collect_rarely()
    for line in _lines(sys.argv[1:]):
        print(line, flush=True)
