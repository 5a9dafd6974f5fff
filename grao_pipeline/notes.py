"""What a stage's numbers say about the work that follows: a note says what was measured, and what to do.

Every stage's summary ends with `notes`. The thresholds stand here (those of trainings in
`training/notes.py`), and in the table of docs/notes.md.
"""

from collections.abc import Iterator, Mapping

from grao_pipeline.amounts import of, some

MANY_TRUNCATED = 0.2
"""Share of the samples that end at their token limit."""
MANY_UNFINISHED_THOUGHTS = 0.1
"""Share of the samples whose reasoning never ends."""
MANY_EMPTY = 0.1
"""Share of the samples without a text."""
FEW_REFERENCES = 0.5
"""Share of the rows that have a reference answer."""
MANY_UNSCORED = 0.2
"""Share of the samples that should have a reward and have none."""
MANY_WITHOUT_SIGNAL = 0.5
"""Share of the scored groups whose rewards are all equal."""
MANY_TIES = 0.5
"""Share of a judge's comparisons."""
FEW_CONSISTENT = 0.7
"""Share of the comparisons in which both orders of the answers get the same verdict."""
POSITION_BIAS = 0.7
"""Share of a judge's decided verdicts for the same position."""
FEWEST_COMPARISONS = 8
"""Shares of fewer comparisons say nothing."""


def references(present: int, rows: int, kind: str = "") -> Iterator[str]:
    """No or few rows with a reference.

    Args:
        kind: `scored ` where what counts is their reward, `trainable ` where it is their token IDs.
    """
    if rows and present == 0:
        yield (
            f"No row has a {kind}reference answer: GRAO's imitation term and regularizer are off, and RAS is unknown. "
            "Name the column of the answers with --map COLUMN=reference (grao prompts, grao import), or write "
            "references with a teacher model (grao references)."
        )
    elif present < FEW_REFERENCES * rows:
        yield (
            f"Only {of(present, rows, 'rows')} have a {kind}reference answer: the others are trained on their samples "
            "alone, without imitation term and regularizer."
        )


def too_few_samples(k: int, prompts_left_out: int, prompts: int) -> Iterator[str]:
    """Prompts that pass@K cannot count."""
    if prompts_left_out:
        yield (
            f"pass@{k} leaves out {of(prompts_left_out, prompts, 'prompts')} with under {k} scored samples. Sample "
            "more of each prompt."
        )


def truncation(truncated: int, samples: int) -> Iterator[str]:
    """Samples that ended at their token limit."""
    if truncated and truncated >= MANY_TRUNCATED * samples:
        yield (
            f"{of(truncated, samples, 'samples')} were cut at their token limit: rewards judge unfinished texts, and "
            "training on them teaches not to stop. Raise --max-new-tokens, or leave them out with --truncated drop "
            "(grao advantages)."
        )


def steps_left_out(samples: int) -> Iterator[str]:
    """Samples whose steps have no place."""
    yield (
        f"{some(samples, 'sample has its', 'samples have their')} answer in several pieces of the completion, so that "
        "the steps of the reward have no place in it and are left out. Judge whole texts with --score-on all."
    )


def greedy(temperature: float, samples: int) -> Iterator[str]:
    """Samples of a prompt that are all the same."""
    if temperature == 0 and samples > 1:
        yield (
            f"--temperature 0 samples the same text {samples} times for each prompt: its group has no learning signal. "
            "Raise --temperature; to evaluate greedily, --samples 1 is enough."
        )


def thoughts(unfinished: int, samples: int) -> Iterator[str]:
    """Samples whose reasoning never ends."""
    if unfinished and unfinished >= MANY_UNFINISHED_THOUGHTS * samples:
        yield (
            f"{of(unfinished, samples, 'samples')} never end their reasoning, so that they have no answer: the token "
            "budget is too small for the model's thoughts. Raise --max-new-tokens, or switch thinking off in the chat "
            "template (e.g. --template-arg enable_thinking=false)."
        )


