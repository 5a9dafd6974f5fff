"""What a user's own functions add to the fingerprint of an advantages table."""

from grao_pipeline.advantages.combinations import COMBINATIONS
from grao_pipeline.advantages.estimators import ESTIMATORS
from grao_pipeline.advantages.filters import NAMED_FILTERS
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.advantages.reshapes import RESHAPES
from grao_pipeline.advantages.token_weights import TOKEN_WEIGHTS
from grao_pipeline.plugins import named_source


def own_sources(options: AdvantagesOptions) -> dict[str, str]:
    """Hashes of the sources of all that is not built in, by kind and name; empty where all of it is."""
    sources = named_source("estimator", options.estimator, ESTIMATORS)
    sources |= named_source("combination", options.combine, COMBINATIONS, "combine")
    repeated = (
        ("reshape", "reshape", options.reshape, RESHAPES),
        ("filter", "filter", options.filter, NAMED_FILTERS),
        ("token_weight", "token_weights", options.token_weights, TOKEN_WEIGHTS),
    )
    for kind, option, names, registry in repeated:
        for name in names:
            for key, source in named_source(kind, name, registry, option).items():
                sources[f"{key}.{name}"] = source
    return sources
