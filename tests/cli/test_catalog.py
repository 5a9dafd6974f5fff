"""The catalog of methods: complete, true to the registries, and its commands run."""

import ast
import random
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from examples.demo.pretraining import pretrain
from examples.demo.task import write_prompts
from grao_pipeline.cli.catalog import PARTLY, TITLES, catalog, method_descriptions
from grao_pipeline.cli.main import OTHER_COMMANDS
from grao_pipeline.cli.system import System
from grao_pipeline.cli.systems import SYSTEMS
from grao_pipeline.options import extra_of, option_flag
from grao_pipeline.pipeline import stage_named
from grao_pipeline.plugin_kinds import KINDS, PluginDescription
from grao_pipeline.plugins import load
from grao_pipeline.rounds.config.compile import load_plan
from tests import tiny

ROOT = Path(__file__).parents[2]
ORACLES = {
    "rewrite": {"tests/prompts/test_rewrites.py": "thought-dropout"},
    "reward": {
        "tests/scoring/rewards/test_self_consistency.py": "self-consistency",
        "tests/scoring/rewards/test_list_items.py": "list-items",
        "tests/scoring/rewards/test_diversity.py": "diversity",
        "tests/scoring/rewards/test_model_rewards.py": "answer-likelihood process-reward-model preference-model",
    },
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
    "token_weight": {"tests/advantages/test_token_weights.py": "conflicts top-entropy gigpo salt items process"},
    "objective": {
        "tests/training/objectives/test_objectives.py": "grao",
        "tests/training/objectives/test_likelihood.py": "sft asymre opmd dpo grpo",
        "tests/training/objectives/test_trl.py": "dr-grpo",
        "tests/training/objectives/test_chord.py": "chord",
        "tests/training/objectives/test_gkd.py": "gkd bridged-pair",
        "tests/training/objectives/test_published.py": "cispo dapo disco distillation gspo kto orpo p3o pairwise "
        "ranked-list rec regression sapo simpo sparse-pair sppo trpa",
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
    assert set(described) <= set(registry) if kind in PARTLY else set(described) == set(registry)
    for name, description in described.items():
        assert description.method is not None, name
        assert description.method.source, name
        assert description.method.formula, name
        assert description.summary.endswith("."), name
        module = load(kind, name, registry).__module__
        lines = (ROOT / f"{module.replace('.', '/')}.py").read_text().splitlines()
        assert len(lines) <= LONGEST_FILE, f"{name}: {len(lines)} lines"
    tested = {name: file for file, names in ORACLES[kind].items() for name in names.split()}
    assert set(tested) == set(described)
    for name, file in tested.items():
        assert name in (ROOT / file).read_text(), f"{file} does not name {name}"


THE_45 = (
    "2508.07750 2503.21819 2506.05433 2401.04056 2312.11456 2505.12366 2410.02197 2510.06783 2509.24203 2506.02355 "
    "2504.14870 2310.02743 2402.08925 2508.04138 2601.06795 2509.25849 2510.01037 2509.21268 2508.03772 2505.10978 "
    "2404.03715 2504.04524 2504.15477 2509.24159 2503.16081 2508.13382 2508.06944 2403.07230 2310.00212 2506.07464 "
    "2503.08942 2506.07160 2507.20187 2503.18991 2512.06337 2507.17515 2505.16854 2601.07208 2510.20150 2510.20022 "
    "2410.06293 2408.07471 2407.14477 2410.05102 2505.24718"
)
IDEAS = (
    "Listener,SmPO,UnifiedReward-Think,ReAgent-V,Implicit reward bridge,PEO,OORL,R1-Router,SSPO,BranchGRPO,MAPL,"
    "survey of RL, survey of DPO"
)
WITHOUT_TABLES = "2505.24718"
"""TW-GRPO needs every sample's distribution over the vocabulary at every place."""


def test_the_45_systems_and_13_ideas_are_named_and_44_offered() -> None:
    names = [system.name for system in SYSTEMS]
    assert len(set(names)) == len(names)
    assert all(system.limits for system in SYSTEMS if not system.is_offered)
    offered = {system.source for system in SYSTEMS if system.is_offered}
    assert {source for source in THE_45.split() if source not in offered} == {WITHOUT_TABLES}
    assert len(THE_45.split()) == 45
    for idea in IDEAS.split(","):
        assert any(idea in name for name in names), idea


def commands_of(system: System) -> list[list[str]]:
    """The commands of a system, word by word, without the first two of their names."""
    commands = []
    for options, words in ((system.advantages, "grao advantages"), (system.train, "grao train")):
        commands += [shlex.split(f"{words} {options}")] if options else []
    commands += [shlex.split(part.group(0)) for part in re.finditer(r"grao [a-z]+[^;,:]*", system.otherwise)]
    return commands


@pytest.mark.slow
@pytest.mark.parametrize("system", [system for system in SYSTEMS if system.is_offered], ids=lambda one: str(one.name))
def test_the_words_of_every_command_exist(system: System) -> None:
    """Commands, options, and the plug-ins that they name."""
    registries = {kind.name: kind.names() for kind in KINDS}
    for _, name, *words in commands_of(system):
        if name in OTHER_COMMANDS:
            continue
        fields = stage_named(name).options_model.model_fields
        flags = {option_flag(info.alias or field): info for field, info in fields.items()}
        flags |= {f"--no-{flag[2:]}": info for flag, info in flags.items()}
        for flag, value in pairwise([*words, ""]):
            if flag.startswith("--"):
                assert flag in flags, (system.name, flag)
                kind = str(extra_of(flags[flag]).get("plugin") or "")
                assert not kind or value in registries[kind], (system.name, flag, value)


ROUNDS = """
output: runs/x
rounds: 3
prompts: {train: data/train}
generate: {engine: transformers, samples: 4}
score: [{reward: gsm8k, name: a}, {reward: length, name: b, reward_arg: [target=9]}]
train: {objective: grao}
"""


@pytest.mark.parametrize("system", [one for one in SYSTEMS if one.rounds], ids=lambda one: str(one.name))
def test_the_rounds_of_a_system_are_a_plan(system: System, model: Path, tmp_path: Path) -> None:
    """Its line of YAML in place of the same section of a whole file."""
    path = tmp_path / "rounds.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(ROUNDS) | {"model": str(model)} | yaml.safe_load(system.rounds)))
    assert all(len(variant.rounds) == 3 for variant in load_plan(str(path)).variants)


def test_every_offered_system_says_what_to_run() -> None:
    """Options of the two stages, a line of the rounds, or a command; not a hint alone."""
    hints = [one.name for one in SYSTEMS if one.is_offered and not (one.train or one.rounds or commands_of(one))]
    assert hints == []


@pytest.mark.slow
def test_no_code_asks_for_the_name_of_a_method() -> None:
    """A method is its file and its line in a registry: `options.objective == "grpo"` stands nowhere."""
    options = {f"{kind.name}" for kind in KINDS_OF_METHODS} | {"combine", "token_weights"}
    found = []
    for path in sorted((ROOT / "grao_pipeline").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                named = {getattr(side, "attr", "") for side in sides}
                parts = [part for side in sides for part in (side, *getattr(side, "elts", ()))]
                texts = [part.value for part in parts if isinstance(part, ast.Constant)]
                if named & options and any(isinstance(text, str) and text for text in texts):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert found == []


STEPS = """
from examples.demo.task import SPANISH


def words(completions, metadata):
    '''Every word is a step: whether it is translated, and how many words are before it.'''
    scores = []
    for text, row in zip(completions, metadata):
        steps, end = [], 0
        for place, word in enumerate(text.split(" ")):
            end = min(end + len(word) + 1, len(text))
            wanted = row["words"][place : place + 1]
            steps.append((end, float(wanted != [] and word == SPANISH[wanted[0]]), str(place)))
        scores.append((sum(reward for _, reward, _ in steps) / len(steps), steps))
    return scores
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The demo's prompts, base model (pre-trained for a while) and groups; scores A and B, a feature with steps, and
    log-probs of the base."""
    root = tmp_path_factory.mktemp("catalog")
    write_prompts(root / "prompts.jsonl", 8, seed=0)
    base, tokenizer = pretrain(0, num_steps=60)
    base.save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")
    (root / "steps.py").write_text(STEPS)
    places = {name: str(root / name) for name in ("prompts", "groups", "A", "B", "FEATURE", "REF", "base")}
    device = ["--device", "cpu"]
    tiny.grao_json("prompts", root / "prompts.jsonl", places["prompts"])
    sampling = ["--engine", "transformers", "--samples", 4, "--max-new-tokens", 12, "--temperature", 1.0]
    tiny.grao_json("generate", places["prompts"], places["groups"], "--model", places["base"], *sampling, *device)
    rewards = {"A": "examples.demo.task:reward", "B": "length", "FEATURE": f"{root / 'steps.py'}:words"}
    for name, reward in rewards.items():
        target = ["--reward-arg", "target=5"] if reward == "length" else []
        names = ["--name", {"A": "a", "B": "b", "FEATURE": "f"}[name]]
        tiny.grao_json("score", places["groups"], places[name], "--reward", reward, *target, *names)
    tiny.grao_json("logprobs", places["groups"], places["REF"], "--model", places["base"], "--top-k", 4, *device)
    return places


def example_places(places: dict[str, str], kind: str) -> dict[str, str]:
    """What the words of an example stand for."""
    table = places["REF"] if kind == "objective" else places["FEATURE"]
    names = {
        "NAME": "a" if kind == "combination" else "f",
        "OTHER": "g",
        "TABLE": table,
        "feature.NAME": "feature.f",
        "feature.OTHER": "feature.g",
    }
    return places | names | {"SCORES": places["A"], "GROUPS": places["groups"], "MODEL": places["base"]}


EXAMPLES = [one for one in method_descriptions() if one.kind in ("estimator", "combination", "reshape", "filter")]
EXAMPLES += [one for one in method_descriptions() if one.kind in ("token_weight", "objective")]


@pytest.mark.slow
@pytest.mark.parametrize("description", EXAMPLES, ids=lambda one: f"{one.kind} {one.name}")
def test_the_example_of_a_method_runs_as_it_is_written(
    description: PluginDescription, places: dict[str, str], advantages: str, tmp_path: Path
) -> None:
    """With tables for its words in capitals; a training makes one step."""
    known = example_places(places, description.kind) | {"OUT": str(tmp_path / "out"), "ADVANTAGES": advantages}
    pieces = [word.partition("=") for word in shlex.split(description.example)]
    _, command, *words = ["".join(known.get(piece, piece) for piece in parts) for parts in pieces]
    few = ["--device", "cpu", "--max-steps", 1, "--learning-rate", 1e-4] if command == "train" else []
    tiny.grao_json(command, *words, *few)


@pytest.fixture(scope="module")
def advantages(places: dict[str, str]) -> str:
    out = str(Path(places["groups"]).with_name("advantages"))
    tiny.grao_json("advantages", places["groups"], out, "--scores", places["A"])
    return out


def drawn_systems() -> list[System]:
    runnable = [system for system in SYSTEMS if system.advantages and system.train]
    return random.Random(19).sample(runnable, DRAWN)


@pytest.mark.slow
@pytest.mark.parametrize("system", drawn_systems(), ids=lambda system: str(system.name))
def test_the_command_of_a_drawn_system_trains_on_stored_groups(
    system: System, places: dict[str, str], tmp_path: Path
) -> None:
    """The demo's, through advantages and one step."""
    groups, model = places["groups"], places["base"]

    def words(options: str) -> list[str]:
        """Places for names, on either side of a `=`."""
        pieces = [word.partition("=") for word in shlex.split(options)]
        return ["".join(places.get(piece, piece) for piece in parts) for parts in pieces]

    scores = [] if "--scores" in system.advantages else ["--scores", places["A"]]
    advantages = tmp_path / "advantages"
    summary = tiny.grao_json("advantages", groups, advantages, *scores, *words(system.advantages))
    assert summary["trained_samples"] > 0
    options = ["--model", model, "--device", "cpu", "--max-steps", 1, "--learning-rate", 1e-4]
    trained = tiny.grao_json("train", groups, advantages, tmp_path / "model", *options, *words(system.train))
    assert (trained["steps"], trained["skipped_steps"]) == (1, 0)
