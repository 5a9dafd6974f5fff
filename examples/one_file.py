"""The whole of GRAO (arXiv 2508.07750) in one file of plain torch, from sampling to the update.

    python examples/one_file.py

A small decoder with random weights learns to reverse a list of digits. In every round it samples a group of answers to
each of some prompts, the answers and a reference are scored, the scores become advantages, and the advantages weigh the
log-likelihoods that AdamW raises or lowers. The references are wrong in one place, so imitation alone stops at a mean
reward of 0.83; the model goes beyond it with what it finds in its own samples.

Read it from top to bottom; the parts are named like the library's stages. What the library adds is everything that a
large model needs: tables between the stages, exact resume, fast engines, shared prompts, many machines.
"""

import argparse
import random
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

# --- The task: "3 1 4 1 5 =" is to be answered "5 1 4 1 3" -----------------------------------------------------------

NUM_DIGITS = 5
EQUALS, END = 10, 11  # tokens 0 to 9 are the digits
VOCAB_SIZE = 12
MAX_NEW_TOKENS = NUM_DIGITS + 2  # a model that has not learned to stop is cut off

# --- The settings ----------------------------------------------------------------------------------------------------

NUM_ROUNDS = 25
PROMPTS_PER_ROUND = 64
GROUP_SIZE = 8  # G, samples per prompt
TEMPERATURE = 1.0
GROUPS_PER_STEP = 16
LEARNING_RATE = 2e-3
BETA = 0.5  # β, weight of the imitation term
LAMBDA = 0.6  # λ, weight of the alignment regularizer


@dataclass
class Group:
    """A prompt, what the model answered, and the reference answer. L is the number of tokens of an answer."""

    prompt: list[int]
    reference: list[int]  # [L], END included
    samples: list[list[int]]  # G × [L], END included where it was sampled
    logprobs: list[list[float]]  # G × [L], of each sampled token under the policy that sampled it, in nats
    rewards: list[float] = field(default_factory=list)  # [G]
    reference_reward: float = 0.0
    advantages: list[float] = field(default_factory=list)  # [G]
    reference_advantage: float = 0.0


# --- Prompts ---------------------------------------------------------------------------------------------------------


def make_prompt(rng: random.Random) -> list[int]:
    """Random digits and the equals sign."""
    return [*rng.choices(range(10), k=NUM_DIGITS), EQUALS]


def make_reference(prompt: list[int], rng: random.Random) -> list[int]:
    """The digits in reverse order, one of them replaced by a wrong one."""
    answer = prompt[-2::-1]
    place = rng.randrange(NUM_DIGITS)
    answer[place] = (answer[place] + rng.randrange(1, 10)) % 10
    return [*answer, END]


# --- The model -------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Causal self-attention, then a feed-forward layer; both add to what they read."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm, self.feed_forward_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        heads = self.query_key_value(self.attention_norm(x)).view(B, T, 3, self.num_heads, D // self.num_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (B, heads, T, D / heads) each
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(mixed.transpose(1, 2).reshape(B, T, D))
        states: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return states


class Decoder(nn.Module):
    """A language model of 0.1 million parameters."""

    def __init__(self, width: int = 64, num_layers: int = 2, num_heads: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCAB_SIZE, width)
        self.positions = nn.Embedding(NUM_DIGITS + 1 + MAX_NEW_TOKENS, width)
        self.blocks = nn.Sequential(*(Block(width, num_heads) for _ in range(num_layers)))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, VOCAB_SIZE, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))  # (B, T, D)
        logits: Tensor = self.head(self.norm(self.blocks(x)))  # (B, T, V): what follows each token
        return logits


# --- Stage 1, `grao generate`: sample a group per prompt --------------------------------------------------------------


@torch.no_grad()
def generate(model: nn.Module, prompts: list[list[int]], references: list[list[int]]) -> list[Group]:
    """Sample GROUP_SIZE answers to every prompt, with the log-probs of their tokens at temperature 1."""
    ids = torch.tensor(prompts).repeat_interleave(GROUP_SIZE, dim=0)  # (P·G, N)
    sampled_logprobs = []
    for _ in range(MAX_NEW_TOKENS):
        logits = model(ids)[:, -1]  # (P·G, V)
        token = torch.multinomial((logits / TEMPERATURE).softmax(dim=-1), 1)  # (P·G, 1)
        sampled_logprobs.append(logits.log_softmax(dim=-1).gather(-1, token))
        ids = torch.cat([ids, token], dim=1)
    answers = ids[:, -MAX_NEW_TOKENS:].tolist()
    lengths = [answer.index(END) + 1 if END in answer else MAX_NEW_TOKENS for answer in answers]
    samples = [answer[:length] for answer, length in zip(answers, lengths, strict=True)]
    all_logprobs = torch.cat(sampled_logprobs, dim=1).tolist()  # (P·G, L)
    logprobs = [values[:length] for values, length in zip(all_logprobs, lengths, strict=True)]
    starts = range(0, len(samples), GROUP_SIZE)
    return [
        Group(prompt, reference, samples[start : start + GROUP_SIZE], logprobs[start : start + GROUP_SIZE])
        for prompt, reference, start in zip(prompts, references, starts, strict=True)
    ]


# --- Stage 2, `grao score`: one reward per sample, and one for the reference ------------------------------------------


