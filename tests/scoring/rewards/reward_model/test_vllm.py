"""Reward models in real vLLM: the same tokens, the same scores, and failures in words."""

import json
import os
import re
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from grao_pipeline.cli.main import main
from grao_pipeline.errors import InputError, StageFailure, UsageError
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, Reward
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.commands import forked
from tests.models.engine_processes import fork_engines, kill_engines
from tests.scoring.rewards.reward_model.test_encoders import make_encoder

pytestmark = pytest.mark.vllm

OUTPUTS = ("helpfulness", "verbosity")
WEIGHTS = "output=helpfulness,verbosity:-0.5"
SMALL = ["vllm.kv_cache_memory_bytes=16777216", "vllm.max_num_seqs=16"]
TOLERANCE = 2e-5
"""In float32 on CPU; 4e-6 was measured."""
CANDIDATES = [
    Candidate([{"role": "user", "content": "Say " + "hello " * (group * 7)}], "7 " * length, None, {})
    for group in range(5)
    for length in (0, 1, 3, 30, 11, 2, 50, 5, 8)
]


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its padding token is EOS, and its conversations end in it: its head reads the token before."""
    path = tiny.make_reward_model(tmp_path_factory.mktemp("reward") / "model", names=OUTPUTS)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "pad_token_id": 2}))
    (path / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}")
    return path


def make(model: Path, *arguments: str) -> Reward:
    given = [f"model={model}", "engine=vllm", *arguments]
    return make_reward(ScoreOptions(reward="reward-model", reward_arg=given, device="cpu"))


@pytest.fixture(scope="module")
def reward(reward_model: Path) -> Reward:
    """One engine for all; it is loaded when it is first asked."""
    return make(reward_model, WEIGHTS, *SMALL)


@torch.inference_mode()
def logits(model: Path, candidates: list[Candidate]) -> list[list[float]]:
    """The model as transformers loads it, given one conversation at a time; [candidates, outputs]."""
    network = AutoModelForSequenceClassification.from_pretrained(str(model), dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    values: list[list[float]] = []
    for candidate in candidates:
        messages = [*candidate.messages, {"role": "assistant", "content": candidate.completion}]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        values.append(network(tokenizer(text, return_tensors="pt")["input_ids"]).logits[0].tolist())
    return values


def test_the_scores_are_those_of_transformers(reward: Reward, reward_model: Path) -> None:
    expected = logits(reward_model, CANDIDATES)
    judgements = list(reward.score(CANDIDATES))
    assert [judgement.reward for judgement in judgements] == pytest.approx(
        [h - 0.5 * v for h, v in expected], abs=TOLERANCE
    )
    for judgement, values in zip(judgements, expected, strict=True):
        assert list(json.loads(str(judgement.detail)).values()) == pytest.approx(values, abs=TOLERANCE)


def test_repeated_and_reordered_calls_give_the_same_scores(reward: Reward) -> None:
    """The engine's prefix cache does not change the scores."""
    first = [judgement.reward for judgement in reward.score(CANDIDATES)]
    second = [judgement.reward for judgement in reward.score(CANDIDATES[::-1])]
    assert second[::-1] == pytest.approx(first, abs=TOLERANCE)


def test_an_interrupted_call_does_not_disturb_the_next(reward: Reward, reward_model: Path) -> None:
    assert len(list(islice(reward.score(CANDIDATES), 2))) == 2
    values = [judgement.reward for judgement in reward.score(CANDIDATES[20:30])]
    expected = [h - 0.5 * v for h, v in logits(reward_model, CANDIDATES[20:30])]
    assert values == pytest.approx(expected, abs=TOLERANCE)


def test_a_sequence_that_is_too_long_is_not_cut(reward: Reward) -> None:
    """A digit is a token; `q` and the two EOS after it and after the digits are the other three."""
    messages = [{"role": "user", "content": "q"}]
    judgements = list(reward.score([Candidate(messages, "7" * length, None, {}) for length in (253, 254, 1)]))
    assert [judgement.status for judgement in judgements] == ["ok", "truncated", "ok"]
    assert judgements[1].detail == "257 tokens; the reward model reads 256"


