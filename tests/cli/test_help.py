"""Help texts in sections, and advice for what is misspelled."""

import re

import pytest

from grao_pipeline.options import option_flag
from grao_pipeline.pipeline import stages
from grao_pipeline.stage import Stage
from tests import tiny


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["roudns"], "No such command 'roudns'. Did you mean rounds?"),
        (["versoin"], "No such command 'versoin'. Did you mean --version?"),
        (["xyzzy"], "No such command 'xyzzy'. Commands: prompts, references, "),
        (["train", "--lr", "1e-5"], "No such option '--lr'. Did you mean --learning-rate?"),
        (["generate", "--max-tokens", "3"], "No such option '--max-tokens'. Did you mean --max-new-tokens?"),
        (["generate", "--num-generations", "8"], "No such option '--num-generations'. Did you mean --samples?"),
        (["train", "--kl-coef", "0.1"], "No such option '--kl-coef'. Did you mean --objective-arg?"),
        (["generate", "--revision", "main"], "No such option '--revision'. Write MODEL@REVISION."),
        (["train", "--revision=main"], "No such option '--revision'. Write MODEL@REVISION."),
        (["score", "--revision", "main"], "No such option '--revision'. Write MODEL@REVISION."),
        (["inspect", "--rows", "3"], "Error: No such option '--rows'.\n"),
        (["evaluate", "--revision", "main"], "Error: No such option '--revision'.\n"),
        (["train", "--qwxyz"], "No such option '--qwxyz'."),
        (["train", "--attention", "splitt"], "'auto', 'split', 'varlen', 'flex', 'rows'. Did you mean split?"),
        (["scoer"], "No such command 'scoer'. Did you mean score?"),
        (
            ["train", "g", "a", "m", "--objective", "groa", "--model", "m"],
            "unknown objective 'groa'. Did you mean grao?",
        ),
        (["export", "--pair", "best-wrost"], "'reference-rejected'. Did you mean best-worst?"),
    ],
)
def test_a_misspelled_name_is_refused_with_the_nearest_one(arguments: list[str], message: str) -> None:
    result = tiny.grao(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("stage", stages(), ids=lambda stage: stage.name)
def test_help_shows_the_options_under_the_titles_of_their_stage(stage: Stage) -> None:
    text = tiny.grao(stage.name, "--help").stdout
    sections = stage.options_model.help_sections
    titles = ["Options", *sections.values(), *(["Other options"] if sections else [])]
    places = [text.index(f"\n{title}:\n") for title in titles]
    assert places == sorted(places)
    assert set(sections) <= set(stage.options_model.model_fields)
    assert text.count("\n  -q, --quiet") == 1


@pytest.mark.parametrize("stage", [stage for stage in stages() if len(stage.options_model.model_fields) > 24])
def test_a_long_help_begins_with_the_few_options_that_matter(stage: Stage) -> None:
    model = stage.options_model
    first = tiny.grao(stage.name, "--help").stdout.split("\nOptions:\n")[1].split("\n\n")[0]
    flags = re.findall(r"^  (--[a-z-]+)", first, re.MULTILINE)
    assert flags[: len(model.first_options)] == [option_flag(name) for name in model.first_options]
    assert 3 <= len(flags) <= 10


def test_a_directory_that_does_not_exist_is_called_that() -> None:
    assert "Error: runs/nosuch does not exist." in tiny.grao("inspect", "runs/nosuch").stderr


def test_a_command_that_ctrl_c_stops_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("grao_pipeline.inspection.inspect.inspect_path", interrupted)
    result = tiny.grao("inspect", "runs/any")
    assert result.exit_code == 1
    assert result.stderr.endswith("Error: Stopped. Run the same command again; what is written is reused.\n")
