"""The catalog of methods: complete, true to the registries, and its commands run."""

import random
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.cli.catalog import TITLES, catalog, method_descriptions
from grao_pipeline.cli.systems import SYSTEMS, System
from grao_pipeline.plugins import KINDS, load
from grao_pipeline.storage.reader import open_table
from tests import tiny

ROOT = Path(__file__).parents[2]
ORACLES = {
    "priority": {"tests/prompts/test_priorities.py": "variance cures vas"},
    "budget": {"tests/prompts/test_budgets.py": "knapsack spread failed"},
    "estimator": {
        "tests/advantages/test_built_in_estimators.py": "grao grpo dr-grpo rloo reinforce++-baseline max-rl gdpo opmd "
        "asymre rank best-of-n sft",
        "tests/advantages/test_method_estimators.py": "red copo signed-by hardness-scaled gtpo",
    },
    "combination": {
        "tests/advantages/test_combinations.py": "sum normalize minimum uncertainty lexicographic",
        "tests/advantages/test_method_estimators.py": "worst-population",
    },
    "reshape": {"tests/advantages/test_reshapes.py": "unlikely optimal-cost contrast-bonus overlong class-mean"},
    "filter": {"tests/advantages/test_reshapes.py": "indistinct"},
    "token_weight": {"tests/advantages/test_token_weights.py": "conflicts top-entropy gigpo salt items"},
    "objective": {
        "tests/training/objectives/test_objectives.py": "grao",
        "tests/training/objectives/test_likelihood.py": "sft asymre opmd dpo grpo",
        "tests/training/objectives/test_trl.py": "dr-grpo",
        "tests/training/objectives/test_chord.py": "chord",
        "tests/training/objectives/test_published.py": "cispo dapo disco distillation gspo kto orpo p3o pairwise "
        "ranked-list rec regression sapo simpo sppo trpa",
    },
}
"""Where the hand-worked number, or the independent formula, of every method is."""
KINDS_OF_METHODS = [kind for kind in KINDS if kind.name in TITLES]
LONGEST_FILE = 100
DRAWN = 12


def test_the_document_is_the_catalog() -> None:
    """`grao plugins catalog > docs/methods.md` writes it."""
    assert (ROOT / "docs" / "methods.md").read_text() == catalog()


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS_OF_METHODS])
def test_every_method_has_a_source_a_formula_an_oracle_and_a_short_file(kind: str) -> None:
    registry = next(of for of in KINDS if of.name == kind).built_in()
    described = {one.name: one for one in method_descriptions() if one.kind == kind}
    assert set(described) == set(registry)
    for name, description in described.items():
        assert description.method is not None, name
        assert description.method.source, name
        assert description.method.formula, name
        assert description.summary.endswith("."), name
        module = load(kind, name, registry).__module__
        lines = (ROOT / f"{module.replace('.', '/')}.py").read_text().splitlines()
        assert len(lines) <= LONGEST_FILE, f"{name}: {len(lines)} lines"
    tested = {name: file for file, names in ORACLES[kind].items() for name in names.split()}
    assert set(tested) == set(registry)
    for name, file in tested.items():
        assert name in (ROOT / file).read_text(), f"{file} does not name {name}"


def test_the_systems_are_named_once_and_their_plug_ins_exist() -> None:
    names = [system.name for system in SYSTEMS]
    assert len(set(names)) == len(names) >= 45 + 13
    offered = [system for system in SYSTEMS if system.is_offered]
    assert all(system.limits for system in SYSTEMS if not system.is_offered)
    assert len(offered) >= 44
    flags = {"--estimator": "estimator", "--objective": "objective", "--reshape": "reshape", "--combine": "combination"}
    registries = {kind.name: kind.built_in() for kind in KINDS}
    for system in offered:
        words = shlex.split(f"{system.advantages} {system.train}")
        for flag, value in pairwise(words):
            if flag in flags:
                assert value in registries[flags[flag]], (system.name, flag, value)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, groups: str, model: Path) -> dict[str, str]:
    """What the commands name: scores a and b of the stored groups, a feature with steps, log-probs of the model."""
    root = tmp_path_factory.mktemp("catalog")
    fingerprint = open_table(groups).fingerprint
    rows = open_table(groups).arrow().to_pylist()
    found: dict[str, str] = {}
    for name, key in (("A", "a"), ("B", "b"), ("FEATURE", "f")):
        scores: list[dict[str, Any]] = []
        for row in rows:
            ends = row["completion_token_ends"]
            values = [
                float((len(ids) + index * (1 + (name == "B"))) % 3) / 2
                for index, ids in enumerate(row["completion_token_ids"])
            ]
            steps = [
                [{"end": max([1, *of_sample]), "reward": value, "state": "start"}]
                for of_sample, value in zip(ends, values, strict=True)
            ]
            scores.append(
                {
                    "group_id": row["group_id"],
                    "rewards": values,
                    "reference_reward": 1.0,
                    "statuses": ["ok"] * len(values),
                    "steps": steps,
                }
            )
        found[name] = tiny.write_table(
            root / key, "scores", scores, 4, inputs={"groups": fingerprint}, options={"name": key}
        )
    found["REF"] = str(root / "ref")
    tiny.grao_json("logprobs", groups, found["REF"], "--model", model, "--device", "cpu")
    return found


def drawn_systems() -> list[System]:
    runnable = [system for system in SYSTEMS if system.advantages and system.train]
    return random.Random(19).sample(runnable, DRAWN)


@pytest.mark.slow
@pytest.mark.parametrize("system", drawn_systems(), ids=lambda system: str(system.name))
def test_the_command_of_a_drawn_system_trains_on_stored_groups(
    system: System, places: dict[str, str], groups: str, model: Path, tmp_path: Path
) -> None:
    def words(options: str) -> list[str]:
        plain = [places.get(word, word) for word in shlex.split(options)]
        return [
            f"{name}={places[place]}" if place in places else word
            for word in plain
            for name, _, place in [word.partition("=")]
        ]

    scores = [] if "--scores" in system.advantages else ["--scores", places["A"]]
    advantages = tmp_path / "advantages"
    summary = tiny.grao_json("advantages", groups, advantages, *scores, *words(system.advantages))
    assert summary["trained_samples"] > 0
    options = ["--model", model, "--device", "cpu", "--max-steps", 1, "--learning-rate", 1e-4]
    trained = tiny.grao_json("train", groups, advantages, tmp_path / "model", *options, *words(system.train))
    assert (trained["steps"], trained["skipped_steps"]) == (1, 0)