def test_no_candidates_give_no_judgements(reward: Reward) -> None:
    assert list(reward.score([])) == []


def test_a_lower_limit_on_the_length_and_an_encoder_reach_vllm(tmp_path: Path) -> None:
    """BERT reads both ways and its head the first token. Its special tokens, the template's words and the prompt leave
    some room below 40 tokens: the same in both engines.
    """
    path = make_encoder(tmp_path / "model", "Bert")
    both = []
    for engine in ("transformers", "vllm"):
        arguments = [f"model={path}", "max_length=40", f"engine={engine}", *(SMALL if engine == "vllm" else [])]
        options = ScoreOptions(reward="reward-model", reward_arg=arguments, device="cpu")
        both.append(list(make_reward(options).score(CANDIDATES)))
    assert [judgement.status for judgement in both[0]] == [judgement.status for judgement in both[1]]
    assert {judgement.status for judgement in both[1]} == {"ok", "truncated"}
    rewards, expected = ([j.reward for j in judgements if j.status == "ok"] for judgements in both)
    assert rewards == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("vllm.max_num_sequences=3", "max_num_sequences"),
        ("vllm.max_num_seqs=0", "max_num_seqs: Input should be greater than or equal to 1"),
        ("vllm.dtype=float16", "'vllm.dtype' cannot be set here. Use dtype=…"),
        ("vllm.max_model_len=10", "'vllm.max_model_len' cannot be set here. Use max_length=…"),
        ("vllm.runner=generate", "'vllm.runner' cannot be set here."),
    ],
)
def test_a_wrong_argument_of_vllm_is_named(argument: str, message: str, reward_model: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        list(make(reward_model, "output=verbosity", argument).score(CANDIDATES))


def test_weights_that_cannot_be_loaded_are_an_input_error(reward_model: Path, tmp_path: Path) -> None:
    for file in reward_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: 5000 if file.suffix == ".safetensors" else None])
    with pytest.raises(InputError, match=f"{tmp_path}/model.safetensors is damaged .*incomplete"):
        list(make(tmp_path, "output=verbosity").score(CANDIDATES))


def kill_the_engine(reward_model: Path, said: Path) -> None:
    """Score, and kill the engine's process meanwhile; say the error into a file."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
    fork_engines()
    stream = make(reward_model, "output=verbosity", *SMALL).score(CANDIDATES * 200)
    next(iter(stream))
    kill_engines()
    try:
        list(stream)
    except StageFailure as error:
        said.write_text(str(error))


def test_an_engine_process_that_is_killed_fails_the_stage(reward_model: Path, tmp_path: Path) -> None:
    """vLLM's client would wait for it forever."""
    process = forked(kill_the_engine, reward_model, tmp_path / "said")
    process.join(300)
    assert process.exitcode == 0
    said = (tmp_path / "said").read_text()
    assert "The reward model's vLLM engine died" in said
    assert "vllm.gpu_memory_utilization=… or vllm.max_num_seqs=… lowered" in said


def score_and_sample(reward_model: Path, command: list[str]) -> None:
    """A reward model in vLLM, then an engine, both in this process."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    reward = make(reward_model, "output=helpfulness", "vllm.kv_cache_memory_bytes=16777216")
    assert len(list(reward.score(CANDIDATES))) == len(CANDIDATES)
    reward.close()
    main(command)


@pytest.mark.slow
def test_a_reward_model_and_then_an_engine_run_in_one_process(
    reward_model: Path, model: Path, prompts: str, tmp_path: Path
) -> None:
    """vLLM's worker class, which the first one extends, is there for the second. Which is first is the question."""
    command = ["generate", prompts, tmp_path / "out", "--model", model, "--samples", 2, "--max-new-tokens", 2]
    command += ["--engine", "vllm", "--engine-arg", "kv_cache_memory_bytes=16777216"]
    process = forked(score_and_sample, reward_model, list(map(str, command)))
    process.join(300)
    assert process.exitcode == 0
    assert open_table(str(tmp_path / "out"), "groups").num_rows == 10
