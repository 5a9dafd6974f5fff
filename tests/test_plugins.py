"""Names become objects: built in, published by a package, or from a file next to the user."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from grao_pipeline.advantages.estimators import ESTIMATORS
from grao_pipeline.advantages.estimators.grao import Grao
from grao_pipeline.errors import MissingDependency, UsageError
from grao_pipeline.generation.engines import ENGINES
from grao_pipeline.plugin_kinds import KINDS, PluginKind
from grao_pipeline.plugins import BROUGHT_BY, EXTRAS, entry_point_group, load, require
from grao_pipeline.scoring.rewards import REWARDS
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.objectives import OBJECTIVES
from tests import tiny


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory; `sys.path` and what was imported from here are put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("here"):
            del sys.modules[name]


def test_a_built_in_name_is_its_object() -> None:
    assert load("estimator", "grao", ESTIMATORS) is Grao


@pytest.mark.parametrize(
    ("kind", "registry"),
    [("estimator", ESTIMATORS), ("reward", REWARDS), ("objective", OBJECTIVES), ("engine", ENGINES)],
)
def test_every_built_in_name_leads_to_something(kind: str, registry: dict[str, str]) -> None:
    assert registry
    for name in registry:
        assert callable(load(kind, name, registry))


def test_module_and_attribute_are_found_in_the_current_directory(place: Path) -> None:
    (place / "here_one.py").write_text("def judge():\n    return 'judged'\n")
    (place / "here_package").mkdir()
    (place / "here_package" / "inner.py").write_text("VALUE = 7\n")
    assert load("reward", "here_one:judge", {})() == "judged"
    assert load("reward", "here_package.inner:VALUE", {}) == 7


def test_an_installed_package_publishes_names_by_entry_points(place: Path) -> None:
    (place / "here_published.py").write_text("def judge():\n    return 'published'\n")
    (place / "judges-1.0.dist-info").mkdir()
    (place / "judges-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: judges\nVersion: 1.0\n")
    (place / "judges-1.0.dist-info" / "entry_points.txt").write_text(
        "[grao_pipeline.rewards]\npolite = here_published:judge\ngsm8k = here_published:judge\n"
    )
    sys.path.insert(0, str(place))
    assert load("reward", "polite", REWARDS)() == "published"
    assert load("reward", "gsm8k", REWARDS).__module__.startswith("grao_pipeline.")  # a built-in is not replaced
    with pytest.raises(UsageError, match="unknown estimator 'polite'"):
        load("estimator", "polite", ESTIMATORS)


def publish(place: Path, group: str, name: str, target: str) -> None:
    """An installed package with one entry point."""
    folder = place / "here_package-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: here-package\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")
    sys.path.insert(0, str(place))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
def test_a_package_of_others_publishes_a_plugin_of_every_kind(kind: PluginKind, place: Path) -> None:
    """By its name and by its place it is one object."""
    (place / "here_all.py").write_text("def thing(*given, **arguments):\n    return 'thing'\n")
    publish(place, entry_point_group(kind.name), "their-thing", "here_all:thing")
    registry = kind.built_in()
    published = load(kind.name, "their-thing", registry)
    assert published is load(kind.name, "here_all:thing", registry)
    assert published() == "thing"
    assert "their-thing" in kind.names()


OWN = """
from dataclasses import replace

from grao_pipeline.training.objectives.base import Objective, ObjectiveOutputs, Traits


class Plain(Objective):
    traits = Traits(is_linear=True)

    def __call__(self, inputs):
        return ObjectiveOutputs(-(inputs.advantages * inputs.sample_share() * inputs.mean_logprobs()).sum(), {})


def words(completions, short="3"):
    return [(len(text.split()) <= int(short), [(len(text), 1.0)]) for text in completions]


def shout(prompt, *, mark: str = "!"):
    return replace(prompt, reference=prompt.reference.upper() + mark)
"""


@pytest.mark.slow
def test_what_others_publish_makes_the_same_tables_and_models_as_their_module(
    place: Path, groups: str, model: Path
) -> None:
    """A rewrite, a reward with steps and an objective, by entry point and by module:attribute."""
    (place / "here_own.py").write_text(OWN)
    names = {"rewrites": "shout", "rewards": "words", "objectives": "Plain"}
    for group, name in names.items():
        folder = place / f"here_{group}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: here-{group}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[grao_pipeline.{group}]\ntheirs = here_own:{name}\n")
    sys.path.insert(0, str(place))
    (place / "rows.jsonl").write_text('{"prompt": "q", "reference": "a"}\n')
    made = []
    for way, (rewrite, reward, objective) in {
        "theirs": ("theirs", "theirs", "theirs"),
        "place": ("here_own:shout", "here_own:words", "here_own:Plain"),
    }.items():
        out = place / way
        tiny.grao_json("prompts", "rows.jsonl", out / "prompts", "--rewrite", rewrite, "--rewrite-arg", "mark=?")
        tiny.grao_json("score", groups, out / "scores", "--reward", reward, "--reward-arg", "short=4", "--name", "w")
        advantages = ["--statistics", "samples", "--keep-zero-variance"]
        tiny.grao_json("advantages", groups, out / "advantages", "--scores", out / "scores", *advantages)
        training = ["--model", model, "--device", "cpu", "--max-steps", 1, "--objective", objective]
        summary = tiny.grao_json("train", groups, out / "advantages", out / "model", *training)
        rows = [open_table(str(out / name)).arrow().to_pylist() for name in ("prompts", "scores", "advantages")]
        made.append((rows, summary["model"]))
    assert made[0] == made[1]
    assert made[0][0][0][0]["reference"] == "A?"
    assert made[0][0][1][0]["steps"] is not None


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        load("reward", "gsm9k", REWARDS)
    assert str(caught.value) == (
        f"reward: unknown reward 'gsm9k'. Did you mean gsm8k? Built in: {', '.join(sorted(REWARDS))}. "
        "Your own: 'module:attribute', importable from the current directory, or 'path/to/file.py:attribute'."
    )


MISSPELLED = [
    ("prompts", ["rows.jsonl", "out"], "format", "sharegtp"),
    ("generate", ["prompts", "out", "--model", "model"], "engine", "vlm"),
    ("score", ["groups", "out"], "reward", "lenght"),
    ("advantages", ["groups", "out", "--scores", "scores"], "filter", "lengths"),
    ("train", ["groups", "advantages", "out", "--model", "model"], "objective", "groa"),
    ("export", ["groups", "out"], "format", "verll"),
]


@pytest.mark.parametrize(("stage", "arguments", "option", "name"), MISSPELLED)
def test_a_misspelled_name_is_refused_before_the_inputs_are_read(
    stage: str, arguments: list[str], option: str, name: str
) -> None:
    result = tiny.grao(stage, *arguments, f"--{option}", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Error: --{option}: unknown " in result.stderr
    assert f"'{name}'" in result.stderr


def test_a_misspelled_objective_is_refused_before_torch_is_imported() -> None:
    stage, arguments, option, name = MISSPELLED[4]
    command = [stage, *arguments, f"--{option}", name]
    code = f"""
