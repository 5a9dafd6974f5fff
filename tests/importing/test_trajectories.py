"""Trajectories with tools become groups in which the policy's tokens are marked, and these alone are trained on."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from grao_pipeline.messages import plain_messages
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.data.sequences import micro_batches
from grao_pipeline.training.micro_batch import run_micro_batch
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives import OBJECTIVES
from tests import tiny
from tests.importing.common import read, source
from tests.training import families, oracle
from tests.training.families import twin
from tests.training.masked import by_hand, objective_named, with_teacher
from tests.training.oracle import backward
from tests.training.steps import relative_distance, take_gradient

TEMPLATE = (
    "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ 'user' if m.role == 'tool' else m.role }}\n"
    "{% if m.role == 'tool' %}<tool_response>{{ m.content }}</tool_response>{% else %}{{ m.content }}{% endif %}"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function.name }} {{ call.function.arguments | tojson }}"
    "</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML with tools, as Qwen 2.5 and the Hermes models have it."""
STRIPS = TEMPLATE.replace("{{ m.content }}{% endif %}", "{{ m.content if loop.last else 'gone' }}{% endif %}")
"""Rewrites all turns but the last."""
NO_TOOLS = tiny.CHAT_TEMPLATE
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]


def call(**arguments: int) -> dict[str, Any]:
    """An assistant's turn that calls the tool, as OpenAI's API writes it."""
    function = {"name": "add", "arguments": json.dumps(arguments)}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}


def result(text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "1", "content": text}


def says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


