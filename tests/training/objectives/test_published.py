"""Every objective against its formula, written sequence by sequence, by float64 autograd; by hand-worked numbers; and
cut anywhere."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from grao_pipeline.errors import InputError
from grao_pipeline.training.data.sequences import TrainingSequence
from grao_pipeline.training.micro_batch import objective_inputs
from grao_pipeline.training.objectives import OBJECTIVES
from grao_pipeline.training.objectives.base import Objective
from grao_pipeline.training.objectives.make import construct
from grao_pipeline.training.objectives.requirements import check_sequences
from grao_pipeline.training.options import TrainOptions
from tests.training.objectives import formulas
from tests.training.objectives.formulas import Formula, One
from tests.training.steps import sequence

Group = list[TrainingSequence]

FORMULAS: dict[str, tuple[str, list[str], Formula]] = {
    "cispo": ("cispo", ["cap=1.1"], formulas.cispo),
    "dapo": ("dapo", [], formulas.dapo),
    "gspo": ("gspo", ["clip_low=0.05", "clip_high=0.1"], formulas.gspo),
    "sapo": ("sapo", [], formulas.sapo),
    "disco": ("disco", ["tau=2", "beta0=50", "delta=0.001"], formulas.disco("tail")),
    "disco plain": ("disco", ["kind=plain", "beta0=50", "delta=0.001"], formulas.disco("plain")),
    "distillation": ("distillation", ["teacher=big"], formulas.distillation),
    "kto": ("kto", ["kto_beta=0.3", "desirable=2", "undesirable=0.5"], formulas.kto),
    "orpo": ("orpo", [], formulas.orpo),
    "simpo": ("simpo", [], formulas.simpo),
    "p3o": ("p3o", [], formulas.p3o),
    "pairwise dpo": ("pairwise", ["pairs=all"], formulas.pairwise(formulas.dpo_link)),
    "pairwise dpo, reliability": (
        "pairwise",
        ["pairs=all", "label_reliability=0.9"],
        formulas.pairwise(formulas.reliable),
    ),
    "pairwise ipo": ("pairwise", ["pairs=all", "link=ipo"], formulas.pairwise(formulas.ipo)),
    "pairwise hinge": ("pairwise", ["pairs=all", "link=hinge"], formulas.pairwise(formulas.hinge)),
    "pairwise sppo": ("pairwise", ["pairs=all", "link=sppo"], formulas.pairwise(formulas.sppo_pair)),
    "pairwise gap": ("pairwise", ["pairs=all", "link=preference-gap"], formulas.pairwise(formulas.preference_gap)),
    "pairwise soft": ("pairwise", ["pairs=all", "link=soft", "soft_tau=0.5"], formulas.pairwise(formulas.soft)),
    "ranked-list": ("ranked-list", ["buckets=[0.3, 0.9]"], formulas.ranked_list),
    "rec one-side": ("rec", [], formulas.rec("one-side", False, 0.0)),
    "rec one-side, importance": ("rec", ["importance=yes"], formulas.rec("one-side", True, 0.0)),
    "rec ring": ("rec", ["mask=ring", "ring_low=0.4", "ring_high=0.5", "k2=0.1"], formulas.rec("ring", False, 0.1)),
    "rec two-side": ("rec", ["mask=two-side"], formulas.rec("two-side", False, 0.0)),
    "regression": ("regression", ["eta=0.5"], formulas.regression),
    "sparse-pair": ("sparse-pair", ["pairs=all", "share=0.4"], formulas.pairwise(formulas.dpo_link, share=0.4)),
    "sppo": ("sppo", ["eta=10"], formulas.sppo),
    "trpa": ("trpa", ["levels=[0.9, 0.3]"], formulas.trpa),
}
REQUIRED = {
    "bridged-pair": ["against=big"],
    "gkd": ["teacher=big"],
    "sparse-pair": ["share=0.4"],
    "dr-grpo": ["max_completion_length=20"],
    "distillation": ["teacher=big"],
    "trpa": ["levels=[0.9, 0.3]"],
}


def objective_of(name: str, arguments: Sequence[str] = ()) -> Objective:
    return construct(TrainOptions(model="m", objective=name, objective_arg=list(arguments)))


def groups_of(seed: int) -> tuple[list[Group], list[list[list[float]]]]:
    """Groups of 4, 1, 3 and 5 samples and a reference each, and the log-probs of their tokens."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(count: int, low: float, high: float) -> list[float]:
        drawn = torch.rand(count, generator=generator, dtype=torch.float64) * (high - low) + low
        return [round(float(value), 6) for value in drawn]

    groups, logprobs = [], []
    for number, size in enumerate((4, 1, 3, 5)):
        lengths = torch.randint(1, 7, (size + 1,), generator=generator).tolist()
        rewards = [(0.0, 1.0, 0.5, 1.0, 0.25)[(place + number) % 5] for place in range(size)]
        advantages = numbers(size, -1.5, 1.5)
        shared: dict[str, Any] = {
            "group_size": size,
            "group_id": str(number),
            "group_mean_advantage": sum(advantages) / size,
            "group_mean_reward": sum(rewards) / size,
            "group_has_reference": True,
            "group_tokens": sum(lengths[:-1]),
        }
        group, of_group = [], []
        for place, length in enumerate(lengths):
            now = numbers(length, -3, -0.05)
            is_reference = place == size
            of_group.append(now)
            group.append(
                sequence(
                    [1],
                    list(range(length)),
                    advantage=0.5 if is_reference else advantages[place],
                    is_reference=is_reference,
                    reward=1.0 if is_reference else rewards[place],
                    behavior_logprobs=None
                    if is_reference
                    else [a + b for a, b in zip(now, numbers(length, -0.5, 0.5), strict=True)],
                    logprobs={"big": [a + b for a, b in zip(now, numbers(length, -1, 1), strict=True)]},
                    **shared,
                )
            )
        groups.append(group)
        logprobs.append(of_group)
    return groups, logprobs