def empty(num_empty: int, samples: int) -> Iterator[str]:
    """Samples without a text."""
    if num_empty and num_empty >= MANY_EMPTY * samples:
        yield (
            f"{of(num_empty, samples, 'samples')} are empty: the first sampled token ended them. Check the chat "
            "template, and that --model was trained to answer."
        )


def aborted(count: int, samples: int) -> Iterator[str]:
    """Samples that were never sampled."""
    if count:
        yield (
            f"{of(count, samples, 'samples')} were not sampled, e.g. since their prompts leave no room for an answer. "
            "Use a model with a longer context, or leave these prompts out."
        )


def no_tokens(tokenized: bool) -> Iterator[str]:
    """Groups that cannot be trained on."""
    if not tokenized:
        yield "The groups have no token IDs: they can be scored, not trained on. Import with --tokenizer MODEL."


def untrained_references(count: int, references: int) -> Iterator[str]:
    """References without token IDs: too long for the model, or their reasoning does not fit its chat template."""
    if count:
        yield (
            f"{of(count, references, 'references')} are scored but not trained on: they are longer than the model's "
            "context, or have no reasoning although the model reasons (--reference-reasoning)."
        )


def unscored(count: int, samples: int, example: str = "") -> Iterator[str]:
    """Samples without a reward that should have one."""
    if count and count >= MANY_UNSCORED * samples:
        why = f", e.g.: {example}" if example else ""
        yield (
            f"{of(count, samples, 'samples')} have no reward{why}. They are not trained on, and no mean counts them. "
            "An aborted sample stays without a reward; other errors are judged again by grao score … --retry-errors. "
            "--when or --missing skip name the rows that the reward is not meant for."
        )


def rejected_references(count: int, references: int, first: str) -> Iterator[str]:
    """References that their verifier takes for wrong."""
    if count:
        yield (
            f"{of(count, references, 'references')} do not verify: they contradict the expected answer, or the reward "
            f"cannot read them. Training on references teaches them. The first is of group ID {first}."
        )


def unreadable_answers(count: int, groups: int, first: str) -> Iterator[str]:
    """Expected answers that their verifier cannot read."""
    if count:
        yield (
            f"{of(count, groups, 'groups')} have an expected answer that the reward cannot read, so that none of their "
            f"samples is scored. The details in the scores say why. The first has group ID {first}."
        )


def rewritten(parts: int) -> Iterator[str]:
    """Scores that were changed in place."""
    yield (
        f"{some(parts, 'part was', 'parts were')} rewritten: run again what was made from these scores. grao "
        "advantages notices it by itself; a model or an evaluation needs another OUT."
    )


def not_applicable(rows: int, condition: str | None) -> Iterator[str]:
    """A reward that is meant for no row at all."""
    why = f"no row meets {condition}" if condition else "no row has what it reads"
    yield f"The reward applies to none of the {rows:,} groups: {why}. Look at a row's metadata with grao inspect."


def constant_reward(value: float, samples: int) -> Iterator[str]:
    """A reward that does not distinguish samples."""
    yield (
        f"All {samples:,} scored samples got the same reward, {value:g}: none is better than another, and only "
        "references with another reward teach something. Look at its details with grao inspect: the task may be too "
        "hard or too easy, or the reward may not read these answers."
    )


def constant_rewards(name: str, groups: int) -> Iterator[str]:
    """A reward that is constant in every group, so that nothing can be said of it within groups."""
    yield (
        f"{name} is constant within each of the {groups:,} groups: no sample is better than another of its group, and "
        "nothing can be correlated with it. Look at its details with grao inspect."
    )


def weak_references(mean: float, samples_mean: float, num_references: int, are_worst: bool) -> Iterator[str]:
    """References that score badly.

    Args:
        are_worst: all of them got the lowest reward of the table.
    """
    if are_worst and mean < samples_mean:
        yield (
            f"All {num_references:,} references got the lowest reward of the table, {mean:g}: the reward probably "
            "cannot read them (another answer format?), or they are wrong. Training would push them down. Compare "
            "texts and details with grao inspect, or set --reference-floor 0 (grao advantages)."
        )
    elif mean < samples_mean:
        yield (
            f"The references score worse than the samples ({mean:.3g} against {samples_mean:.3g} on average): most of "
            "them get a negative advantage. If they are meant as good answers, check the reward, or set "
            "--reference-floor 0 (grao advantages)."
        )


