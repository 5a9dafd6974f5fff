"""Options: one model per stage, from which the commands are made; help, defaults, messages and the way back."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, get_args, get_origin

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import PositiveInt
from pydantic.fields import FieldInfo

from grao_pipeline.advantages.options import AdvantagesOptions, WeightedScores
from grao_pipeline.cli.command import given_options
from grao_pipeline.cli.command import options_of as options_of_command
from grao_pipeline.cli.main import stage_command
from grao_pipeline.cli.parameters import command_line
from grao_pipeline.errors import UsageError
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.importing.options import ImportOptions
from grao_pipeline.options import (
    CommandLine,
    StageOptions,
    YamlSection,
    option_flag,
    parse_options,
)
from grao_pipeline.options_file import read_options_file, write_options_file
from grao_pipeline.parsing import key_values
from grao_pipeline.pipeline import stages
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.ray_cluster import RayStageOptions
from grao_pipeline.rounds.config.keys import RunKeys
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.training.options import TrainOptions
from tests.tiers import examples

MODELS: list[type[StageOptions]] = [
    PromptsOptions,
    ImportOptions,
    GenerateOptions,
    ScoreOptions,
    AdvantagesOptions,
    TrainOptions,
    EvaluateOptions,
]
FIELDS = [(model, name, field) for model in MODELS for name, field in model.model_fields.items()]
NAMES = [f"{model.__name__}.{name}" for model, name, _ in FIELDS]

# Where and how the work is done, and what identifies an input by its place: never part of a fingerprint.
RUNTIME = {
    "base_groups",
    "base_scores",
    "batch_size",
    "checkpoint_steps",
    "device",
    "gradient_checkpointing",
    "model",
    "nodes",
    "processes",
    "rejects",
    "rendezvous",
    "tokenizer",
    "worker",
}


@pytest.mark.parametrize(("model", "name", "field"), FIELDS, ids=NAMES)
def test_every_option_says_what_it_is_and_whether_it_shapes_the_output(
    model: type[StageOptions], name: str, field: FieldInfo
) -> None:
    assert field.description
    assert field.description.endswith(".")
    assert isinstance(field.json_schema_extra, dict)
    assert isinstance(field.json_schema_extra["content"], bool)


def is_content(field: FieldInfo) -> bool:
    assert isinstance(field.json_schema_extra, dict)
    return bool(field.json_schema_extra["content"])


@pytest.mark.parametrize("model", MODELS)
def test_places_devices_and_batch_sizes_are_not_content(model: type[StageOptions]) -> None:
    required = {"model": "x", "reward": "y"}
    options = model.model_validate({key: value for key, value in required.items() if key in model.model_fields})
    assert not RUNTIME & options.content().keys()
    assert options.content().keys() == {name for of, name, field in FIELDS if of is model and is_content(field)}
    assert len(fingerprint(options.content())) == 32


def test_what_shapes_the_output_is_content() -> None:
    advantages = AdvantagesOptions(reference_floor=0.5).content()
    assert (advantages["reference_floor"], advantages["estimator"], advantages["gate"]) == (0.5, "grao", [])
    evaluation = {"pass_at": [], "success": 1.0, "by": [], "confidence": 0.95, "bootstrap_samples": 10_000, "seed": 3}
    assert EvaluateOptions(seed=3).content() == evaluation
    one = GenerateOptions(model="a", device="cpu", batch_size=1)
    other = GenerateOptions(model="a", device="cuda", batch_size=99)
    assert one.content() == other.content() != GenerateOptions(model="a", temperature=0.8).content()
    train = TrainOptions(model="a", lambda_=0.25).content()
    assert (train["lambda_"], train["beta"]) == (0.25, 0.5)


def test_the_papers_settings_are_the_defaults() -> None:
    """arXiv 2508.07750, training details: G = 8, temperature 0.7, 2048 tokens, β = 0.5, λ = 0.6, 64 prompts a step."""
    generate, train = GenerateOptions(model="m"), TrainOptions(model="m")
    assert (generate.samples, generate.temperature, generate.max_new_tokens) == (8, 0.7, 2048)
    assert (train.beta, train.lambda_, train.learning_rate, train.weight_decay) == (0.5, 0.6, 1e-6, 0.01)
    assert (train.groups_per_step, AdvantagesOptions().statistics) == (64, "samples_and_reference")


def test_options_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        AdvantagesOptions().estimator = "other"


CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")


def values_of(field: FieldInfo) -> st.SearchStrategy[Any]:
    """Any value that the field allows, from its type and its bounds."""
    bounds = {
        key: getattr(rule, key) for rule in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(rule, key)
    }
    strategies: list[st.SearchStrategy[Any]] = []
    for kind in get_args(field.annotation) if type(None) in get_args(field.annotation) else (field.annotation,):
        if kind == Literal["auto"] | int:  # processes
            strategies.append(st.just("auto") | st.integers(1, 2**62))
        elif get_origin(kind) is Literal:
            strategies.append(st.sampled_from(get_args(kind)))
        elif get_origin(kind) is Annotated:  # a condition
            strategies.append(st.sampled_from(['task == "code"', "level > 2 and not hidden", "answer"]))
        elif get_origin(kind) is list:
            elements = {
                str: st.text(CHARACTERS, min_size=1),
                tuple[str, str]: st.tuples(st.text(CHARACTERS), st.text(CHARACTERS)),
                PositiveInt: st.integers(1, 2**63 - 1),
                WeightedScores: st.builds(WeightedScores, url=st.text(CHARACTERS), weight=st.floats(-9, 9)),
            }
            strategies.append(st.lists(elements[get_args(kind)[0]], max_size=3))
        elif kind is int:
            strategies.append(st.integers(bounds.get("ge", -(2**63)), bounds.get("le", 2**63 - 1)))
        elif kind is float:
            low, high = (bounds.get(a, bounds.get(b)) for a, b in (("ge", "gt"), ("le", "lt")))
            open_low, open_high = "gt" in bounds, "lt" in bounds
            finite = st.floats(
                low, high, allow_nan=False, allow_infinity=False, exclude_min=open_low, exclude_max=open_high
            )
            strategies.append(finite)
        else:
            strategies.append({bool: st.booleans(), str: st.text(CHARACTERS), type(None): st.none()}[kind])
    return st.one_of(strategies)


@st.composite
def options_of(draw: st.DrawFn, model: type[StageOptions]) -> StageOptions:
    """Some of the model's options, at any allowed values."""
    values = {
        name: draw(values_of(field))
        for name, field in model.model_fields.items()
        if field.is_required() or draw(st.booleans())
    }
    if model is EvaluateOptions and (values.get("base_groups") is None) != (values.get("base_scores") is None):
        values |= {"base_groups": "g", "base_scores": "s"}
    if model is EvaluateOptions and not values.get("pass_at"):
        values.pop("success", None)
    if model is GenerateOptions and not values.get("model"):
        values["model"] = "m"
    if model is TrainOptions and not values.get("lora_rank"):
        for name in ("adapter", "lora_target", "lora_dropout", "save_adapter", "load_in_4bit"):
            values.pop(name, None)
    elif model is TrainOptions and not values.get("save_adapter"):
        for name in ("save_optimizer", "carry_optimizer"):
            values.pop(name, None)
    if model is TrainOptions:
        meeting = {"nodes": values["nodes"], "rendezvous": "node0:29400"} if values.get("nodes", 1) > 1 else {}
        values = {name: value for name, value in values.items() if name not in ("nodes", "rendezvous")} | meeting
    if issubclass(model, RayStageOptions) and values.get("executor") != "ray":
        for name in ("actors", "actor_gpus", "ray_address"):
            values.pop(name, None)
    if model is ScoreOptions and values.get("worker") is not None:
        values.pop("retry_errors", None)
    return model.model_validate(values)


