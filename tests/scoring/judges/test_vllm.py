"""A real model in real vLLM as the judge: its reply is always a valid answer."""

import json
import os
from pathlib import Path

import pytest

from grao_pipeline.errors import InputError, StageFailure, UsageError
from grao_pipeline.scoring.judges.answer_format import answer_schema
from grao_pipeline.scoring.judges.base import Question
from grao_pipeline.scoring.judges.vllm import VllmChatModel
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, Reward
from tests.commands import forked
from tests.models.engine_processes import fork_engines, kill_engines
from tests.scoring.judges.common import QUESTION, candidates, statuses
from tests.scoring.judges.conftest import POSITIONS, SMALL, open_vllm

pytestmark = pytest.mark.vllm

SHARED = "engine=tests.scoring.judges.conftest:SharedVllm"
VERDICTS = answer_schema({"verdict": ["A", "B", "tie"]})
COMPLETIONS = ["Paris.", "It is Paris, of course.", "Lyon?", "", "I do not know, sorry.", "<|im_end|> A! A! A!"]


def shared(reward: str, *arguments: str) -> Reward:
    return make_reward(ScoreOptions(reward=reward, reward_arg=[SHARED, *arguments]))


def question(text: str) -> Question:
    return Question([{"role": "user", "content": text}], VERDICTS)


def test_replies_are_always_among_the_choices(vllm_judge: VllmChatModel) -> None:
    questions = [question(f"{text} {number}") for number in range(6) for text in ("Which?", "Say yes!", "{[", "")]
    replies = dict(vllm_judge.ask(iter(questions)))
    assert sorted(replies) == list(range(24))
    verdicts = [json.loads(reply.text) for reply in replies.values()]
    assert all(verdict in ({"verdict": "A"}, {"verdict": "B"}, {"verdict": "tie"}) for verdict in verdicts)
    assert len({verdict["verdict"] for verdict in verdicts}) > 1  # the model does tell questions apart


def test_a_reply_does_not_depend_on_what_is_asked_with_it(vllm_judge: VllmChatModel) -> None:
    questions = [question("plum " * number) for number in range(20)]
    together = {number: reply.text for number, reply in vllm_judge.ask(questions)}
    for number in (0, 7, 19):
        [(_, reply)] = vllm_judge.ask([questions[number]])
        assert reply.text == together[number]


def test_tokens_are_those_of_prompt_and_reply(vllm_judge: VllmChatModel) -> None:
    [(_, reply)] = vllm_judge.ask([question("Which?")])
    assert reply.prompt_tokens == len(vllm_judge.encode(question("Which?")))
    assert 0 < reply.completion_tokens <= 64


def test_pairwise_rewards_are_those_of_wins_ties_and_losses(vllm_judge: VllmChatModel) -> None:
    judgements = list(shared("judge-pairwise").score(candidates(COMPLETIONS)))
    assert statuses(judgements) == ["ok"] * 6
    assert {judgement.reward for judgement in judgements} <= {-1.0, -0.5, 0.0, 0.5, 1.0}
    assert all(judgement.tokens > 1000 for judgement in judgements)


def test_rubric_scores_are_whole_numbers_from_1_to_10(vllm_judge: VllmChatModel) -> None:
    arguments = ["criterion.correct=Every statement is true.", "criterion.kind=It is kind and polite."]
    for judgement in shared("judge-rubric", *arguments).score(candidates(COMPLETIONS)):
        scores = json.loads(str(judgement.detail))
        assert list(scores) == ["correct", "kind"]
        assert all(type(score) is int and 1 <= score <= 10 for score in scores.values())
        assert judgement.reward == sum(scores.values()) / 2


def test_win_rates_of_a_group_against_itself_average_to_one_half(vllm_judge: VllmChatModel) -> None:
    """Every pair is asked about from both sides, so what one wins the other loses, whatever the judge says."""
    judgements = list(shared("judge-win-rate", "opponents=all").score(candidates(COMPLETIONS)))
    assert sum(judgement.reward or 0 for judgement in judgements) == pytest.approx(len(COMPLETIONS) / 2)


def test_a_truncated_reply_is_not_a_verdict(vllm_judge: VllmChatModel) -> None:
    """A random model's explanation does not end within 64 tokens."""
    judgements = list(shared("judge-pairwise", "explain=true").score(candidates(["Paris.", "Lyon?"])))
    assert [(judgement.reward, judgement.status) for judgement in judgements] == [(None, "truncated")] * 2
    assert 'cut off at 64 tokens (--reward-arg max_tokens): {"explanation":' in str(judgements[0].detail)


