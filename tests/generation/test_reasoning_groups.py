"""A thinking model from prompts to what is trained on; and conversations that a chat template refuses."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.generation.engines.base import Engine, FakeEngine, Request, Sample, SampledGroup, Sampling
from grao_pipeline.generation.generate import generate_groups
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.models import chat, templates
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.storage.reader import open_table
from tests import tiny

TEMPLATES = Path(__file__).parents[1] / "models" / "templates"
WITH, WITHOUT = "<think>\ntwo and two\n</think>\n\n4", "4"
END = "<|im_end|>"
Row = dict[str, Any]


class ScriptedEngine(Engine):
    """Samples these texts for every prompt."""

    def __init__(self, tokenizer: Any, texts: Sequence[str]) -> None:
        self._ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        for part in parts:
            for request in part:
                yield [SampledGroup(request.key, [Sample(ids, [-1.0] * len(ids), "stop") for ids in self._ids])]


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(model))


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    rows = [tiny.prompt_row("2+2?", text, answer="4") for text in (WITH, WITHOUT)]
    return tiny.write_table(tmp_path / "prompts", "prompts", rows)


@pytest.fixture
def sample(model: Path, tokenizer: Any, prompts: str, tmp_path: Path) -> Callable[..., tuple[list[Row], Any]]:
    """Sample these texts under a family's template; the groups and the summary."""

    def sample(family: str, texts: Sequence[str], **options: Any) -> tuple[list[Row], Any]:
        template = str(TEMPLATES / f"{family}.jinja")
        given = GenerateOptions(
            model=str(model), engine="transformers", samples=len(texts), chat_template=template, **options
        )
        engine = ScriptedEngine(tokenizer, texts)
        summary = generate_groups(prompts, str(tmp_path / "groups"), given, make_engine=lambda _: engine)
        return open_table(str(tmp_path / "groups"), "groups").arrow().to_pylist(), summary

    return sample


THINKING = ["<think>\nhm\n</think>\n\n4" + END, "<think>\nit could be 4" + END]
PLAIN = ["4" + END, "5" + END]


@pytest.mark.parametrize(
    ("thinking", "reference_reasoning", "trained"),
    [
        ("on", "required", [WITH + END, None]),
        ("on", "empty", [WITH + END, "<think>\n\n</think>\n\n4" + END]),
        ("on", "none", [WITH + END, "4" + END]),
        ("off", "required", ["4" + END, "4" + END]),
    ],
)
def test_four_cases_of_a_thinking_model_from_prompt_to_reward(
    sample: Any, tokenizer: Any, tmp_path: Path, thinking: str, reference_reasoning: Any, trained: list[str | None]
) -> None:
    """Thinking on and off, references with and without reasoning."""
    is_on = thinking == "on"
    arguments = [] if is_on else ["enable_thinking=false"]
    rows, summary = sample(
        "qwen3", THINKING if is_on else PLAIN, template_arg=arguments, reference_reasoning=reference_reasoning
    )
    block = "" if is_on else "<think>\n\n</think>\n\n"
    assert {tokenizer.decode(row["prompt_token_ids"]) for row in rows} == {
        f"<|im_start|>user\n2+2?{END}\n<|im_start|>assistant\n{block}"
    }
    ids = [row["reference_token_ids"] for row in rows]
    assert [None if tokens is None else tokenizer.decode(tokens) for tokens in ids] == trained
    for row in rows:
        assert row["reasoning"] == (["hm", "it could be 4"] if is_on else [None, None])
        assert row["answers"] == (["4", None] if is_on else ["4", "5"])
    assert summary.references_without_reasoning == is_on
    assert summary.reference_reasoning_left_out == (not is_on)
    assert summary.samples_without_answer == (2 if is_on else 0)
    score_groups(str(tmp_path / "groups"), str(tmp_path / "scores"), ScoreOptions(reward="gsm8k"))
    scores = open_table(str(tmp_path / "scores"), "scores").arrow().to_pylist()
    assert [row["rewards"] for row in scores] == [[1.0, 0.0]] * 2
    assert [row["reference_reward"] for row in scores] == [1.0, 1.0]


def test_an_open_thought_of_the_prompt_belongs_to_the_samples(sample: Any) -> None:
    rows, _ = sample("r1", ["hm\n</think>\n\n4" + END, "it could be 4" + END])
    assert rows[0]["reasoning"] == ["hm", "it could be 4"]
    assert rows[0]["answers"] == ["4", None]
    assert rows[0]["completions"] == ["hm\n</think>\n\n4", "it could be 4"]


def test_a_model_without_reasoning_has_neither_column(sample: Any) -> None:
    rows, summary = sample("gemma3", PLAIN)
    assert (rows[0]["reasoning"], rows[0]["answers"]) == (None, None)
    assert all(row["reference_token_ids"] for row in rows)
    assert summary.references_without_reasoning == 0


