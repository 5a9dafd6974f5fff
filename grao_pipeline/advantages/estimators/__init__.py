"""Estimators: rewards of a group → advantages, one file per estimator.

An estimator is a subclass of `Estimator` (`base.py`): `over_group` returns one Polars expression on the flat view, with
the advantage of every row. Register it below, publish it by an entry point, or pass `--estimator package.module:Name`.
A plain function `f(view, *, statistics)` works as well; its other parameters are its arguments.
"""

_HERE = "grao_pipeline.advantages.estimators"

ESTIMATORS = {
    "grao": f"{_HERE}.grao:Grao",
    "grpo": f"{_HERE}.grpo:Grpo",
    "dr-grpo": f"{_HERE}.dr_grpo:DrGrpo",
    "rloo": f"{_HERE}.rloo:Rloo",
    "reinforce++-baseline": f"{_HERE}.reinforce_baseline:ReinforceBaseline",
    "max-rl": f"{_HERE}.max_rl:MaxRl",
    "gdpo": f"{_HERE}.gdpo:Gdpo",
    "opmd": f"{_HERE}.opmd:Opmd",
    "asymre": f"{_HERE}.asymre:Asymre",
    "rank": f"{_HERE}.rank:Rank",
    "best-of-n": f"{_HERE}.best_of_n:BestOfN",
    "sft": f"{_HERE}.sft:Sft",
    "red": f"{_HERE}.red:Red",
    "copo": f"{_HERE}.copo:Copo",
    "signed-by": f"{_HERE}.signed_by:SignedBy",
    "hardness-scaled": f"{_HERE}.hardness_scaled:HardnessScaled",
    "gtpo": f"{_HERE}.gtpo:Gtpo",
}
