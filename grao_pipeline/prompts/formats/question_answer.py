"""The format `question-answer`, as in GSM8K: `answer` is a worked solution whose last line is `#### N`."""

import re

from grao_pipeline.prompts.base import Prompt, PromptFormat, Row, filled, rest
from grao_pipeline.prompts.conversations import text

FINAL_LINE = re.compile(r"####(.*)")
THOUSANDS = re.compile(r"[-+−]?\s*[$€£¥]?\s*[-+−]?\d{1,3}(,\d{3})+(\.\d*)?\s*[%$€£¥]?")
"""A number whose commas separate groups of three digits; `1,2` and `(3, 5)` do not match."""


def convert(row: Row) -> Prompt:
    """The answer is the reference; the final answer, for verifiers, goes to metadata.answer.

    Raises:
        DroppedRow: a value is missing or empty.
    """
    question = text(row["question"], "question")
    solution = filled(text(row["answer"], "answer"))
    metadata = {**rest(row, "question", "answer"), "answer": final_answer(solution)}
    return Prompt([{"role": "user", "content": question}], solution, None, metadata)


def final_answer(solution: str) -> str:
    """The answer of a last line `#### …`, a number without separators of thousands (`"…\\n#### 1,200"` → `"1200"`);
    without such a line the whole solution."""
    match = FINAL_LINE.fullmatch(solution.rstrip().rpartition("\n")[2].strip())
    final = match[1].strip() if match else ""
    if THOUSANDS.fullmatch(final):
        final = final.replace(",", "")
    return final or solution


def fits(sample: Row) -> bool:
    return {"question", "answer"} <= sample.keys()


FORMAT = PromptFormat(
    name="question-answer",
    columns=("question", "answer"),
    shape="question, answer; if the answer's last line is '#### N', N becomes metadata.answer",
    fits=fits,
    convert=convert,
)
