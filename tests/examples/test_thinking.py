"""A thinking model of every family, from prompts to a step of training: what is trained on in the four cases."""

from pathlib import Path

import pytest

from examples.thinking import main, two_cases
from tests.generation.test_reasoning_groups import TEMPLATES

ON, OFF = ["enable_thinking=true"], ["enable_thinking=false"]
END = "<|im_end|>"
FAMILIES: list[tuple[str, list[str], str, str]] = [
    ("qwen3", ON, "<think>\n{}\n</think>\n\n4", ""),
    ("qwen3", OFF, "4", "<think>\n\n</think>\n\n"),
    ("qwen3_5", ON, "{}\n</think>\n\n4", "<think>\n"),
    ("qwen3_5", OFF, "4", "<think>\n\n</think>\n\n"),
    ("r1", [], "{}\n</think>\n\n4", "<think>\n"),
    ("glm", ON, "\n<think>{}</think>\n4", ""),
    ("glm", OFF, "\n4", "\n<think></think>"),
    ("gptoss", [], "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>4", ""),
    ("nemotron", ON, "{}\n</think>\n4", "<think>\n"),
    ("nemotron", OFF, "4", "<think></think>"),
    ("smollm3", ON, "<think>\n{}\n</think>\n\n4", ""),
    ("smollm3", OFF, "4", "<think>\n\n</think>\n"),
    ("gemma4", ON, "<|channel>thought\n{}\n<channel|>4", ""),
    ("gemma4", OFF, "4", ""),
]
"""Family, arguments of its template, a turn after the prompt with its thought, and what the prompt ends with."""


@pytest.mark.slow
@pytest.mark.parametrize(("family", "arguments", "turn", "opened"), FAMILIES)
def test_what_is_trained_on_is_what_the_model_would_write(
    family: str, arguments: list[str], turn: str, opened: str, model: Path, tmp_path: Path
) -> None:
    """Advantages: rewards of 1, 0 and the reference's 1 around 2/3, or of 1 and 0 alone around 1/2, over their standard
    deviation. A reference without a thought is not trained on where the model thinks.
    """
    with_thought, without = two_cases(model, str(TEMPLATES / f"{family}.jinja"), arguments, tmp_path)
    reference = turn.format("two and two") + END
    thinks = "{}" in turn
    for case, is_trained in ((with_thought, True), (without, not thinks)):
        assert case["prompt"].endswith(opened)
        assert case["sample 1"] == turn.format("so 4") + END
        assert case["rewards"] == "[1.0, 0.0], reference 1.0"
        high, low = ("+0.71", "-1.41") if is_trained else ("+1.00", "-1.00")
        trained = [text for name, text in case.items() if name.startswith("trained")]
        wrong = turn.format("so 5").removesuffix("4") + "5" + END
        expected = [f"{high} {case['sample 1']}", f"{low} {wrong}", *([f"{high} {reference}"] if is_trained else [])]
        assert trained == expected


@pytest.mark.slow
def test_the_script_prints_the_four_cases(capsys: pytest.CaptureFixture[str]) -> None:
    main([str(TEMPLATES / "qwen3.jinja"), *ON, *OFF], standalone_mode=False)
    titles = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert titles == [f"{[*ON, *OFF][n // 2]}, reference with {('reasoning', 'no reasoning')[n % 2]}" for n in range(4)]