PROMPT = "What is two plus three?"
RIGHT = [call(a=2, b=3), result("5"), says("It is five.")]
WRONG = [call(a=2, b=2), result("4"), call(a=4, b=1), result("five?"), says("It is 42")]
ROW: dict[str, Any] = {
    "prompt": PROMPT,
    "tools": TOOLS,
    "responses": [RIGHT, WRONG, "five"],
    "rewards": [1, 0, 0.5],
    "finish_reasons": ["stop", "length", None],
    "answer": "5",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tools") / "model"
    return tiny.make_model(path, chat_template=TEMPLATE, max_position_embeddings=512)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    root = tmp_path_factory.mktemp("imported")
    summary = tiny.grao_json("import", source(root, [ROW]), root / "out", "--tokenizer", model)
    assert (summary["groups"], summary["samples"], summary["rewards"]) == (1, 3, 3)
    assert summary["finish_reasons"] == {"stop": 2, "length": 1}
    masks = [flag for mask in read(root / "out/groups")[0]["completion_masks"] for flag in mask or ()]
    assert summary["context_tokens"] == masks.count(False) > 0
    return root / "out"


def test_the_mask_marks_the_turns_of_the_assistant_with_their_ends(imported: Path, model: Path) -> None:
    """The whole is what the template renders; the runs of sampled tokens are the assistant's turns."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    [group] = read(imported / "groups")
    assert json.loads(group["tools"]) == TOOLS
    turns: list[dict[str, Any]] = json.loads(json.dumps(RIGHT))
    turns[0]["tool_calls"][0]["function"]["arguments"] = {"a": 2, "b": 3}
    turns[0]["content"] = ""
    messages = plain_messages(group["messages"])
    before = tokenizer.apply_chat_template(messages, tools=TOOLS, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([*messages, *turns], tools=TOOLS, tokenize=False)
    ids, mask = group["completion_token_ids"][0], group["completion_masks"][0]
    assert group["prompt_token_ids"] == tokenizer.encode(before)
    assert f"{before}{tokenizer.decode(ids)}\n" == whole
    assert runs(tokenizer, ids, mask) == [
        '<tool_call>add {"a": 2, "b": 3}</tool_call><|im_end|>',
        "It is five.<|im_end|>",
    ]
    assert runs(tokenizer, ids, [not flag for flag in mask]) == [
        "\n<|im_start|>user\n<tool_response>5</tool_response><|im_end|>\n<|im_start|>assistant\n"
    ]


def test_the_ends_of_imported_tokens_are_those_of_the_text_token_by_token(imported: Path, model: Path) -> None:
    """Each count is the length of the text that the tokens so far decode to; the bytes here are all ASCII."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    [group] = read(imported / "groups")
    for ids, ends, text in zip(
        group["completion_token_ids"], group["completion_token_ends"], group["completions"], strict=True
    ):
        decoded = [tokenizer.decode(ids[: n + 1], skip_special_tokens=True) for n in range(len(ids))]
        assert ends == [len(prefix) for prefix in decoded]
        assert decoded[-1] == text


def runs(tokenizer: Any, ids: list[int], mask: list[bool]) -> list[str]:
    """The texts of the runs of marked tokens."""
    texts: list[list[int]] = []
    for place, (token, flag) in enumerate(zip(ids, mask, strict=True)):
        if flag and (place == 0 or not mask[place - 1]):
            texts.append([])
        if flag:
            texts[-1].append(token)
    return [tokenizer.decode(text) for text in texts]


def test_a_cut_trajectory_has_no_last_end_and_a_text_is_all_sampled(imported: Path, model: Path) -> None:
    [group] = read(imported / "groups")
    cut, text = group["completion_token_ids"][1:]
    assert (cut[-1] != 2, cut.count(2)) == (True, 4)  # two calls and two results end; the last turn does not
    assert (text[-1], group["completion_masks"][2], group["finish_reasons"]) == (2, None, ["stop", "length", "stop"])


def test_the_text_is_the_whole_trajectory_and_the_answer_its_last_turn(imported: Path) -> None:
    [group] = read(imported / "groups")
    assert group["answers"] == ["It is five.", "It is 42", "five"]
    assert group["completions"][0].startswith('<tool_call>add {"a": 2, "b": 3}</tool_call>')
    assert "<tool_response>5</tool_response>" in group["completions"][0]
    assert (group["completions"][2], group["completion_logprobs"], group["retokenized"]) == ("five", None, True)


def test_it_is_known_where_each_token_ends_in_the_text(imported: Path, model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    [group] = read(imported / "groups")
    columns = (group[name] for name in ("completions", "completion_token_ids", "completion_token_ends"))
    for text, ids, ends in zip(*columns, strict=True):
        texts = [tokenizer.decode(ids[:count], skip_special_tokens=True) for count in range(1, len(ids) + 1)]
        assert ends == [len(of_first) for of_first in texts]
        assert texts[-1] == text


TURNS = """
def turns(completions):
    scores = []
    for text in completions:
        first = text.find("</tool_call>") + len("</tool_call>")
        steps = [(first, 0.0, "question"), (len(text), float("is five" in text), text[:first])]
        scores.append((steps[-1][1], steps if "</tool_call>" in text else []))
    return scores
"""


def test_steps_of_trajectories_get_advantages_by_their_states(imported: Path, tmp_path: Path) -> None:
    """GiGPO: the two samples that call a tool begin in one state. Their returns are 0.95 · (1, 0), the mean 0.475."""
    (tmp_path / "own_turns.py").write_text(TURNS)
    score = ["score", imported / "groups", tmp_path / "s", "--reward", f"{tmp_path / 'own_turns.py'}:turns"]
    tiny.grao_json(*score, "--score-on", "all")
    weights = ["--feature", f"s={tmp_path / 's'}", "--token-weights", "gigpo", "--token-weights-arg", "gigpo.scores=s"]
    plain = ["--scores", tmp_path / "s", "--estimator", "dr-grpo", "--statistics", "samples", "--keep-zero-variance"]
    tiny.grao_json("advantages", imported / "groups", tmp_path / "a", *plain, *weights)
    [table], [group] = read(tmp_path / "a"), read(imported / "groups")
    tokens = [
        [weight * advantage for weight in of_sample]
        for of_sample, advantage in zip(table["token_weights"], table["advantages"], strict=True)
    ]
    rewards = [float("is five" in text) for text in group["completions"]]
    episodes = [reward - sum(rewards) / 3 for reward in rewards]
    step = [0.95 * rewards[0] - 0.475 * sum(rewards[:2]), 0.95 * rewards[1] - 0.475 * sum(rewards[:2])]
    assert tokens[0][0] == pytest.approx(episodes[0] + step[0], abs=1e-6)
    assert tokens[1][0] == pytest.approx(episodes[1] + step[1], abs=1e-6)
    assert tokens[0][-1] == pytest.approx(episodes[0], abs=1e-6)  # a state that was seen once
    assert tokens[2] == pytest.approx([episodes[2]] * len(tokens[2]), abs=1e-6)


@pytest.fixture(scope="module")
def with_logprobs(tmp_path_factory: pytest.TempPathFactory, imported: Path, model: Path) -> Path:
    """The same samples as a framework exports token IDs: a row for every sample, with a loss mask and log-probs."""
    root = tmp_path_factory.mktemp("ids")
    [group] = read(imported / "groups")
    rows = []
    for number, ids in enumerate(group["completion_token_ids"]):
        mask = group["completion_masks"][number] or [True] * len(ids)
        rows.append(
            {
                "prompt": PROMPT,
                "tools": TOOLS,
                "prompt_ids": group["prompt_token_ids"],
                "completion_ids": ids,
                "loss_mask": [int(flag) for flag in mask],
                "rollout_log_probs": [-1.5 - place % 4 for place, flag in enumerate(mask) if flag],
                "reward": ROW["rewards"][number],
            }
        )
    summary = tiny.grao_json("import", source(root, rows), root / "out", "--tokenizer", model)
    assert (summary["rows"], summary["groups"], summary["samples"]) == ("samples", 1, 3)
    [again] = read(root / "out/groups")
    for name in ("prompt_token_ids", "completion_token_ids", "completion_masks", "finish_reasons", "completions"):
        assert again[name] == group[name]
    assert (again["retokenized"], again["answers"][:2]) == (False, ["It is five.", "It is 42"])
    advantages = ["advantages", root / "out/groups", root / "advantages", "--scores", root / "out/scores"]
    tiny.grao_json(*advantages)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("tokens_per_batch", [1, 10**6])
@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name not in ("sft", "bridged-pair")])
def test_the_gradient_is_that_of_tool_tokens_masked_by_hand(
    with_logprobs: Path, model: Path, name: str, tokens_per_batch: int
) -> None:
    """In float64, with shared prompts, in one micro-batch and with every sequence in its own."""
    plain = families.compute_norms_in_float64(oracle.load_model(model, "float64"))
    data = TrainingSet(open_table(str(with_logprobs / "out/groups")), open_table(str(with_logprobs / "advantages")))
    [group] = with_teacher([data[index] for index in range(len(data))])
    objective, policy = objective_named(name), Policy(twin(plain), "split")
    for sequences in micro_batches([group], tokens_per_batch, objective.traits.couples_group):
        backward(run_micro_batch(policy, objective, sequences).surrogate)
    backward(objective(by_hand(plain, group.sequences)).loss)
    gradient = take_gradient(policy.model)
    assert max(float(values.abs().max()) for values in gradient) > 0
    assert relative_distance(gradient, take_gradient(plain)) < 1e-9