STAGE_OF = {stage.options_model: stage for stage in stages()}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=examples(40))
@given(st.data())
def test_the_command_line_of_options_gives_the_same_options_back(
    model: type[StageOptions], data: st.DataObject
) -> None:
    options = data.draw(options_of(model))
    received: list[StageOptions] = []

    @click.command()
    @options_of_command(model)
    def command(as_json: bool, **values: Any) -> None:
        received.append(given_options(model, values)[0])

    words = command_line(STAGE_OF[model], (), "out", options)
    result = CliRunner().invoke(command, words[3:])
    assert result.exit_code == 0, result.output
    assert received == [options]
    assert received[0].content() == options.content()


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_file_of_options_gives_the_same_options_back(model: type[StageOptions], data: st.DataObject) -> None:
    options = data.draw(options_of(model))
    with TemporaryDirectory() as directory:
        path = Path(directory) / "options.json"
        write_options_file(path, options, YamlSection("train", "r.yaml:3", {"beta": "r.yaml:4"}))
        values, source = read_options_file(path)
    assert model.model_validate(values) == options
    assert source.render("wrong.", "beta") == "r.yaml:4: train.beta: wrong."


def test_a_command_line_names_only_what_was_given() -> None:
    def words(options: StageOptions) -> list[str]:
        return command_line(STAGE_OF[type(options)], ("in",), "out", options)[4:]

    assert words(AdvantagesOptions()) == []
    options = TrainOptions(
        model="base", lambda_=0.1, gradient_checkpointing=True, allow_off_policy=False, max_steps=None
    )
    assert words(options) == [
        "--no-allow-off-policy",
        "--gradient-checkpointing",
        *("--lambda", "0.1"),
        *("--model", "base"),
    ]
    assert words(ScoreOptions(reward="regex", reward_arg=["a=1", "b=2"])) == [
        *("--reward", "regex"),
        *("--reward-arg", "a=1"),
        *("--reward-arg", "b=2"),
    ]