import sys
from grao_pipeline.cli.main import main
try:
    main({command})
finally:
    assert "torch" not in sys.modules
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 2, process.stderr
    assert "Did you mean grao?" in process.stderr


def test_a_module_or_attribute_that_is_not_there_is_named(place: Path) -> None:
    with pytest.raises(UsageError, match=f"no module named 'here_absent'.* current directory \\({place}\\)"):
        load("reward", "here_absent:judge", {})
    (place / "here_three.py").write_text("def judge():\n    return 1\n")
    with pytest.raises(UsageError, match="module 'here_three' has no attribute 'jugde'"):
        load("reward", "here_three:jugde", {})
    with pytest.raises(UsageError, match="module 'here_three' has no attribute ''"):
        load("reward", "here_three:", {})
    with pytest.raises(UsageError, match=r"no module named 'here_three\.inner'"):
        load("reward", "here_three.inner:judge", {})


@pytest.mark.parametrize("name", [":judge", ".relative:judge", "..:x"])
def test_what_is_no_module_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"is not a module's full name\. Write module:attribute"):
        load("reward", name, {})


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (
            "here_four",
            "\nimport here_four_needs_this\n",
            r"py:2: ModuleNotFoundError: No module named 'here_four_needs_",
        ),
        # The name of what is missing begins the module's own.
        ("here_five", "import here\n", r"py:1: ModuleNotFoundError: No module named 'here'"),
        ("here_six", "\n\ndef judge(:\n", r"here_six\.py:3: SyntaxError: "),
        ("here_seven", "import json\n\njson.loads('{')\n", r"decoder\.py:\d+: JSONDecodeError: "),
    ],
)
def test_an_import_that_fails_inside_the_users_module_is_said_with_its_line(
    name: str, text: str, problem: str, as_file: bool, place: Path
) -> None:
    (place / f"{name}.py").write_text(text)
    with pytest.raises(UsageError, match=rf"reward: .*importing '{name}.*' failed at .*{problem}"):
        load("reward", f"{place}/{name}.py:judge" if as_file else f"{name}:judge", {})


def test_a_built_in_plugin_that_needs_a_missing_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "grao_pipeline.training.objectives.asymre", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependency, match="needs the package 'torch', which is not installed"):
        load("objective", "asymre", OBJECTIVES)


def test_a_package_that_is_installed_is_imported() -> None:
    import json

    assert require("json") is json


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("vllm", "pip install 'grao-pipeline[vllm]'"),
        ("torch.absent", "pip install 'grao-pipeline[generate]' (or the extra score or train, which has it, too)"),
        ("datasets", "pip install 'grao-pipeline[prompts]'"),
        ("here_not_on_this_machine.inner", "pip install here_not_on_this_machine"),
    ],
)
def test_a_missing_package_is_answered_with_the_command_that_installs_it(
    module: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = module.split(".")[0]
    monkeypatch.setitem(sys.modules, package, None)  # Python's own way to make an import fail
    with pytest.raises(MissingDependency) as caught:
        require(module)
    assert str(caught.value) == f"This needs the package '{package}', which is not installed. Run: {command}"


def test_a_package_that_lacks_a_package_of_its_own_keeps_its_traceback(place: Path) -> None:
    (place / "here_eight.py").write_text("import here_eight_needs_this\n")
    sys.path.insert(0, str(place))
    with pytest.raises(ModuleNotFoundError, match="here_eight_needs_this"):
        require("here_eight")


def test_the_extras_of_optional_packages_are_those_of_the_project() -> None:
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    listed: dict[str, set[str]] = {}
    for extra, requirements in project["optional-dependencies"].items():
        for requirement in requirements:
            package = re.split(r"[\[><=~]", requirement)[0].removesuffix("-skinny").replace("-", "_")
            if extra not in ("dev", "all", "docs") and package != "grao_pipeline":
                listed.setdefault(package, set()).add(extra)
    assert {package: set(extras) for package, extras in EXTRAS.items()} == listed
    used = {
        package.split(".")[0]
        for path in (root / "grao_pipeline").rglob("*.py")
        for package in re.findall(r'require\("([\w.]+)"\)', path.read_text())
    }
    assert used <= EXTRAS.keys() | BROUGHT_BY.keys()
    assert set(BROUGHT_BY.values()) <= EXTRAS.keys()


def test_the_wheel_has_one_top_level_package() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert tomllib.loads(text)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["grao_pipeline"]
