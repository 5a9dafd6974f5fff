"""Options of `grao merge`."""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from grao_pipeline.options import StageOptions, option, tables
from grao_pipeline.parsing import weighted


class WeightedModel(BaseModel):
    """A model and its weight in the sum, written as `MODEL` or `MODEL=WEIGHT`.

    Example: `WeightedModel.model_validate("runs/r1/model=1.3")`
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str
    weight: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return dict(zip(("model", "weight"), weighted(value, "MODEL=WEIGHT"), strict=True))

    def __str__(self) -> str:
        return self.model if self.weight is None else f"{self.model}={self.weight}"


class MergeOptions(StageOptions):
    """`grao merge`: models → a model."""

    models: list[WeightedModel] = tables(
        [],
        "Model to add, a directory, hub id or URL, as MODEL=WEIGHT. Repeatable; without weights their mean. The first "
        "one gives the configuration and the tokenizer.",
        metavar="MODEL",
        alias="model",
    )
    momentum: float | None = option(
        None, "α of θ₁ + α (θ₁ − θ₂), of two models without weights: further on the way from θ₂ to θ₁."
    )
    average: float | None = option(
        None, "d of d θ₂ + (1 − d) θ₁, of two models without weights: a moving average.", ge=0.0, lt=1.0
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        given = [model.weight is not None for model in self.models]
        rules = [name for name in ("momentum", "average") if getattr(self, name) is not None]
        if len(rules) > 1:
            raise ValueError("give --momentum or --average, not both")
        if any(given) and (rules or not all(given)):
            reason = f"--{rules[0]} decides the weights" if rules else "the others have one"
            raise ValueError(f"give every --model a weight, or none: {reason}")
        if rules and self.models and len(self.models) != 2:
            raise ValueError(f"--{rules[0]} is of two models, a later and an earlier one; found {len(self.models)}")
        return self

    def weights(self) -> list[float]:
        """Of every model, in order."""
        if self.momentum is not None:
            return [1 + self.momentum, -self.momentum]
        if self.average is not None:
            return [1 - self.average, self.average]
        return [1 / len(self.models) if model.weight is None else model.weight for model in self.models]