def test_a_thought_that_every_prompt_opens_cannot_be_left_out(sample: Any) -> None:
    with pytest.raises(UsageError, match="opens the reasoning in every prompt") as error:
        sample("r1", PLAIN, reference_reasoning="none")
    assert error.value.option == "reference_reasoning"


def test_what_a_template_reads_is_in_the_provenance_and_the_fingerprint(sample: Any, tmp_path: Path) -> None:
    sample("smollm3", PLAIN, template_arg=["enable_thinking=false"], template_date="2024-07-31")
    provenance = open_table(str(tmp_path / "groups"), "groups").provenance
    assert provenance.details["template_arguments"] == {"enable_thinking": False}
    assert provenance.details["template_date"] == "2024-07-31"
    assert provenance.details["reasoning_marks"] == ["<think>", "</think>"]
    assert provenance.options["template_arg"] == ["enable_thinking=false"]
    assert provenance.options["template_date"] == "2024-07-31"


def test_a_mapping_of_template_arguments_is_what_yaml_has() -> None:
    given = {"model": "m", "template_arg": {"enable_thinking": False, "effort": "low"}}
    assert GenerateOptions.model_validate(given).template_arg == ["enable_thinking=false", "effort=low"]


@pytest.fixture
def odd_prompts(tmp_path: Path) -> str:
    """Five prompts; in the third and the fourth the user has two turns, which Gemma's template refuses."""
    rows = [tiny.prompt_row(f"Question {number}?", "Yes.") for number in range(5)]
    for number in (2, 3):
        rows[number]["messages"] = [{"role": "user", "content": "First."}, {"role": "user", "content": "Second."}]
    return tiny.write_table(tmp_path / "odd", "prompts", rows)


def test_a_refused_prompt_is_named_before_an_engine_is_loaded(odd_prompts: str, model: Path, tmp_path: Path) -> None:
    options = GenerateOptions(model=str(model), chat_template=str(TEMPLATES / "gemma3.jinja"), prompts_per_part=2)
    refused = open_table(odd_prompts, "prompts").arrow().to_pylist()[2]["prompt_id"]

    def make_engine(_: object) -> Engine:
        raise AssertionError("an engine was loaded")

    with pytest.raises(InputError, match=rf"2 of 5 prompts\. Prompt {refused}: .* must alternate") as error:
        generate_groups(odd_prompts, str(tmp_path / "out"), options, make_engine=make_engine)
    assert "--on-template-error skip" in str(error.value)


@pytest.mark.slow
def test_refused_prompts_can_be_left_out_even_all_of_a_part(odd_prompts: str, model: Path, tmp_path: Path) -> None:
    """The second part has no group; the stages after it take that."""
    template = str(TEMPLATES / "gemma3.jinja")
    options = GenerateOptions(
        model=str(model), chat_template=template, prompts_per_part=2, on_template_error="skip", samples=2
    )
    progress, groups, scores = RecordedProgress(), str(tmp_path / "groups"), str(tmp_path / "scores")
    rows = open_table(odd_prompts, "prompts").arrow().to_pylist()
    summary = generate_groups(odd_prompts, groups, options, progress, make_engine=lambda _: FakeEngine(stop_token_id=2))
    assert (summary.groups, summary.prompts_refused) == (3, 2)
    assert any(rows[2]["prompt_id"] in message for message in progress.warnings)
    table = open_table(groups, "groups")
    assert [table.part(index).num_rows for index in range(table.num_parts)] == [2, 0, 1]
    assert generate_groups(odd_prompts, groups, options).groups == 3
    score_groups(groups, scores, ScoreOptions(reward="length", reward_arg=["target=3"]))
    advantages = tiny.grao_json("advantages", groups, tmp_path / "advantages", "--scores", scores)
    assert advantages["groups"] == 3


def test_the_same_command_writes_the_same_dates_and_says_so(model: Path, prompts: str, tmp_path: Path) -> None:
    options = GenerateOptions(model=str(model), chat_template=str(TEMPLATES / "smollm3.jinja"), samples=1)
    progress = RecordedProgress()
    generate_groups(prompts, str(tmp_path / "a"), options, progress, make_engine=lambda _: FakeEngine(stop_token_id=2))
    assert any("current date" in note and "2026-01-01" in note for note in progress.notes)


def test_a_prompt_is_rendered_once(model: Path, prompts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check before the sampling is the rendering that is sampled from."""
    rendered = []
    real = templates.render

    def counted(tokenizer: Any, template: str, messages: Any, generation: bool, *others: Any) -> str:
        if generation and messages[0]["content"] == "2+2?":
            rendered.append(messages)
        return real(tokenizer, template, messages, generation, *others)

    monkeypatch.setattr(chat, "render", counted)
    options = GenerateOptions(model=str(model), samples=1)
    generate_groups(prompts, str(tmp_path / "a"), options, make_engine=lambda _: FakeEngine(stop_token_id=2))
    assert len(rendered) == open_table(prompts, "prompts").num_rows == 2
