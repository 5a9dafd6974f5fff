"""References become tokens as the families of reasoning models render them: a thought that is opened is closed once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from grao_pipeline.errors import UsageError
from grao_pipeline.models.chat import PromptTokenizer
from grao_pipeline.models.templates import TemplateSettings, with_defaults
from tests import tiny

TEMPLATES = Path(__file__).parent / "templates"
QUESTION = [{"role": "user", "content": "2+2?"}]
Make = Callable[..., PromptTokenizer]
END = "<|im_end|>"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny.make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def make(tokenizer: Any) -> Make:
    def make(family: str, **arguments: Any) -> PromptTokenizer:
        template = (TEMPLATES / f"{family}.jinja").read_text()
        return PromptTokenizer(tokenizer, [2], template, TemplateSettings(arguments))

    return make


ON: dict[str, Any] = {}
OFF: dict[str, Any] = {"enable_thinking": False}
CASES: list[tuple[str, dict[str, Any], str, str, str, str]] = [
    # family, arguments, end of the prompt, with reasoning, without: empty, without: none
    ("qwen3", ON, "assistant\n", "<think>\nR\n</think>\n\n4", "<think>\n\n</think>\n\n4", "4"),
    ("qwen3", OFF, "<think>\n\n</think>\n\n", "4", "4", "4"),
    ("qwen3_5", ON, "<think>\n", "R\n</think>\n\n4", "\n</think>\n\n4", "\n</think>\n\n4"),
    ("qwen3_5", OFF, "<think>\n\n</think>\n\n", "4", "4", "4"),
    ("r1", ON, "<think>\n", "R\n</think>\n\n4", "\n</think>\n\n4", "\n</think>\n\n4"),
    ("glm", ON, "<|assistant|>", "\n<think>R</think>\n4", "\n<think></think>\n4", "\n4"),
    ("glm", OFF, "\n<think></think>", "\n4", "\n4", "\n4"),
    (
        "gptoss",
        ON,
        "<|start|>assistant",
        "<|channel|>analysis<|message|>R<|end|><|start|>assistant<|channel|>final<|message|>4",
        "<|channel|>analysis<|message|><|end|><|start|>assistant<|channel|>final<|message|>4",
        "<|channel|>final<|message|>4",
    ),
    ("nemotron", ON, "<think>\n", "R\n</think>\n4", "\n</think>\n4", "\n</think>\n4"),
    ("nemotron", OFF, "<think></think>", "4", "4", "4"),
    ("smollm3", ON, "assistant\n", "<think>\nR\n</think>\n\n4", "<think>\n\n</think>\n\n4", "4"),
    ("smollm3", OFF, "<think>\n\n</think>\n", "4", "4", "4"),
    (
        "gemma4",
        {"enable_thinking": True},
        "model\n",
        "<|channel>thought\nR\n<channel|>4",
        "<|channel>thought\n\n<channel|>4",
        "4",
    ),
    ("gemma4", ON, "model\n", "4", "4", "4"),
    ("gemma3", ON, "model\n", "4", "4", "4"),
]


@pytest.mark.parametrize(("family", "arguments", "prompt", "given", "empty", "none"), CASES)
def test_a_reference_continues_the_prompt_as_the_family_writes_it(
    family: str, arguments: dict[str, Any], prompt: str, given: str, empty: str, none: str, make: Make, tokenizer: Any
) -> None:
    chat = make(family, **arguments)
    assert tokenizer.decode(chat.prompt(QUESTION)).endswith(prompt)
    turns = [
        chat.continuation(QUESTION, "4", "R"),
        chat.continuation(QUESTION, "4"),
        chat.continuation(QUESTION, "4", empty_thought=False),
    ]
    assert [tokenizer.decode(turn.token_ids) for turn in turns] == [given + END, empty + END, none + END]
    thoughts = ["as given", "missing", "missing"]
    if prompt.rstrip().endswith("</think>") or (family, arguments) == ("gemma4", ON):
        thoughts = ["left out", "as given", "as given"]
    assert [turn.thought for turn in turns] == (thoughts if family != "gemma3" else ["as given"] * 3)


@pytest.mark.parametrize("family", ["qwen3", "qwen3_5", "r1", "glm", "gptoss", "nemotron", "smollm3"])
def test_think_tags_in_a_reference_mean_its_reasoning_in_every_family(family: str, make: Make) -> None:
    chat = make(family)
    inline = chat.continuation(QUESTION, "<think>\nR\n</think>\n\n4")
    assert inline == chat.continuation(QUESTION, "4", "R")
    assert chat.split_columns(chat.prompt(QUESTION), [chat.text(inline.token_ids)]) == {
        "reasoning": ["R"],
        "answers": ["4"],
    }
    assert chat.continuation(QUESTION, "<think>\nR").thought == "unfinished"


def test_a_model_without_reasoning_gets_think_tags_as_they_are(make: Make, tokenizer: Any) -> None:
    text = "<think>\nR\n</think>\n\n4"
    assert tokenizer.decode(make("gemma3").continuation(QUESTION, text).token_ids) == text + END


def test_a_switch_in_the_system_turn_counts_for_that_prompt(make: Make, tokenizer: Any) -> None:
    off = [{"role": "system", "content": "/no_think"}, *QUESTION]
    assert make("smollm3").continuation(off, "4", "R").thought == "left out"
    assert make("smollm3").continuation(QUESTION, "4", "R").thought == "as given"


def test_marks_that_are_special_tokens_stay_in_the_text(tmp_path: Path) -> None:
    tiny.make_tokenizer(tmp_path)
    names = ["<|start|>", "<|end|>", "<|channel|>", "<|message|>"]
    special = PreTrainedTokenizerFast.from_pretrained(
        str(tmp_path), additional_special_tokens=["<|im_start|>", "<|im_end|>", *names]
    )
    chat = PromptTokenizer(special, [2], (TEMPLATES / "gptoss.jinja").read_text())
    turn = chat.continuation(QUESTION, "4", "R")
    assert chat.stop_token_ids == (2,)  # not the channel that precedes every answer
    text = chat.text(turn.token_ids)
    assert text == "<|channel|>analysis<|message|>R<|end|><|start|>assistant<|channel|>final<|message|>4"
    assert chat.split_columns(chat.prompt(QUESTION), [text]) == {"reasoning": ["R"], "answers": ["4"]}


def test_earlier_turns_lose_their_reasoning_where_the_template_says_so(make: Make, tokenizer: Any) -> None:
    earlier = [*QUESTION, {"role": "assistant", "content": "<think>\nR\n</think>\n\n4"}, *QUESTION]
    text = tokenizer.decode(make("r1").prompt(earlier))
    assert text == "<|User|>2+2?<|Assistant|>\n\n4<|im_end|><|User|>2+2?<|Assistant|><think>\n"


def test_the_date_of_a_template_stands_still(make: Make, tokenizer: Any) -> None:
    assert "Today Date: 01 January 2026" in tokenizer.decode(make("smollm3").prompt(QUESTION))
    settings = TemplateSettings.parse([], "2024-07-31T09:30:00")
    chat = PromptTokenizer(tokenizer, [2], "{{ strftime_now('%H:%M') }}", settings)
    assert tokenizer.decode(chat.prompt(QUESTION)) == "09:30"


def test_tools_reach_the_template(tokenizer: Any) -> None:
    chat = PromptTokenizer(tokenizer, [2], "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}.")
    assert tokenizer.decode(chat.prompt(QUESTION, '[{"type": "function", "function": {"name": "add"}}]')) == "add."
    assert tokenizer.decode(chat.prompt(QUESTION)) == "."


def test_arguments_of_a_template_are_json_or_text(tokenizer: Any) -> None:
    settings = TemplateSettings.parse(["a=false", "b=low", "c=3"], "2026-01-01")
    assert settings.arguments == {"a": False, "b": "low", "c": 3}
    template = "{{ a is false }} {{ b }} {{ c + 1 }}"
    assert tokenizer.decode(PromptTokenizer(tokenizer, [2], template, settings).prompt(QUESTION)) == "True low 4"
    saved = PromptTokenizer(tokenizer, [2], with_defaults(template, settings.arguments))
    assert tokenizer.decode(saved.prompt(QUESTION)) == "True low 4"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["enable_thinkin=false"], "reads no variable 'enable_thinkin'. Did you mean enable_thinking?"),
        (["tools=[]"], "'tools' cannot be set"),
        (["enable_thinking"], "expected key=value"),
    ],
)
def test_an_argument_that_would_have_no_effect_is_refused(pairs: list[str], message: str, tokenizer: Any) -> None:
    template = (TEMPLATES / "qwen3.jinja").read_text()
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        PromptTokenizer(tokenizer, [2], template, TemplateSettings.parse(pairs, "2026-01-01"))


def test_a_wrong_date_is_refused() -> None:
    with pytest.raises(UsageError, match="'today' is not a date"):
        TemplateSettings.parse([], "today")
