"""`gsm8k`: 1 where the completion's final number equals the expected one, else 0."""

from collections.abc import Mapping

from grao_pipeline.scoring.rewards.final_number import FinalNumberReward
from grao_pipeline.scoring.rewards.quantities import Quantity, readings


class Gsm8k(FinalNumberReward):
    r"""1 if the completion's final number equals the expected one (`$1,234.00` equals `1234`), else 0.

    The final number is the one of the last answer marker (`#### 18`, `A: 18`, `Answer: 18`, `the answer is 18`,
    `\boxed{18}`), or the last one of the text where it has no marker; `strict=true` then takes none. A completion
    without a number is wrong (0), not an error. So is one without a marker that was cut off (finish reason `length`):
    the number that it happens to end in is not its answer.

    A marked number is read whole: `\boxed{5 \text{ or } 9}`, `the answer is 3-5` and `A: 12,3456` hold none. Of an
    equation (`the answer is 2 + 4 = 6`) the result counts. The expected answer must be one number, with or without a
    unit, or a worked solution that ends in one; otherwise the status is `error`.
    """

    def identity(self) -> Mapping[str, object]:
        return {**super().identity(), "version": 4}

    def is_right(self, quantity: Quantity, expected: Quantity) -> bool:
        return any(value == other for value, other in readings(quantity, expected))

    def shown(self, quantity: Quantity) -> str:
        return f"{quantity.scaled:f}"
