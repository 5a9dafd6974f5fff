"""`question` and `answer`, as in GSM8K: a worked answer whose last line is `#### N`."""

import re

from grao_pipeline.prompts.base import Prompt, PromptFormat, Row, filled, rest
from grao_pipeline.prompts.conversations import text

FINAL_LINE = re.compile(r"####(.*)")


def convert(row: Row) -> Prompt:
    """The answer is the reference; what a verifier compares with goes to metadata.answer.

    Raises:
        DroppedRow: a value is missing or empty.
    """
    question = text(row["question"], "question")
    worked = filled(text(row["answer"], "answer"))
    metadata = {**rest(row, "question", "answer"), "answer": final_answer(worked)}
    return Prompt([{"role": "user", "content": question}], worked, None, metadata)


def final_answer(worked: str) -> str:
    """The N of a last line `#### N`, without commas (`"…\\n#### 1,200"` → `"1200"`); else the whole answer."""
    match = FINAL_LINE.fullmatch(worked.rstrip().rpartition("\n")[2].strip())
    final = match[1].replace(",", "").strip() if match else ""
    return final or worked


def fits(sample: Row) -> bool:
    return {"question", "answer"} <= sample.keys()


FORMAT = PromptFormat(
    name="question-answer",
    columns=("question", "answer"),
    shape="question, answer; a last line '#### N' of the answer gives metadata.answer",
    fits=fits,
    convert=convert,
)