@pytest.mark.slow
def test_training_and_lengths_count_what_the_policy_sampled(with_logprobs: Path, model: Path, tmp_path: Path) -> None:
    groups, advantages = with_logprobs / "out/groups", with_logprobs / "advantages"
    [group] = read(groups)
    sampled = [sum(mask or [True] * len(ids)) for mask, ids in zip(*masks_and_ids(group), strict=True)]
    assert sampled[1] > sampled[0] > sampled[2]
    filtered = ["advantages", groups, tmp_path / "a", "--scores", with_logprobs / "out/scores"]
    tiny.grao_json(*filtered, "--max-tokens", sampled[0])
    assert [value is None for value in read(tmp_path / "a")[0]["advantages"]] == [False, True, False]
    options = ["--model", model, "--device", "cpu", "--allow-off-policy"]
    plan = tiny.grao_json("train", groups, advantages, tmp_path / "plan", *options, "--dry-run")
    lengths = [len(ids) for ids in group["completion_token_ids"]]
    assert plan["tokens"] == len(group["prompt_token_ids"]) + sum(lengths)
    tiny.grao_json("train", groups, advantages, tmp_path / "model", *options)
    [step] = [json.loads(line) for line in (tmp_path / "model/metrics.jsonl").read_text().splitlines()]
    assert step["origins"][0]["tokens"] == sum(sampled)


