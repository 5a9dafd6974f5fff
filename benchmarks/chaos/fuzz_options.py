"""Rounds files, options and files of options with broken values, for every command."""

import json
import random
from pathlib import Path
from typing import Any

from benchmarks.chaos.fuzz_run import Run
from benchmarks.chaos.fuzz_tables import GENERATE
from benchmarks.chaos.mutations import broken, changed, encoded, json_text, odd_value
from benchmarks.chaos.place import Place
from grao_pipeline.cli.main import stage_command

LINES = (
    *("a: &a [*a]", "? [1, 2]\n: 3", "<<: {rounds: 2}", "rounds: !!int x", "output: !!python/name:os.system", "--- {}"),
    *("rounds: 0x" + "f" * 50, "rounds: 1e3", "seed: .nan", "model: !!binary AAAA", "output: 2024-13-45", "\tx: 1"),
    *("overrides: {0: {train: {epochs: 2}}}", "overrides: {-1: {}}", "overrides: {1000000000: {}}", "rounds: 100000"),
    *("variables: {a: x, b: '${a}${a}'}", "model: ${env:NOTHING}", "model: ${round}", "model: '$${'", "resources: 1"),
    *(
        "sweep: {train.beta: [1, 2, 3], train.lambda: [1, 2]}",
        "sweep: {score: [[], [{reward: length}]]}",
        "store: s3://x",
    ),
    *("reuse_rounds: 5", "pool: true", "curriculum: {num_prompts: -1}", "evaluate: {generate: {samples: 0}}", "? "),
    "bomb: [" * 500,
    "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)),
    "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 9)),
    "sweep: {" + ", ".join(f"train.{name}: {list(range(11))}" for name in ("beta", "lambda", "seed", "epochs")) + "}",
)
PREFERRED = 0.6
"""Share of rounds files that are changed as values; the others as text."""
SLOW = {"engine", "executor", "workers", "ray_address", "server", "server_url", "compile", "device"}
"""Options whose right values start programs that take longer than an input may."""


def run_yaml(place: Place, directory: Path, generator: random.Random) -> Run:
    """`grao rounds plan` or `status` of a broken file; or a tournament of it, without a model: nothing is run."""
    command = generator.choice((("rounds", "plan"), ("rounds", "plan"), ("rounds", "status"), ("tournament",)))
    is_tournament = command == ("tournament",)
    value: dict[str, Any] = {
        "output": "out",
        "model": "nowhere/" if is_tournament else str(place.model),
        "rounds": 2,
        "prompts": {"train": str(place.prompts), "eval": str(place.prompts)},
        "generate": {
            "engine": "transformers",
            "samples": 2,
            "temperature": {"schedule": "linear", "from": 1, "to": 0.5},
        },
        "score": [{"reward": "length", "reward_arg": ["target=6"]}, {"reward": "gsm8k", "weight": 0.5}],
        "advantages": {"estimator": "grao"},
        "train": {"groups_per_step": 8, "beta": [0.5, 0.25]},
        "variables": {"size": 8, "name": "x${size}"},
        "sweep": {"train.lambda": [0.3, 0.6]},
    }
    if generator.random() < PREFERRED:
        data = encoded(json_text(changed(value, generator, generator.randint(1, 3)), generator))
    else:
        dropped = generator.sample(list(value), generator.choice((0, 0, 1)))
        lines = [f"{name}: {json.dumps(part)}" for name, part in value.items() if name not in dropped]
        lines.insert(generator.randrange(len(lines) + 1), generator.choice(LINES))
        data = encoded("\n".join(lines))
    if generator.random() < 0.25:
        data = broken(data, generator)
    (directory / "rounds.yaml").write_bytes(data)
    return Run("tournament file" if is_tournament else "rounds file", (*command, "rounds.yaml"))


def run_options(place: Place, directory: Path, generator: random.Random) -> Run:
    """A stage on intact inputs with broken options, as flags or in a file; or on odd paths."""
    out = directory / "out"
    model = ("--model", place.model)
    commands: dict[str, tuple[object, ...]] = {
        "prompts": (place.rows, out),
        "import": (place.samples, out),
        "generate": (place.prompts, out, *model, *GENERATE, "--limit", 1),
        "score": (place.groups, out, "--reward", "length", "--reward-arg", "target=6"),
        "advantages": (place.groups, out, "--scores", place.scores),
        "evaluate": (place.groups, place.scores, out),
        "curriculum": (place.prompts, out, "--history", place.groups, place.scores),
        "train": (place.groups, place.advantages, out, *model, "--dry-run", "--device", "cpu"),
        "references": (place.prompts, out, "--groups", place.groups, "--scores", place.scores),
        "resample": (place.prompts, place.groups, place.scores, out, "--samples", 8),
        "minibatch": (place.prompts, out, "--prompts-per-round", 8),
        "logprobs": (place.groups, out, *model),
        "merge": (out, *model, *model),
        "export": (place.groups, directory / "out.jsonl", "--scores", place.scores),
        "inspect": (place.groups,),
    }
    name = generator.choice(list(commands))
    arguments = list(commands[name])
    if generator.random() < 0.3 or name == "inspect":
        places = [number for number, word in enumerate(arguments) if isinstance(word, Path)]
        arguments[generator.choice(places)] = _odd_path(directory, generator)
        return Run(f"paths of {name}", (name, *arguments))
    fields = [field for field in stage_command(name).options_model.model_fields if field not in SLOW]  # type: ignore[attr-defined]
    chosen = generator.sample(fields, generator.randint(1, 2))
    if generator.random() < 0.5:
        file = directory / "options.json"
        data = encoded(json_text({field: odd_value(generator) for field in chosen}, generator))
        file.write_bytes(broken(data, generator) if generator.random() < 0.2 else data)
        return Run(f"options file of {name}", (name, *arguments, "--options", file))
    flags = [word for field in chosen for word in (f"--{field.rstrip('_').replace('_', '-')}", _word(generator))]
    return Run(f"options of {name}", (name, *arguments, *flags))


def _word(generator: random.Random) -> str:
    value = odd_value(generator)
    text = value if isinstance(value, str) else json_text(value, generator)
    return f"{generator.choice(('', '', 'a=', 'target=', 'field='))}{text}"


def _odd_path(directory: Path, generator: random.Random) -> object:
    """A path that is not what a command wants."""
    (directory / "empty").write_bytes(b"")
    (directory / "noise.parquet").write_bytes(generator.randbytes(300))
    (directory / "folder").mkdir()
    (directory / "loop").symlink_to("loop")
    names = (
        "empty",
        "noise.parquet",
        "folder",
        "loop",
        "missing",
        "x" * 300,
        "a/" * 2_500,
        "\0",
        "\ud800",
        "",
        " ",
        ".",
    )
    urls = (
        "http://127.0.0.1:9/a",
        "https://[",
        "memory://x",
        "file:///nothing",
        "zip://a",
        "nonsense://a",
        "s3:",
        "://",
    )
    devices = ("/dev/zero", "/dev/null", "/proc/self/mem", "*", "a\nb", "é" * 200)
    return generator.choice((*names, *urls, *devices))