def loss_and_slopes(
    objective: Objective, sequences: Sequence[TrainingSequence], logprobs: Sequence[Sequence[float]]
) -> tuple[Tensor, list[list[float]]]:
    """The loss, and its slope by the log-prob of every token."""
    rows = [torch.tensor(values, dtype=torch.float64) for values in logprobs]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).requires_grad_()
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row), dtype=torch.bool) for row in rows], batch_first=True)
    loss = objective(objective_inputs(sequences, mask, padded)).loss
    (slopes,) = torch.autograd.grad(loss, padded)
    return loss.detach(), [row[: len(values)].tolist() for row, values in zip(slopes, logprobs, strict=True)]


def assert_close(found: Sequence[Sequence[float]], expected: Sequence[Sequence[float]]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a == pytest.approx(b, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", FORMULAS)
def test_loss_and_gradient_are_those_of_the_formula(case: str, seed: int) -> None:
    name, arguments, formula = FORMULAS[case]
    groups, logprobs = groups_of(seed)
    leaves = [[torch.tensor(values, dtype=torch.float64).requires_grad_() for values in group] for group in logprobs]
    total = torch.zeros((), dtype=torch.float64)
    for group, of_group in zip(groups, leaves, strict=True):
        ones = [
            One(
                leaf,
                torch.tensor(each.behavior_logprobs, dtype=torch.float64),
                each.advantage,
                float(each.reward or 0.0),
                other=torch.tensor(each.logprobs["big"], dtype=torch.float64),
            )
            for each, leaf in zip(group, of_group, strict=True)
            if not each.is_reference
        ]
        total = total + formula(ones)
    flat = [each for group in groups for each in group]
    flat_logprobs = [values for group in logprobs for values in group]
    flat_leaves = [leaf for group in leaves for leaf in group]
    loss, slopes = loss_and_slopes(objective_of(name, arguments), flat, flat_logprobs)
    assert float(loss) == pytest.approx(float(total.detach()), rel=1e-9)
    expected = torch.autograd.grad(total, flat_leaves, allow_unused=True)
    assert_close(
        slopes,
        [
            [0.0] * len(leaf) if slope is None else slope.tolist()
            for slope, leaf in zip(expected, flat_leaves, strict=True)
        ],
    )


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "gkd"])  # see test_gkd.py
def test_every_objective_may_be_cut_anywhere(name: str) -> None:
    """Where its traits allow: sequence by sequence, or group by group."""
    objective = objective_of(name, REQUIRED.get(name, ()))
    groups, logprobs = groups_of(7)
    flat = [
        (each, values)
        for group, of in zip(groups, logprobs, strict=True)
        for each, values in zip(group, of, strict=True)
    ]
    whole, slopes = loss_and_slopes(objective, *zip(*flat, strict=True))
    pieces = [list(zip(*pair, strict=True)) for pair in zip(groups, logprobs, strict=True)]
    if not objective.traits.couples_group:
        pieces = [[pair] for pair in flat]
    parts = [loss_and_slopes(objective, *zip(*piece, strict=True)) for piece in pieces]
    assert sum(float(loss) for loss, _ in parts) == pytest.approx(float(whole), rel=1e-12)
    assert_close([row for _, rows in parts for row in rows], slopes)


