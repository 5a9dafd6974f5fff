"""Rewards that read a model token by token, or compare its outputs, against transformers itself."""

import math
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    Qwen2Config,
    Qwen2ForTokenClassification,
)

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.planning import devices
from grao_pipeline.scoring.rewards.base import Candidate, Judgement
from grao_pipeline.scoring.rewards.preference_model import preference
from tests import tiny
from tests.scoring.common import MESSAGES, made

TEXTS = ("Two and three is five.", "no", "It is 5, I think, or 4.")


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_model(tmp_path_factory.mktemp("language") / "model")


@pytest.fixture(scope="module")
def step_model(tmp_path_factory: pytest.TempPathFactory, language_model: Path) -> Path:
    """A token classifier with random weights."""
    path = tmp_path_factory.mktemp("steps") / "model"
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    torch.manual_seed(3)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=128, id2label={0: "wrong", 1: "right"},
        label2id={"wrong": 0, "right": 1}, initializer_range=0.5,
    )  # fmt: skip
    Qwen2ForTokenClassification(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def prompt_ids(tokenizer: object) -> list[int]:
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)  # type: ignore[attr-defined]
    return list(tokenizer.encode(text, add_special_tokens=False))  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["mean", "geometric"])
def test_the_likelihood_of_the_answer_is_that_of_a_forward_pass(language_model: Path, form: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    network = AutoModelForCausalLM.from_pretrained(language_model, dtype=torch.float32).eval()

    def likelihood(before: str, answer: str) -> float:
        context = [*prompt_ids(tokenizer), *tokenizer.encode(before, add_special_tokens=False)]
        ids = tokenizer.encode(answer, add_special_tokens=False)
        with torch.inference_mode():
            logits = network(torch.tensor([[*context, *ids]])).logits[0].double()
        logprobs = [float(logits[len(context) + i - 1].log_softmax(-1)[token]) for i, token in enumerate(ids)]
        if form == "mean":
            return sum(map(math.exp, logprobs)) / len(logprobs)
        return math.exp(sum(logprobs) / len(logprobs))

    arguments = (f"model={language_model}", f"form={form}", "before= so ", "field=answer")
    candidates = [Candidate(MESSAGES, text, None, {"answer": "it is 5"}) for text in TEXTS]
    plain, against = (
        [judgement.reward for judgement in made("answer-likelihood", *arguments, *more).score(candidates)]
        for more in ((), ("baseline=yes",))
    )
    expected = [likelihood(f"{text} so ", "it is 5") for text in TEXTS]
    assert plain == pytest.approx(expected, rel=1e-5)
    without = likelihood(" so ", "it is 5")
    assert against == pytest.approx([value - without for value in expected], abs=1e-8)


def test_what_has_no_likelihood_has_no_reward(language_model: Path) -> None:
    reward = made("answer-likelihood", f"model={language_model}")
    candidates = [
        Candidate(MESSAGES, "x", None, {}),
        Candidate(MESSAGES, "x " * 2000, "five", {}),
        Candidate(MESSAGES, "x", "", {}),
    ]
    judgements = list(reward.score(candidates))
    assert [judgement.status for judgement in judgements] == ["error", "truncated", "error"]
    assert judgements[0].detail == "no reference whose likelihood could be computed"


def test_every_step_is_judged_as_the_token_classifier_judges_it(step_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(step_model)
    network = AutoModelForTokenClassification.from_pretrained(step_model, dtype=torch.float32).eval()
    text = "first this\n\nthen that\nat last 5"
    ids, places = prompt_ids(tokenizer), []
    for step in ("first this", "then that", "at last 5"):
        ids += tokenizer.encode(step, add_special_tokens=False) + tokenizer.encode("\n", add_special_tokens=False)
        places.append(len(ids) - 1)
    with torch.inference_mode():
        expected = network(torch.tensor([ids])).logits[0].double().softmax(-1)[places]
    candidates = [Candidate(MESSAGES, completion, None, {}) for completion in (text, "one", "  \n ")]
    judgement, single, none = made("process-reward-model", f"model={step_model}").score(candidates)
    assert [step.reward for step in judgement.steps] == pytest.approx(expected[:, 1].tolist(), rel=1e-5)
    assert [step.end for step in judgement.steps] == [11, 22, len(text)]
    assert judgement.reward == pytest.approx(float(expected[:, 1].min()), rel=1e-5)
    assert (len(single.steps), none.status) == (1, "unparsable")
    wrong = ("label=wrong", "aggregate=product")
    (other,) = made("process-reward-model", f"model={step_model}", *wrong).score(candidates[:1])
    assert other.reward == pytest.approx(float(expected[:, 0].prod()), rel=1e-5)


def test_models_of_another_kind_are_refused(step_model: Path, language_model: Path) -> None:
    with pytest.raises(InputError, match="expected a token classifier"):
        made("process-reward-model", f"model={language_model}")
    with pytest.raises(UsageError, match="label=good: the labels are wrong, right"):
        made("process-reward-model", f"model={step_model}", "label=good")
    with pytest.raises(UsageError, match="separator"):
        made("process-reward-model", f"model={step_model}", "separator=")


def test_a_process_of_them_uses_a_gpu(step_model: Path, language_model: Path) -> None:
    """So that a Ray actor, a task of the rounds and each of several processes has one."""
    for name, model in (("answer-likelihood", language_model), ("process-reward-model", step_model)):
        options = ScoreOptions(reward=name, reward_arg=[f"model={model}"])
        assert devices(options) == 1
        assert devices(options.model_copy(update={"device": "cpu"})) == 0


def group_of(texts: tuple[str, ...]) -> list[Candidate]:
    return [Candidate(MESSAGES, text, None, {}, texts[:i] + texts[i + 1 :]) for i, text in enumerate(texts)]


def test_preferences_are_those_of_the_models_blocks(tmp_path: Path) -> None:
    """Against the formula on outputs that transformers computes one by one."""
    model = tiny.make_reward_model(tmp_path / "preferences", names=("a0", "a1", "b0", "b1"))
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32).eval()
    vectors = []
    for text in TEXTS:
        turns = [*MESSAGES, {"role": "assistant", "content": text}]
        ids = tokenizer.encode(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)
        with torch.inference_mode():
            vectors.append(torch.nn.functional.normalize(network(torch.tensor([ids])).logits[0].double(), dim=0))
    skew = torch.tensor([[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1], [0, 0, -1, 0]], dtype=torch.float64)
    scores = torch.tensor([[float(v @ skew @ w) for w in vectors] for v in vectors])
    chances = (scores / 0.5).sigmoid()
    expected = [(float(row.sum()) - 0.5) / 2 for row in chances]
    judgements = list(made("preference-model", f"model={model}", "tau=0.5").score(group_of(TEXTS)))
    assert [judgement.reward for judgement in judgements] == pytest.approx(expected, rel=1e-4)
    assert sum(expected) == pytest.approx(1.5)  # P(i ≻ j) + P(j ≻ i) = 1 over three pairs, each counted by ½


def test_preferences_may_run_in_a_circle() -> None:
    """v = (1, 0), (0, 1), (−1, 0): s rows (0, 1, 0), (−1, 0, 1), (0, −1, 0); at angles of 120° each beats the next."""
    vectors = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    rows = [[math.log(p / (1 - p)) for p in (preference(v, w, 1.0) for w in vectors)] for v in vectors]
    assert rows == [pytest.approx([0, 1, 0]), pytest.approx([-1, 0, 1]), pytest.approx([0, -1, 0])]
    circle = [[math.cos(angle), math.sin(angle)] for angle in (0.0, 2 * math.pi / 3, 4 * math.pi / 3)]
    won = [preference(circle[i], circle[(i + 1) % 3], 0.1) for i in range(3)]
    assert won == pytest.approx([1 / (1 + math.exp(-(3**0.5) / 2 / 0.1))] * 3)


def test_a_sample_without_others_is_neither_better_nor_worse(tmp_path: Path) -> None:
    reward = made("preference-model", f"model={tiny.make_reward_model(tmp_path / 'm', names=('x', 'y'))}")
    assert list(reward.score(group_of(("one",)))) == [Judgement(0.5, "ok", "no other sample to compare with")]


def test_a_model_of_an_odd_number_of_outputs_is_no_model_of_preferences(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 1 outputs; a model of preferences has an even number"):
        made("preference-model", f"model={tiny.make_reward_model(tmp_path / 'odd')}")