def test_a_question_that_is_too_long_is_an_error_of_its_row(vllm_judge: VllmChatModel) -> None:
    room = POSITIONS - 64 - len(vllm_judge.encode(question("")))
    replies = [reply for _, reply in sorted(vllm_judge.ask([question("7" * length) for length in (room + 1, room, 1)]))]
    assert [reply.status for reply in replies] == ["error", "ok", "ok"]
    assert replies[0].text == (
        f"the question is {POSITIONS - 63} tokens long; the judge reads {POSITIONS} and needs 64 of them to answer"
    )
    [judgement] = shared("judge-pairwise").score([Candidate(QUESTION, "7" * POSITIONS, "7", {})])
    assert (judgement.reward, judgement.status) == (None, "error")


def test_the_engine_survives_interrupted_questions(vllm_judge: VllmChatModel) -> None:
    asked = vllm_judge.ask([question(f"Which, {number}?") for number in range(40)])
    next(asked)
    asked.close()
    assert [number for number, _ in vllm_judge.ask([question("Which?")])] == [0]


def test_no_model_is_loaded_where_no_question_is_asked(judge_model: Path) -> None:
    reward = make_reward(ScoreOptions(reward="judge-pairwise", reward_arg=[f"model={judge_model}", "vllm.no_such=1"]))
    [tie] = reward.score([Candidate(QUESTION, "Paris.", "Paris.", {})])
    assert (tie.reward, tie.tokens) == (0.0, 0)
    with pytest.raises(UsageError, match=r"vLLM refuses an argument: .*no_such"):
        list(reward.score([Candidate(QUESTION, "Paris.", "Lyon.", {})]))


def test_identity_changes_with_the_replies_and_not_with_the_hardware(judge_model: Path, model: Path) -> None:
    def identity(*arguments: str) -> object:
        return make_reward(ScoreOptions(reward="judge-rubric", reward_arg=[*arguments])).identity()

    same = identity(f"model={judge_model}")
    assert identity(f"model={judge_model}", "vllm.tensor_parallel_size=2", "vllm.max_num_seqs=3") == same
    others = ["vllm.quantization=fp8", "template.enable_thinking=false", "dtype=bfloat16", "max_model_len=4000"]
    others += ["criterion=harmless", "explain=true", "system_role=false", "max_tokens=9"]
    assert all(identity(f"model={judge_model}", argument) != same for argument in others)
    assert identity(f"model={model}") != same


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("vllm.model=elsewhere", "'vllm.model' cannot be set here. Use model=…"),
        ("template.tokenize=true", "'template.tokenize' cannot be set here. The reward sets it"),
        ("dtype=int4", "dtype=int4: input should be 'auto', 'float32'"),
        (f"max_model_len={POSITIONS + 1}", f"the model's positions end at {POSITIONS}"),
        ("max_model_len=many", "max_model_len=many: input should be a valid integer"),
        ("max_tokens=0", "max_tokens=0: input should be greater than 0"),
        ("vllm=3", "vllm=3: input should be a valid dictionary"),
        ("base_url=http://localhost:1/v1", "reward 'judge-pairwise' has no argument 'model'"),
    ],
)
def test_wrong_arguments_are_named(judge_model: Path, argument: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_reward(ScoreOptions(reward="judge-pairwise", reward_arg=[f"model={judge_model}", argument]))


def test_a_template_without_system_role_gets_advice_that_helps(judge_model: Path, tmp_path: Path) -> None:
    for file in judge_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    (tmp_path / "chat_template.jinja").write_text(refusal + "{% for m in messages %}{{ m['content'] }}{% endfor %}")
    model = open_vllm(tmp_path)
    with pytest.raises(InputError, match=r"no system role \(if its template has no system role, .*system_role=false"):
        model.encode(Question([{"role": "system", "content": "s"}, *QUESTION], VERDICTS))
    assert model.encode(Question(QUESTION, VERDICTS))


def test_template_variables_reach_the_template(judge_model: Path, tmp_path: Path) -> None:
    for file in judge_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    template = "{% if enable_thinking is defined and enable_thinking is false %}no{% else %}yes{% endif %}"
    (tmp_path / "chat_template.jinja").write_text(template)
    thinking = open_vllm(tmp_path).encode(Question(QUESTION, VERDICTS))
    silent = open_vllm(tmp_path, **{"template.enable_thinking": "false"}).encode(Question(QUESTION, VERDICTS))
    assert thinking != silent


def kill_the_engine(judge_model: Path, said: Path) -> None:
    """Ask, and kill the engine's process meanwhile; say the error into a file."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
    fork_engines()
    asked = open_vllm(judge_model, **SMALL).ask(question(f"Which, {number}?") for number in range(100_000))
    try:
        for number, _ in asked:
            if number == 20:
                kill_engines()
    except StageFailure as error:
        said.write_text(str(error))


def test_a_killed_engine_process_fails_the_stage_at_once(judge_model: Path, tmp_path: Path) -> None:
    """vLLM itself would wait forever."""
    process = forked(kill_the_engine, judge_model, tmp_path / "said")
    process.join(300)
    assert process.exitcode == 0
    assert (tmp_path / "said").read_text().startswith("The judge's vLLM engine died (out of memory, or killed).")