def test_every_objective_has_a_formula_or_a_test_of_its_own() -> None:
    """Those of `test_objectives.py`, `test_likelihood.py`, `test_chord.py` and `test_gkd.py`, and those here."""
    elsewhere = {"bridged-pair", "gkd", "chord", "grao", "sft", "asymre", "opmd", "grpo", "dr-grpo", "dpo"}
    assert {name for name, _, _ in FORMULAS.values()} | elsewhere == set(OBJECTIVES)


def hand(
    name: str, arguments: Sequence[str], logprobs: Sequence[float], **columns: Sequence[Any]
) -> tuple[float, list[float]]:
    """Loss and slopes of one group of samples of one token each."""
    given = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    shared = {"group_size": len(logprobs), "group_tokens": len(logprobs)}
    sequences = [sequence([1], [5], **shared, **values) for values in given]
    loss, slopes = loss_and_slopes(objective_of(name, arguments), sequences, [[value] for value in logprobs])
    return float(loss), [row[0] for row in slopes]


def ratios(*values: float) -> dict[str, list[list[float]]]:
    """Behavior log-probs that give these ratios to log-probs of −1."""
    return {"behavior_logprobs": [[-1 - math.log(value)] for value in values]}


def known(*values: float) -> dict[str, list[list[float]]]:
    return {"behavior_logprobs": [[value] for value in values]}


def test_disco_is_the_hand_worked_one() -> None:
    """ℓ = (−0.2, −0.4 | −0.6, −1): plain 0.3 − 0.8; the tail's slopes are the softmax of the negatives."""
    columns: dict[str, Any] = {"reward": [1, 1, 0, 0], **known(-0.2, -0.4, -0.6, -1.0)}
    logprobs = [-0.2, -0.4, -0.6, -1.0]
    assert hand("disco", ["kind=plain"], logprobs, **columns)[0] == pytest.approx(-0.5)
    assert hand("disco", [], logprobs, **columns)[0] == pytest.approx(-0.498000, abs=1e-6)
    loss, slopes = hand("disco", ["tau=1"], logprobs, **columns)
    assert loss == pytest.approx(-0.480132, abs=1e-6)
    assert slopes == pytest.approx([-0.5, -0.5, 0.598688, 0.401312], abs=1e-6)
    # KL 0.0011 → 1000 · 0.001 · 0.0011 more
    moved: dict[str, Any] = {"reward": [1, 1, 0, 0], **known(*(value + 0.0011 for value in logprobs))}
    assert hand("disco", [], logprobs, **moved)[0] == pytest.approx(-0.498000 + 0.0011, abs=1e-6)
    assert hand("disco", [], [-1, -2], reward=[1, 1], **known(-1, -2))[0] == 0.0


def test_sppo_is_the_hand_worked_one() -> None:
    """(1 − 2.5)² and (−2 + 2.5)², halved; slopes ½ · 2 · error."""
    columns: dict[str, Any] = {"reward": [0.75, 0.25], **known(-2, 1)}
    loss, slopes = hand("sppo", ["eta=10"], [-1, -1], **columns)
    assert loss == pytest.approx(1.25)
    assert slopes == pytest.approx([-1.5, 0.5])
    assert hand("sppo", ["eta=10", "target=score"], [-1, -1], **columns)[0] == pytest.approx((6.5**2 + 4.5**2) / 2)


