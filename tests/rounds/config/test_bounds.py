"""YAML of any content: PyYAML's values, or one error with the line, at once."""

import time
from pathlib import Path

import pytest
import yaml

from grao_pipeline.errors import GraoError
from grao_pipeline.rounds.config.compile import load_plan
from grao_pipeline.rounds.config.yaml_lines import read_yaml

BASE = "output: x\nmodel: m\nprompts: {train: t}\nscore: [{reward: gsm8k}]\n"
NINES = "9" * 5_000


class WithDates(yaml.SafeLoader):
    """PyYAML's own, even where a library that vLLM imports has changed its class: then it reads dates as text."""


WithDates.add_constructor("tag:yaml.org,2002:timestamp", WithDates.construct_yaml_timestamp)  # type: ignore[type-var]


@pytest.mark.parametrize(
    "text",
    [
        "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n",
        "a: &a {x: 1}\nb: &b {x: 2, y: 3}\nc: {z: 0, <<: [*a, *b]}\n",
        "a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b}\nd: [*b, *a, [*a]]\n",
        "- 1e-5\n- 0x1F\n- 1_000\n- 2024-02-03\n- yes\n- ~\n- !!str 7\n- !!int '7'\n- .inf\n- 1:30\n",
    ],
)
def test_values_are_those_of_pyyaml(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert read_yaml(str(tmp_path / "a.yaml")).plain() == yaml.load(text, Loader=WithDates)


ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 10))
DOUBLED = "variables:\n  a0: aaaaaaaaaa\n" + "".join(f"  a{i}: '${{a{i - 1}}}${{a{i - 1}}}'\n" for i in range(1, 50))
SWEEP = "sweep:\n" + "".join(f"  train.{name}: {list(range(1, 12))}\n" for name in ("beta", "lambda", "seed", "epochs"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ALIASES, ": the file has more than 20000 values, those of aliases included."),
        (MERGES, ": the file has more than 20000 values, those of aliases included."),
        ("a: " + "[" * 3_000 + "]" * 3_000, "a.yaml:1: lists and dictionaries are nested deeper than 50 levels."),
        ("a: [" + "x," * 20_001 + "]", "a.yaml:1: the file has more than 20000 values"),
        ("a: " + "x" * 2**21, "it is larger than 1 MiB."),
        ("\nrounds: !!int x", "a.yaml:2: 'x' is not of type int. Quote it where a text is meant."),
        ("rounds: !!bool x", "a.yaml:1: 'x' is not of type bool."),
        ("output: 2024-13-45", "a.yaml:1: '2024-13-45' is not of type timestamp."),
        (f"rounds: {NINES}", "a.yaml:1: '99999"),
        ("rounds: 0x" + "f" * 100, ": a whole number has at most 64 bits."),
        ("output: \0", "is not YAML"),
        ('output: "\\0"', "output: it holds a NUL character, found '\\x00'."),
        ("<<: [1]", "a.yaml:1: <<: expected a dictionary to merge, found 1."),
        (BASE + "rounds: 1000000000", "rounds: input should be less than or equal to 1000, found 1000000000."),
        (BASE + "rounds: 500\n" + SWEEP, "a.yaml:6: sweep: it stands for 14641 variants; at most 1000."),
        (BASE + DOUBLED, "variables make this text longer than 1000000 characters."),
        (BASE + f"sweep: {{train.beta: [1], advantages.estimator: [{'x' * 300}]}}", "is longer than 200 bytes."),
        (BASE + "train: {epochs: {schedule: linear, from: .nan, to: 2}}", "expected {schedule: linear, from: NUMBER"),
    ],
    ids=range(18),
)
def test_a_file_of_any_content_is_refused_at_once(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    started = time.process_time()
    with pytest.raises(GraoError) as raised:
        load_plan(str(tmp_path / "a.yaml"))
    assert message in str(raised.value)
    assert len(str(raised.value)) < 1_000
    assert time.process_time() - started < 5


def test_a_package_that_changes_pyyaml_changes_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As lm-format-enforcer does, which vLLM imports: dates become texts."""
    constructors = yaml.SafeLoader.yaml_constructors
    monkeypatch.setitem(constructors, "tag:yaml.org,2002:timestamp", constructors["tag:yaml.org,2002:str"])
    (tmp_path / "a.yaml").write_text("output: 2024-13-45")
    with pytest.raises(GraoError, match="is not of type timestamp"):
        load_plan(str(tmp_path / "a.yaml"))