def masks_and_ids(group: dict[str, Any]) -> tuple[list[list[bool] | None], list[list[int]]]:
    return group["completion_masks"], group["completion_token_ids"]


def test_a_reward_judges_the_last_turn(imported: Path, tmp_path: Path) -> None:
    """`5` is what the tool said in the first; the answers are `It is five.`, `It is 42` and `five`."""
    tiny.grao_json("score", imported / "groups", tmp_path / "scores", "--reward", "gsm8k")
    assert read(tmp_path / "scores")[0]["rewards"][1] == 0.0


@pytest.mark.parametrize(
    ("template", "row", "reason"),
    [
        (STRIPS, {"responses": [RIGHT]}, "rewrites earlier turns"),
        (NO_TOOLS, {"responses": [RIGHT]}, "does not render a tool call of a turn of the assistant"),
        (TEMPLATE, {"responses": [[result("5"), says("x")]]}, "does not begin with an assistant turn"),
        (
            TEMPLATE,
            {"responses": [[{**says("x"), "reasoning_content": "deep thought"}, result("5"), says("y")]]},
            "does not render the reasoning of a turn of the assistant",
        ),
    ],
)
def test_a_trajectory_that_no_single_sequence_can_be_is_dropped_and_counted(
    tmp_path: Path, template: str, row: dict[str, Any], reason: str
) -> None:
    tiny.make_tokenizer(tmp_path / "tokenizer", template)
    rows = [{"prompt": "q", "responses": ["fine"]}, {"prompt": PROMPT, **row}]
    summary = tiny.grao_json("import", source(tmp_path, rows), tmp_path / "out", "--tokenizer", tmp_path / "tokenizer")
    [dropped] = summary["dropped"]
    assert (summary["groups"], reason in dropped) == (1, True), summary["dropped"]


