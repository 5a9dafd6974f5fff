"""What the rounds need to know of `grao advantages` before it runs."""

from collections.abc import Callable, Sequence

from grao_pipeline.advantages.combine import check_combination
from grao_pipeline.advantages.compute import advantages_provenance
from grao_pipeline.advantages.estimators.load import load_estimator
from grao_pipeline.advantages.inputs import feature_urls
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.advantages.recipe import Recipe
from grao_pipeline.options import StageOptions
from grao_pipeline.storage.manifest import Provenance


def check(options: StageOptions) -> None:
    """Refuse an unknown estimator, and a combination that cannot be made of the rewards.

    Args:
        options: with the rewards' names in place of the scores' places.

    Raises:
        UsageError: names the option.
    """
    assert isinstance(options, AdvantagesOptions)
    weights = {scores.url: scores.weight for scores in options.scores}
    check_combination(options, weights)
    Recipe(options, weights, load_estimator(options)).load()


def identity(inputs: Sequence[str], options: StageOptions, provenance_of: Callable[[str], Provenance]) -> Provenance:
    """The identity of the advantages that these options compute."""
    assert isinstance(options, AdvantagesOptions)

    def named(place: str) -> tuple[str, str]:
        provenance = provenance_of(place)
        return str(provenance.options["name"]), provenance.fingerprint

    scores = [(*named(table.url), table.weight) for table in options.scores]
    rewards_by_groups: dict[str, list[tuple[str, str]]] = {}
    for groups, table in options.pool:
        rewards_by_groups.setdefault(groups, []).append(named(table))
    pool = [(provenance_of(groups).fingerprint, rewards) for groups, rewards in rewards_by_groups.items()]
    features = [(name, provenance_of(url).fingerprint) for name, url in feature_urls(options.feature).items()]
    return advantages_provenance(options, provenance_of(inputs[0]).fingerprint, scores, pool, features)
