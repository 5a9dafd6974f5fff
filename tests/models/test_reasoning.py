"""A completion is parted into its reasoning and its answer, in every format that models have."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.models.reasoning import HARMONY, THINK, Marks, find_marks
from tests.tiers import examples

GEMMA = Marks("<|channel>thought", "<channel|>")
MISTRAL = Marks("[THINK]", "[/THINK]")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="<>[]|"), max_size=40)


@settings(max_examples=examples(100))
@given(marks=st.sampled_from([THINK, GEMMA, MISTRAL]), thought=TEXTS, answer=TEXTS, is_open=st.booleans())
def test_a_thought_and_an_answer_are_parted_whatever_they_are(
    marks: Marks, thought: str, answer: str, is_open: bool
) -> None:
    opening = "" if is_open else f"{marks.opening}\n"
    split = marks.split(f"{opening}{thought}\n{marks.closing}\n\n{answer}", is_open)
    assert split == (thought.strip() or None, answer.lstrip())


@settings(max_examples=examples(60))
@given(thought=TEXTS)
def test_a_thought_that_never_ends_has_no_answer(thought: str) -> None:
    assert THINK.split(f"<think>\n{thought}") == (thought.strip() or None, None)
    assert THINK.split(thought, is_open=True) == (thought.strip() or None, None)


@settings(max_examples=examples(60))
@given(text=TEXTS)
def test_a_text_without_marks_is_its_answer(text: str) -> None:
    for marks in (THINK, GEMMA, MISTRAL, HARMONY):
        assert marks.split(text) == (None, text)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>\n\n</think>\n\n4", None, "4"),
        ('<think>as JSON</think>{"a": 1}', "as JSON", '{"a": 1}'),
        ("I opened it in the prompt\n</think>\n\n4", "I opened it in the prompt", "4"),
        ("\n<think>a</think>\n<think>b</think>\n4", "a\n\nb", "4"),
        ("Wait.\n<think>a</think>\n4", "a", "Wait.\n4"),
        ("<think>a</think>\nb\n</think>\n\n4", "a\n\nb", "4"),
        ("<think>a</think>Write <think> and </think>.", "a", "Write <think> and </think>."),
        ("The tag <think> begins it, </think> ends it.", None, "The tag <think> begins it, </think> ends it."),
        ("<think>a</think>\n4\n<think>or 5", "a\n\nor 5", None),
        ("<think>\n<think>\na</think>4", "a", "4"),
    ],
)
def test_blocks_are_reasoning_and_marks_inside_of_a_line_are_text(
    text: str, reasoning: str | None, answer: str | None
) -> None:
    assert THINK.split(text) == (reasoning, answer)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>4", "a", "4"),
        ("<|channel|>final<|message|>4<|return|>", None, "4"),
        ("<|channel|>final <|constrain|>json<|message|>{}", None, "{}"),
        ("<|channel|>analysis<|message|>a, but cut", "a, but cut", None),
        ("<|channel|>ana", None, None),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary to=f <|constrain|>json"
            "<|message|>{}<|call|>",
            "a\n\n{}",
            None,
        ),
    ],
)
def test_the_final_channel_is_the_answer(text: str, reasoning: str | None, answer: str | None) -> None:
    assert HARMONY.split(text) == (reasoning, answer)


@pytest.mark.parametrize(
    ("template", "marks"),
    [
        ("{{ content.split('</think>')[-1] }}", THINK),
        ("<seed:think>{{ x }}</seed:think>", Marks("<seed:think>", "</seed:think>")),
        ("<reasoning>{{ x }}</reasoning>", Marks("<reasoning>", "</reasoning>")),
        ("{{ '[THINK]' + x + '[/THINK]' }}", Marks("[THINK]", "[/THINK]", space=("", "", ""))),
        ("<|channel|>analysis<|message|>", HARMONY),
        ("<|im_start|>{{ content }}<|im_end|>", None),
    ],
)
def test_marks_are_known_from_the_template(template: str, marks: Marks | None) -> None:
    assert find_marks(template) == marks