def test_flags_win_over_the_options_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "options.json"
    file.write_text('{"reward": "length", "batch_size": 0}')
    command = stage_command("score")
    wrong_in_file = CliRunner().invoke(command, ["nothing", "o", "--options", str(file)])
    assert f"{file}: batch_size: input should be greater than or equal to 1, found 0." in wrong_in_file.stderr
    wrong_flag = CliRunner().invoke(command, ["nothing", "o", "--options", str(file), "--batch-size", "-1"])
    assert "--batch-size: input should be greater than or equal to 1, found -1." in wrong_flag.stderr
    right_flag = CliRunner().invoke(command, ["nothing", "o", "--options", str(file), "--batch-size", "4"])
    assert "nothing does not exist" in right_flag.stderr


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('{"samples": 0, "model": "m"}', 2, "samples: input should be greater than or equal to 1, found 0."),
        ('{"sampels": 4, "model": "m"}', 2, "sampels: there is no such option of this stage. Did you mean samples?"),
        ("[1]", 1, "expected one JSON object of options, found list."),
        ('{"samples": ', 1, "not valid JSON (Expecting value)."),
        (None, 1, "No such file or directory."),
    ],
)
def test_a_wrong_file_of_options_is_named(tmp_path: Path, text: str | None, code: int, message: str) -> None:
    file = tmp_path / "options.json"
    if text is not None:
        file.write_text(text)
    result = CliRunner().invoke(stage_command("generate"), ["prompts", "out", "--options", str(file)])
    assert result.exit_code == code
    assert str(file) in result.stderr
    assert message in result.stderr