@pytest.mark.parametrize(
    ("arguments", "values", "expected"),
    [
        ([], (1.1, 0.9), [-0.25, 0.25]),
        (["importance=yes"], (1.1, 0.9), [-0.275, 0.225]),
        ([], (1.3, 0.7), [0, 0]),
        (["mask=ring"], (0.3, 1), [-0.25, 0.25]),
        (["mask=two-side"], (0.3, 1), [0, 0.25]),
        (["mask=none"], (9, 0.01), [-0.25, 0.25]),
        (["k2=0.1"], (1.1, 1), [-0.25 + 0.009531, 0.25]),
    ],
)
def test_rec_is_the_hand_worked_one(arguments: list[str], values: tuple[float, float], expected: list[float]) -> None:
    """R = (1, 0), so Â = ±½."""
    _, slopes = hand("rec", arguments, [-1, -1], advantage=[0.5, -0.5], **ratios(*values))
    assert slopes == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("rewards", "loss", "slope"), [((1.0, 0.1), 0.656350, -0.120315), ((0.5, 0.1), 0.678260, -0.049250)]
)
def test_trpa_is_the_hand_worked_one(rewards: tuple[float, float], loss: float, slope: float) -> None:
    """Levels 1 and 3, or 2 and 3; D = (0.2, −0.1)."""
    arguments = ["levels=[1, 0.5]", "kl=0"]
    found, slopes = hand("trpa", arguments, [-1, -1], reward=rewards, **known(-1.2, -0.9))
    assert found == pytest.approx(loss, abs=1e-6)
    assert slopes[0] == pytest.approx(slope, abs=1e-6)
    one_level = hand("trpa", arguments, [-1, -1], reward=[1, 1], **known(-1.2, -0.9))[0]
    assert one_level == pytest.approx((math.log1p(math.exp(-0.2)) + math.log1p(math.exp(0.1))) / 2)


def test_the_ranked_list_is_the_hand_worked_one() -> None:
    """d = (0.2, 0, −0.1), rel (2, 1, 0): w = (3, 1/log₂ 3, 0)."""
    columns: dict[str, Any] = {"reward": [2, 1, 0], **known(-1.2, -1, -0.9)}
    assert hand("ranked-list", [], [-1] * 3, **columns)[0] == pytest.approx(0.728797, abs=1e-5)
    buckets: dict[str, Any] = {"reward": [0.8, 0.5, 0.1], **known(-1.2, -1, -0.9)}
    assert hand("ranked-list", ["buckets=[0.3, 0.7]"], [-1] * 3, **buckets)[0] == pytest.approx(0.728797, abs=1e-5)


@pytest.mark.parametrize(("p", "weight", "loss"), [(0.75, 0.964286, 0.326918), (0.25, 0.75, 1.111641)])
def test_a_label_of_known_reliability_is_bayes_rule(p: float, weight: float, loss: float) -> None:
    margin = math.log(p / (1 - p))
    arguments = ["pair_beta=1", "label_reliability=0.9"]
    found, slopes = hand("pairwise", arguments, [-1, -1], reward=[1, 0], **known(-1 - margin, -1))
    assert found == pytest.approx(loss, abs=1e-6)
    assert slopes[0] == pytest.approx(p - weight, abs=1e-6)  # −w (1 − p) + (1 − w) p


def test_soft_labels_and_the_gap_of_preferences_are_the_hand_worked_ones() -> None:
    found = hand("pairwise", ["link=soft", "pair_beta=1"], [-1, -1], reward=[0.5, 0], **known(-1.2, -1))[0]
    assert found == pytest.approx(0.673647, abs=1e-6)
    columns: dict[str, Any] = {"reward": [0.8, 0.4], **known(-1.3, -1)}
    found, slopes = hand("pairwise", ["link=preference-gap"], [-1, -1], **columns)
    assert found == pytest.approx(13.69)
    assert slopes[0] == pytest.approx(-7.4)


def test_regression_and_p3o_are_the_hand_worked_ones() -> None:
    """(1 − 0.6)², (−1 − 0.2)²; and e in proportion to Â, which the paper's form cannot tell from no change."""
    columns: dict[str, Any] = {"advantage": [1, -1], **known(-1.3, -1.1)}
    assert hand("regression", ["eta=0.5"], [-1, -1], **columns)[0] == pytest.approx(0.8)
    assert hand("regression", ["normalize=yes"], [-1, -1], **columns)[0] == pytest.approx(0, abs=1e-12)
    loss, slopes = hand("regression", ["normalize=yes"], [-1, -1], advantage=[1, -1], **known(-1, -1))
    assert (loss, slopes) == (1.0, [0.0, 0.0])
    assert hand("p3o", [], [-1, -1], reward=[1, 0.2], **ratios(1.3, 0.9))[0] == pytest.approx(-0.12)