def test_without_a_tokenizer_a_trajectory_has_a_text_and_an_answer(tmp_path: Path) -> None:
    tiny.grao_json("import", source(tmp_path, [ROW]), tmp_path / "out")
    [group] = read(tmp_path / "out/groups")
    assert group["completions"][0] == 'add({"a": 2, "b": 3})\n\ntool: 5\n\nIt is five.'
    assert (group["answers"][0], group["completion_masks"]) == ("It is five.", None)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt_token_ids": [5, 6], "completion_token_ids": [7, 8, 9], "completion_masks": [1, 0, 1]},
        {"prompt_ids": [5, 6], "response_ids": [7, 8, 9], "response_mask": [True, False, True]},
        {"prompt_tokens": [5, 6], "response_tokens": [7, 8, 9], "response_masks": [1, 0, 1]},
        # Masks of prompt and completion; padding on both sides; whole sequences.
        {"prompt_ids": [5, 6], "completion_ids": [7, 8, 9], "loss_mask": [0, 0, 1, 0, 1]},
        {
            "prompt_ids": [0, 5, 6],
            "response_ids": [7, 8, 9, 0, 0],
            "response_mask": [1, 0, 1, 0, 0],
            "attention_mask": [0, 1, 1, 1, 1, 1, 0, 0],
        },
        {"token_ids": [5, 6, 7, 8, 9], "mask": [0.0, 0.0, 1.0, 0.0, 1.0]},
        {"observation_tokens": [5, 6, 7, 8, 9], "action_ranges": [[2, 3], [4, 5]]},
    ],
)
def test_the_token_ids_of_agent_frameworks_are_read(tmp_path: Path, row: dict[str, Any]) -> None:
    rows = [{"prompt": "q", "response": "a", **row, "reward": 1.0}]
    tiny.grao_json("import", source(tmp_path, rows), tmp_path / "out")
    [group] = read(tmp_path / "out/groups")
    assert (group["prompt_token_ids"], group["completion_token_ids"]) == ([5, 6], [[7, 8, 9]])
    assert (group["completion_masks"], group["retokenized"]) == ([[True, False, True]], False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"loss_mask": [0, 0, 0]}, "no token that the policy sampled"),
        ({"loss_mask": [1, 0]}, "completion_masks and completion_token_ids differ in length"),
        ({"loss_mask": [1, 2, 0]}, "completion_masks is not a list of one value per token"),
        ({"completion_logprobs": [-1.0, None, -2.0]}, "lacks a log-prob of a sampled token"),
        ({"completion_logprobs": [-1.0, 0.5, -2.0]}, "or holds one above 0"),
        ({"completion_logprobs": [-1.0]}, "completion_logprobs and completion_token_ids differ in length"),
        ({"completion_ids": [7, -8, 9]}, "holds a number that is not a token ID"),
    ],
)
def test_token_ids_that_cannot_be_trained_on_are_dropped(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    good = {"prompt": "q", "response": "a", "prompt_ids": [5], "completion_ids": [7, 8, 9], "loss_mask": [1, 1, 1]}
    good |= {"completion_logprobs": [-1.0, -1.0, -1.0]}
    summary = tiny.grao_json("import", source(tmp_path, [good, {**good, **change}]), tmp_path / "out")
    [dropped] = summary["dropped"]
    assert (summary["samples"], reason in dropped) == (1, True), summary["dropped"]
    [group] = read(tmp_path / "out/groups")
    assert (group["completion_masks"], group["completion_logprobs"]) == (None, [[-1.0, -1.0, -1.0]])


def test_the_log_probs_of_tokens_that_were_not_sampled_do_not_matter(tmp_path: Path) -> None:
    row = {"prompt": "q", "response": "a", "prompt_ids": [5], "completion_ids": [7, 8, 9], "loss_mask": [1, 0, 1]}
    rows: list[dict[str, Any]] = [
        {**row, "completion_logprobs": given} for given in ([-1, None, -2], [-1, 7, -2], [-1, -2])
    ]
    tiny.grao_json("import", source(tmp_path, rows), tmp_path / "out")
    assert read(tmp_path / "out/groups")[0]["completion_logprobs"] == [[-1.0, 0.0, -2.0]] * 3


def test_a_whole_conversation_is_divided_before_the_first_answer(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": PROMPT}, *RIGHT]
    rows: list[dict[str, Any]] = [{"messages": turns, "tools": TOOLS, "reward": 1}]
    rows += [{"messages": [*turns[:3], says("No.")], "tools": TOOLS}]
    tiny.grao_json("import", source(tmp_path, rows), tmp_path / "out")
    [group] = read(tmp_path / "out/groups")
    assert plain_messages(group["messages"]) == [{"role": "user", "content": PROMPT}]
    assert group["answers"] == ["It is five.", "No."]


def test_the_example_of_the_guide_is_imported(tmp_path: Path, model: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "trajectories.md").read_text()
    line = page.partition("```json\n")[2].partition("\n```")[0]
    (tmp_path / "rows.jsonl").write_text(line)
    tiny.grao_json("import", tmp_path / "rows.jsonl", tmp_path / "out", "--tokenizer", model)
    [group] = read(tmp_path / "out/groups")
    assert (group["answers"], group["finish_reasons"]) == (["It is 5.", "It might"], ["stop", "length"])
    assert [ids[-1] == 2 for ids in group["completion_token_ids"]] == [True, False]


def test_float64_is_what_the_gradients_are_compared_in(model: Path) -> None:
    assert next(oracle.load_model(model, "float64").parameters()).dtype == torch.float64