def judge(shares: Mapping[str, float], comparisons: int) -> Iterator[str]:
    """Ties and position bias.

    Args:
        shares: `tie`, and where known `consistent` and `first_position`.
    """
    if comparisons < FEWEST_COMPARISONS:
        return
    first = shares.get("first_position")
    if first is not None and not 1 - POSITION_BIAS <= first <= POSITION_BIAS:
        position, share = ("first", first) if first > 0.5 else ("second", 1 - first)
        yield (
            f"The judge prefers the answer that it reads {position} in {share:.0%} of its decided verdicts: a position "
            "bias. Contradicting verdicts cancel, so that little is left to learn from; use a stronger judge."
        )
    consistent = shares.get("consistent")
    if consistent is not None and consistent < FEW_CONSISTENT:
        yield (
            f"The judge's verdicts agree between the two orders of the answers in only {consistent:.0%} of the "
            f"{comparisons:,} comparisons. Use a stronger judge, or a clearer criterion."
        )
    if shares["tie"] > MANY_TIES:
        yield (
            f"{shares['tie']:.0%} of the {comparisons:,} comparisons are ties: rewards hardly distinguish the samples. "
            "Use a stronger judge, a clearer criterion, or another reward."
        )


def signal(without: int, scored: int, trained_groups: int) -> Iterator[str]:
    """Groups whose rewards are all equal.

    Args:
        scored: groups with a reward.
        trained_groups: groups that are trained on.
    """
    if trained_groups == 0:
        yield (
            f"Nothing is left to train on ({of(without, scored, 'scored groups')} have equal rewards): grao train will "
            "refuse it. Sample more or other answers, use a finer reward, or see what the filters masked."
        )
    elif without and without >= MANY_WITHOUT_SIGNAL * scored:
        yield (
            f"{of(without, scored, 'scored groups')} have equal rewards and teach nothing: the prompts are too easy or "
            "too hard for this policy. Sample more per prompt, or choose prompts with grao curriculum."
        )


def unscored_references(count: int, references: int) -> Iterator[str]:
    """References that have no reward."""
    if count:
        yield (
            f"{of(count, references, 'references')} have no reward, so they get no advantage and are not trained on. "
            "Score them: grao score judges the reference like a sample."
        )


def all_ties(ties: float | None) -> Iterator[str]:
    """An evaluation that cannot tell two models apart."""
    if ties is not None and ties > MANY_TIES:
        yield (
            f"{ties:.0%} of the pairs of a tuned and a base sample tie, and a tie is no win: a low NAG win rate does "
            "not mean that the tuned model loses; nag_net says which side wins more often."
        )


def resample(without_signal: int, groups: int, prompts: int, samples: int) -> Iterator[str]:
    """How many groups teach nothing, and what is done about it."""
    if without_signal:
        action = "no prompt is sampled further"
        if prompts:
            new = some(samples, "new sample", "new samples")
            action = some(prompts, f"prompt gets {new}", f"prompts get {new} each")
        yield f"{of(without_signal, groups, 'groups')} have no learning signal: {action}."


def curriculum(mean_variance: float | None, seen: int, chosen_unseen: int, chosen: int) -> Iterator[str]:
    """A history that says little about the prompts.

    Args:
        mean_variance: over the prompts that were seen; None without any.
        chosen_unseen: chosen prompts that were never seen.
    """
    if mean_variance == 0.0:
        yield (
            f"No prompt has a spread of rewards ({seen:,} were seen): the choice is uniform. Sample more of each, or "
            "use a finer reward."
        )
    elif chosen and chosen_unseen == chosen:
        yield "No chosen prompt was seen in an earlier round: the choice is uniform. Check --history."
