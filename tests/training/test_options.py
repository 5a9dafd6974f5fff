"""The fingerprint of a training is of all its content options, given or not."""

from typing import Any

import pytest

from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.options import extra_of, option
from grao_pipeline.training.options import TrainOptions

CONTENT = [name for name, info in TrainOptions.model_fields.items() if extra_of(info)["content"]]


def test_every_content_option_is_in_the_fingerprint_also_at_its_default() -> None:
    content = TrainOptions(model="m").content()
    assert list(content) == CONTENT
    assert {"objective_arg", "correction", "ratio_cap", "max_rounds_behind", "optimizer", "lora_rank"} <= set(CONTENT)


def test_a_changed_default_changes_the_fingerprint() -> None:
    """As it would between two versions: a training with the old default must not resume one with the new default."""

    class Later(TrainOptions):
        negative_floor: float | None = option(-10.0, "As in a later version.")

    now, later = (fingerprint(options.content()) for options in (TrainOptions(model="m"), Later(model="m")))
    assert later != now
    assert fingerprint(Later(model="m", negative_floor=None).content()) == now


@pytest.mark.parametrize(
    "values",
    [
        {"objective_arg": ["a=1"]},
        {"correction": "mask-band", "ratio_low": 0.5, "ratio_high": 2.0},
        {"negative_floor": -5.0},
        {"max_rounds_behind": 0},
        {"lora_rank": 8},
    ],
)
def test_a_given_option_is_in_the_content(values: dict[str, Any]) -> None:
    content = TrainOptions.model_validate({"model": "m", **values}).content()
    assert {name: content[name] for name in values} == values