def test_p3o_is_rloo_before_the_first_step() -> None:
    """R = (1, ½, 0): −(1/G)(R_i − mean of the others) = (−0.25, 0, 0.25)."""
    _, slopes = hand("p3o", [], [-1] * 3, reward=[1, 0.5, 0], **known(-1, -1, -1))
    assert slopes == pytest.approx([-0.25, 0, 0.25])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["best-worst"], [(1, 3)]),
        (["all"], [(1, 2), (1, 4), (1, 0), (1, 3), (2, 4), (2, 0), (2, 3), (4, 0), (4, 3), (0, 3)]),
        (["adjacent"], [(2, 4), (4, 0), (0, 3)]),
        (["ranks", "loser=3"], [(1, 4)]),
        (["ranks", "loser=9"], []),
        (["best-worst", "min_gap=6.5"], []),
        (["large-margin"], [(5, 1), (5, 2), (5, 4), (5, 0), (5, 3), (1, 4), (1, 0), (1, 3), (2, 4), (2, 0), (2, 3)]),
        (["large-margin", "floor=5.5"], [(5, 4), (5, 0), (5, 3)]),
        (["reference-worst"], [(5, 3)]),
    ],
)
def test_pairs_are_the_chosen_ones(arguments: list[str], expected: list[tuple[int, int]]) -> None:
    """Rewards (2, 5, 5, −1, 4) and 6 of the reference. Pairs of equal rewards are left out."""
    from grao_pipeline.training.objectives.pairs import PairArguments, choose_pairs

    rewards = [2.0, 5.0, 5.0, -1.0, 4.0]
    samples = [sequence([1], [5], reward=reward, group_size=5) for reward in rewards]
    reference = sequence([1], [5], reward=6.0, is_reference=True, group_size=5)
    flat = torch.zeros(6, 1, dtype=torch.float64)
    inputs = objective_inputs([*samples, reference], torch.ones_like(flat, dtype=torch.bool), flat)
    name, *others = arguments
    given: dict[str, Any] = {"pairs": name, **dict(argument.split("=") for argument in others)}
    chosen = choose_pairs(inputs, PairArguments.model_validate(given))
    found = list(zip(chosen.winners.tolist(), chosen.losers.tolist(), strict=True))
    gaps = {pair: (*rewards, 6.0)[pair[0]] - (*rewards, 6.0)[pair[1]] for pair in expected}
    assert sorted(found) == sorted(pair for pair in expected if gaps[pair] > 0 and _is_far(pair, gaps[pair], name))
    assert sum(chosen.weights.tolist()) == pytest.approx(1 if found else 0)


def _is_far(pair: tuple[int, int], gap: float, name: str) -> bool:
    """DNO: a reference wins by at least 2, a sample by at least 1."""
    return name != "large-margin" or gap >= (2 if pair[0] == 5 else 1)


def test_a_random_loser_is_always_the_same() -> None:
    groups, logprobs = groups_of(3)
    objective = objective_of("pairwise", ["pairs=best-random"])
    losses = {float(loss_and_slopes(objective, groups[3], logprobs[3])[0]) for _ in range(3)}
    assert len(losses) == 1


def test_a_divergence_from_another_model_uses_its_log_probs() -> None:
    """k3 with q = π_θ/π_big = ½: 2 − 1 − ln 2; times the ratio to the policy that sampled, 1."""
    sample = sequence([1], [5], advantage=0.0, behavior_logprobs=[-1.0], logprobs={"big": [-1 + math.log(2)]})
    loss, _ = loss_and_slopes(objective_of("grpo", ["kl=0.5", "kl_against=big"]), [sample], [[-1.0]])
    assert float(loss) == pytest.approx(0.5 * (1 - math.log(2)))


def test_what_is_compared_with_decides_what_is_needed() -> None:
    """A pair loss against another model needs no log-probs of the policy that sampled."""
    without = [sequence([1], [5], reward=1.0, logprobs={"ref": [-1.0]})]
    check_sequences(objective_of("pairwise", ["against=ref"]), without)
    with pytest.raises(InputError, match="a sample without completion_logprobs"):
        check_sequences(objective_of("pairwise"), without)
    assert objective_of("pairwise", ["against=ref"]).other_models == {"ref"}
    assert objective_of("grpo", ["kl_against=start"]).other_models == {"start"}
    assert objective_of("distillation", ["teacher=big"]).other_models == {"big"}
    assert objective_of("grpo").other_models == set()