def reward(prompt: list[int], answer: list[int]) -> float:
    """The share of places that are right; a token too many or too few counts as a wrong place."""
    right = [*prompt[-2::-1], END]
    num_right = sum(given == wanted for given, wanted in zip(answer, right, strict=False))
    return num_right / max(len(answer), len(right))


def score(group: Group) -> None:
    group.rewards = [reward(group.prompt, sample) for sample in group.samples]
    group.reference_reward = reward(group.prompt, group.reference)


# --- Stage 3, `grao advantages`: how much better than its group is a sequence? ----------------------------------------


def compute_advantages(group: Group) -> None:
    """Â = (R − μ) / σ over the samples and the reference, σ that of the population (Eq. 4).

    Equal rewards teach nothing: their advantages are exactly 0, whatever rounding does to the mean.
    """
    rewards = torch.tensor([*group.rewards, group.reference_reward], dtype=torch.float64)  # (G + 1)
    if bool((rewards == rewards[0]).all()):
        advantages = torch.zeros_like(rewards)
    else:
        advantages = (rewards - rewards.mean()) / rewards.std(correction=0)
    *group.advantages, group.reference_advantage = advantages.tolist()


# --- Stage 4, `grao train`: raise what was better, lower what was worse -----------------------------------------------


def mean_logprobs(model: nn.Module, prompts: list[list[int]], answers: list[list[int]]) -> Tensor:
    """ℓ: the mean log-prob per token of S answers to their prompts. (S)"""
    sequences = [torch.tensor(prompt + answer) for prompt, answer in zip(prompts, answers, strict=True)]
    ids = nn.utils.rnn.pad_sequence(sequences, batch_first=True)  # (S, T); causal attention never sees the padding
    logits: Tensor = model(ids[:, :-1])  # (S, T - 1, V)
    logprobs = logits.log_softmax(dim=-1).gather(-1, ids[:, 1:, None])[..., 0]  # (S, T - 1): of all but the first
    place = torch.arange(1, ids.shape[1])  # (T - 1)
    starts = torch.tensor([len(prompt) for prompt in prompts])[:, None]  # (S, 1)
    lengths = torch.tensor([len(answer) for answer in answers])[:, None]  # (S, 1)
    is_answer = (place >= starts) & (place < starts + lengths)  # (S, T - 1)
    return (logprobs * is_answer).sum(dim=1) / lengths[:, 0]


def sequence_weights(group: Group, beta: float, lambda_: float) -> list[float]:
    """The weight of every sample's ℓ in J, then that of the reference's. [G + 1]

        J = (1/G) Σ_i [ Â_i ℓ(o_i)  +  β Â_y ℓ(y)  +  λ Â_i ( ℓ(o_i) − ℓ(y) ) ]
              exploration            imitation        alignment regularizer

    No advantage depends on the model, so J is a weighted sum of log-likelihoods. Collect what multiplies each of them:

        w_i = (1 + λ) Â_i / G        w_y = β Â_y − λ (1/G) Σ_i Â_i
    """
    num_samples = len(group.samples)
    weights = [(1 + lambda_) * advantage / num_samples for advantage in group.advantages]
    return [*weights, beta * group.reference_advantage - lambda_ * sum(group.advantages) / num_samples]


def grao_loss(model: nn.Module, groups: list[Group], beta: float = BETA, lambda_: float = LAMBDA) -> Tensor:
    """−J, the mean over the groups."""
    prompts = [group.prompt for group in groups for _ in range(len(group.samples) + 1)]
    answers = [answer for group in groups for answer in [*group.samples, group.reference]]
    weights = [weight for group in groups for weight in sequence_weights(group, beta, lambda_)]
    likelihoods = mean_logprobs(model, prompts, answers)  # (S)
    return -(torch.tensor(weights, dtype=likelihoods.dtype) * likelihoods).sum() / len(groups)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, groups: list[Group]) -> None:
    """One pass over the groups that teach something."""
    groups = [group for group in groups if any([*group.advantages, group.reference_advantage])]
    for start in range(0, len(groups), GROUPS_PER_STEP):
        loss = grao_loss(model, groups[start : start + GROUPS_PER_STEP])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


# --- The loop, `grao rounds` ------------------------------------------------------------------------------------------


def run(num_rounds: int = NUM_ROUNDS, seed: int = 0) -> list[float]:
    """Run the rounds and print each; the mean reward of the samples of every round."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = Decoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    started, mean_rewards = time.perf_counter(), []
    for number in range(num_rounds):
        prompts = [make_prompt(rng) for _ in range(PROMPTS_PER_ROUND)]
        groups = generate(model, prompts, [make_reference(prompt, rng) for prompt in prompts])
        for group in groups:
            score(group)
            compute_advantages(group)
        train(model, optimizer, groups)
        rewards = [value for group in groups for value in group.rewards]
        surprise = [-value for group in groups for logprobs in group.logprobs for value in logprobs]
        mean_rewards.append(sum(rewards) / len(rewards))
        print(
            f"round {number:2}  mean reward {mean_rewards[-1]:.3f}  of the references "
            f"{sum(group.reference_reward for group in groups) / len(groups):.3f}  "
            f"entropy {sum(surprise) / len(surprise):.2f} nats/token  {time.perf_counter() - started:.0f} s"
        )
    return mean_rewards


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    run()
