"""What a thinking model is trained on: prompts, samples, references, scores and trained tokens of four cases, side by
side: thinking on or off, references with or without reasoning.

    python -m examples.thinking tests/models/templates/qwen3.jinja enable_thinking=true enable_thinking=false

The model is tiny and random, and its samples are given; template, rewards, advantages and training are real.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from grao_pipeline import (
    AdvantagesOptions,
    Engine,
    GenerateOptions,
    ScoreOptions,
    TrainOptions,
    WeightedScores,
    compute_advantages,
    generate_groups,
    open_table,
    score_groups,
    train_model,
)
from grao_pipeline.generation.engines.base import Request, Sample, SampledGroup, Sampling
from grao_pipeline.generation.policy import load_prompt_tokenizer
from grao_pipeline.models.source import load_tokenizer, locate_model
from grao_pipeline.testing import make_tiny_model, prompt_row, write_table
from grao_pipeline.training.data.groups import TrainingSet

QUESTION = "What is 2 + 2?"
REFERENCES = {"reasoning": "<think>\ntwo and two\n</think>\n\n4", "no reasoning": "4"}
ANSWERS = {"4": "so 4", "5": "so 5"}
"""Answer of a sample → its thought."""
Case = dict[str, str]
"""What is shown of a case → its text."""


class GivenSamples(Engine):
    """Samples what it is given, for every prompt."""

    def __init__(self, samples: Sequence[Sequence[int]]) -> None:
        self._samples = samples

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        for part in parts:
            for request in part:
                samples = [Sample(list(ids), [-1.0] * len(ids), "stop") for ids in self._samples]
                yield [SampledGroup(request.key, samples)]


def two_cases(model: Path, template: str, arguments: list[str], out: Path) -> list[Case]:
    """Sample, score and train: a case for each kind of reference.

    Args:
        template: a Jinja file.
        arguments: of the template, e.g. `enable_thinking=false`.
    """
    rows = [prompt_row(QUESTION, text, answer="4", kind=kind) for kind, text in REFERENCES.items()]
    prompts = write_table(out / "prompts", "prompts", rows)
    options = GenerateOptions(model=str(model), chat_template=template, template_arg=arguments, samples=len(ANSWERS))
    source = locate_model(str(model))
    tokenizer, words = load_prompt_tokenizer(options, source), load_tokenizer(source)
    messages = rows[0]["messages"]
    samples = [tokenizer.continuation(messages, answer, thought).token_ids for answer, thought in ANSWERS.items()]
    groups, scores, advantages = (str(out / name) for name in ("groups", "scores", "advantages"))
    generate_groups(prompts, groups, options, make_engine=lambda _: GivenSamples(samples))
    score_groups(groups, scores, ScoreOptions(reward="gsm8k"))
    compute_advantages(groups, advantages, AdvantagesOptions(scores=[WeightedScores(url=scores)]))
    train_model(groups, advantages, str(out / "model"), TrainOptions(model=str(model), max_steps=1))

    def text(ids: Sequence[int]) -> str:
        return str(words.decode(ids))

    data = TrainingSet(open_table(groups), open_table(advantages))
    trained = {data[index].group_id: data[index].sequences for index in range(len(data))}
    cases = []
    for row, score in zip(*(open_table(url).arrow().to_pylist() for url in (groups, scores)), strict=True):
        of_group = trained.get(row["group_id"], [])
        sequences = [f"{sequence.advantage:+.2f} {text(sequence.token_ids)}" for sequence in of_group]
        cases.append(
            {
                "prompt": text(row["prompt_token_ids"]),
                **{f"sample {n}": text(ids) for n, ids in enumerate(row["completion_token_ids"], 1)},
                "answers": repr(row["answers"] or row["completions"]),
                "reference": row["reference"],
                "rewards": f"{score['rewards']}, reference {score['reference_reward']}",
                **{f"trained {n}": sequence for n, sequence in enumerate(sequences, 1)},
            }
        )
    return cases


@click.command()
@click.argument("template", type=click.Path(exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1, required=True, metavar="NAME=VALUE...")
def main(template: str, arguments: tuple[str, ...]) -> None:
    """Print the cases of a chat TEMPLATE with each of the given arguments."""
    with tempfile.TemporaryDirectory() as directory:
        model = make_tiny_model(Path(directory) / "model")
        for argument in arguments:
            cases = two_cases(model, template, [argument], Path(directory) / argument)
            for kind, case in zip(REFERENCES, cases, strict=True):
                print(f"{argument}, reference with {kind}")
                for name, text in case.items():
                    print(f"  {name:<10} {text!r}")


if __name__ == "__main__":
    main()