def test_a_flag_is_the_name_with_dashes_or_the_alias() -> None:
    assert option_flag("max_new_tokens") == "--max-new-tokens"
    assert option_flag("lambda_") == "--lambda"


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (GenerateOptions, {}, "--model: this option is required."),
        (GenerateOptions, {"model": "m", "samples": 0}, "--samples: input should be greater than or equal to 1"),
        (GenerateOptions, {"model": "m", "top_p": 1.5}, "--top-p: input should be less than or equal to 1"),
        (
            GenerateOptions,
            {"model": "m", "temperature": math.inf},
            "--temperature: input should be a finite number",
        ),
        (GenerateOptions, {"model": "m", "samples": True}, "--samples: expected a number, found True."),
        (TrainOptions, {"model": "m", "beta": False}, "--beta: expected a number, found False."),
        (TrainOptions, {"model": "m", "max_steps": True}, "--max-steps: expected a number, found True."),
        (RunKeys, {"output": "o", "model": "m", "prompts": {}, "rounds": True}, "--rounds: expected a number, found"),
        (AdvantagesOptions, {"reference_floor": math.nan}, "--reference-floor: input should be a finite number"),
        (TrainOptions, {"model": "m", "lambda": -1}, "--lambda: input should be greater than or equal to 0"),
        (TrainOptions, {"model": "m", "lambda_": "x"}, "--lambda: input should be a valid number"),
        (TrainOptions, {"model": "m", "learning_rate": 0}, "--learning-rate: input should be greater than 0"),
        (AdvantagesOptions, {"statistics": "all"}, "--statistics: input should be 'samples_and_reference' or"),
        (AdvantagesOptions, {"estimate": "grao"}, "--estimate: there is no such option of this stage."),
        (ScoreOptions, {"reward": "x", "reward_arg": "a=1"}, "--reward-arg: input should be a valid list"),
        (EvaluateOptions, {"base_scores": "s"}, "--base-groups and --base-scores go together: give both or neither"),
    ],
)
def test_a_wrong_option_is_named_with_its_value_and_what_is_allowed(
    model: type[StageOptions], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(model, values)
    assert str(caught.value).startswith(message)
    assert "pydantic" not in str(caught.value)


def test_all_wrong_options_are_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(GenerateOptions, {"samples": 0, "seed": -1, "sed": 1})
    assert str(caught.value).splitlines() == [
        "--model: this option is required.",
        "--samples: input should be greater than or equal to 1, found 0.",
        "--seed: input should be greater than or equal to 0, found -1.",
        "--sed: there is no such option of this stage. Did you mean seed?",
    ]


def test_in_a_file_an_option_is_named_as_it_is_written_there() -> None:
    source = YamlSection("train", "rounds.yaml:8", {"lambda": "rounds.yaml:9"})
    with pytest.raises(UsageError) as caught:
        parse_options(TrainOptions, {"model": "m", "lambda": -1, "groups_per_step": "many"}, source)
    assert str(caught.value).splitlines() == [
        "rounds.yaml:9: train.lambda: input should be greater than or equal to 0, found -1.",
        "rounds.yaml:8: train.groups_per_step: input should be a valid integer, unable to parse string as an integer, "
        "found 'many'.",
    ]


def test_another_option_in_a_message_is_written_as_its_reader_writes_it() -> None:
    message = "needs an adapter: give --lora-rank, e.g. 16"
    assert CommandLine().render(message, "load_in_4bit") == f"--load-in-4bit: {message}"
    assert YamlSection("train", "r.yaml:3").render(message, "load_in_4bit") == (
        "r.yaml:3: train.load_in_4bit: needs an adapter: give lora_rank, e.g. 16"
    )


@pytest.mark.parametrize(
    ("pairs", "parsed"),
    [
        ([], {}),
        (["a=1", "b="], {"a": "1", "b": ""}),
        (["pattern=^x=y$"], {"pattern": "^x=y$"}),
        (["a=1", "a=2"], {"a": "2"}),
    ],
)
def test_key_values_are_split_at_the_first_equals_sign(pairs: list[str], parsed: dict[str, str]) -> None:
    assert key_values(pairs, "reward_arg") == parsed


@pytest.mark.parametrize("pair", ["", "a", "=1"])
def test_a_pair_without_key_or_equals_sign_is_refused(pair: str) -> None:
    with pytest.raises(UsageError, match=f"'{pair}': expected key=value") as caught:
        key_values([pair], "reward_arg")
    assert caught.value.option == "reward_arg"


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (GenerateOptions, {"model": "m", "samples": 10**9}),
        (GenerateOptions, {"model": "m", "max_new_tokens": 10**9}),
        (EvaluateOptions, {"bootstrap_samples": 10**9}),
        (TrainOptions, {"model": "m", "epochs": 10**9}),
    ],
)
def test_a_count_without_measure_is_refused(model: type[StageOptions], values: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="input should be less than or equal to"):
        parse_options(model, values)


@pytest.mark.parametrize("model", [AdvantagesOptions, GenerateOptions, ScoreOptions])
def test_options_of_ray_need_ray_and_a_command_in_an_actor_has_none(model: type[RayStageOptions]) -> None:
    given: dict[str, object] = {"model": "m", "reward": "length"}
    given = {name: value for name, value in given.items() if name in model.model_fields}
    with pytest.raises(ValueError, match="--ray-address has no effect without --executor ray"):
        model.model_validate({**given, "ray_address": "auto"})
    options = model.model_validate({**given, "executor": "ray", "ray_address": "auto"})
    assert options.here() == model.model_validate(given)
