"""Notes under summaries: their thresholds, and that the page of the documentation states them."""

from pathlib import Path

import pytest

from grao_pipeline import notes
from grao_pipeline.training import notes as training_notes

PAGE = (Path(__file__).parents[1] / "docs" / "notes.md").read_text()


@pytest.mark.parametrize(
    ("row", "threshold"),
    [
        ("no, or few, reference answers", f"{notes.FEW_REFERENCES:.0%}"),
        ("samples cut at their token limit", f"{notes.MANY_TRUNCATED:.0%}"),
        ("reasoning that never ends", f"{notes.MANY_UNFINISHED_THOUGHTS:.0%}"),
        ("empty samples", f"{notes.MANY_EMPTY:.0%}"),
        ("samples without a reward", f"{notes.MANY_UNSCORED:.0%}"),
        ("position bias of a judge", f"{notes.POSITION_BIAS:.0%}"),
        ("contradicting verdicts", f"{notes.FEW_CONSISTENT:.0%}"),
        ("ties", f"{notes.MANY_TIES:.0%}"),
        ("groups without signal", f"{notes.MANY_WITHOUT_SIGNAL:.0%}"),
        ("few optimizer steps", f"fewer than {training_notes.FEW_STEPS}"),
        ("learning rate far from", "outside {:g} to {:g}".format(*training_notes.LEARNING_RATES["full"])),
        ("learning rate far from", "for LoRA {:g} to {:g}".format(*training_notes.LEARNING_RATES["LoRA"])),
    ],
)
def test_the_page_states_the_threshold(row: str, threshold: str) -> None:
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {row}"))
    assert threshold in line


@pytest.mark.parametrize(
    ("rate", "is_lora", "word"),
    [
        (1e-6, False, ""),
        (2e-5, False, ""),
        (1e-3, False, "high"),
        (1e-9, False, "low"),
        (1e-4, True, ""),
        (1e-6, True, "low"),
        (0.1, True, "high"),
    ],
)
def test_a_usual_learning_rate_has_no_note(rate: float, is_lora: bool, word: str) -> None:
    lines = list(training_notes.learning_rate(rate, is_lora))
    assert [f"is {word} for training" in line for line in lines] == [True] * bool(word)


def test_the_share_of_cut_samples_is_said_with_what_to_do() -> None:
    assert list(notes.truncation(1, 100)) == []
    (line,) = notes.truncation(143, 156)
    assert line.startswith("143 of 156 samples (92%) were cut at their token limit")
    assert "--max-new-tokens" in line


def test_references_that_are_the_worst_are_another_note_than_weak_ones() -> None:
    assert list(notes.weak_references(1.0, 0.5, 10, are_worst=False)) == []
    (weak,) = notes.weak_references(0.4, 0.5, 10, are_worst=False)
    (worst,) = notes.weak_references(0.0, 0.5, 300, are_worst=True)
    assert list(notes.weak_references(0.0, 0.0, 300, are_worst=True)) == []  # all samples got it, too
    assert "0.4 against 0.5" in weak
    assert worst.startswith("All 300 references got the lowest reward of the table, 0")


def test_few_comparisons_of_a_judge_say_nothing() -> None:
    shares = {"tie": 1.0, "consistent": 0.0, "first_position": 1.0}
    assert list(notes.judge(shares, notes.FEWEST_COMPARISONS - 1)) == []
    assert len(list(notes.judge(shares, notes.FEWEST_COMPARISONS))) == 3


def test_greedy_samples_of_a_group_are_the_same() -> None:
    assert [*notes.greedy(0.0, 1), *notes.greedy(0.7, 8)] == []
    (line,) = notes.greedy(0.0, 8)
    assert line.startswith("--temperature 0 samples the same text 8 times for each prompt")
