"""The options of `grao advantages` and its fingerprint."""

from typing import Any, Literal

import pytest

from grao_pipeline.advantages.compute import advantages_provenance
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.options import extra_of, option

OTHER_VALUES: dict[str, Any] = {
    "combine": "minimum",
    "uncertainty_penalty": 1.0,
    "gate": ["a=1"],
    "estimator": "rloo",
    "estimator_arg": ["tau=2"],
    "statistics": "samples",
    "reference_floor": 0.0,
    "keep_zero_variance": True,
    "max_rounds_behind": 1,
    "unscored": "group",
    "truncated": "drop",
    "min_tokens": 2,
    "max_tokens": 3,
    "duplicates": "drop",
    "max_deviations": 3.0,
    "min_group_size": 2,
    "min_mean_reward": 0.1,
    "max_mean_reward": 0.9,
    "top_k": 1,
    "bottom_k": 1,
    "combine_arg": ["a=1"],
    "reshape": ["overlong"],
    "reshape_arg": ["overlong.limit=9"],
    "filter": ["indistinct"],
    "filter_arg": ["indistinct.tau=1"],
    "token_weights": ["conflicts"],
    "token_weights_arg": ["conflicts.boost=3"],
}


def fingerprint(options: AdvantagesOptions) -> str:
    return advantages_provenance(options, "g" * 32, [("r", "s" * 32, 1.0)]).fingerprint


def test_every_option_that_shapes_the_table_is_in_its_provenance_at_any_value() -> None:
    shaping = {name for name, info in AdvantagesOptions.model_fields.items() if extra_of(info).get("content")}
    assert shaping == OTHER_VALUES.keys()
    assert AdvantagesOptions().content().keys() == shaping
    assert AdvantagesOptions(**OTHER_VALUES).content().keys() == shaping


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_every_option_changes_the_fingerprint(name: str) -> None:
    assert fingerprint(AdvantagesOptions(**{name: OTHER_VALUES[name]})) != fingerprint(AdvantagesOptions())


def test_a_changed_default_changes_the_fingerprint() -> None:
    """A table of the old default must not be resumed by a program with the new one."""

    class LaterOptions(AdvantagesOptions):
        truncated: Literal["keep", "drop", "zero"] = option("drop", "Its default was `keep`.")

    assert fingerprint(LaterOptions()) != fingerprint(AdvantagesOptions())
    assert fingerprint(LaterOptions()) == fingerprint(AdvantagesOptions(truncated="drop"))


def test_places_and_dry_runs_do_not_change_the_fingerprint() -> None:
    options = AdvantagesOptions.model_validate({"scores": ["elsewhere=2"], "pool": [("a", "b")], "dry_run": True})
    assert fingerprint(options) == fingerprint(AdvantagesOptions())
