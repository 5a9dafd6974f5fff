"""`sweep:` lists alternatives; a variant is one choice of each, and its name that of its directory."""

import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass

from grao_pipeline.options import closest, option_names
from grao_pipeline.parsing import shown
from grao_pipeline.pipeline import stages
from grao_pipeline.rounds.config.yaml_lines import Node

MOST_VARIANTS = 1000
LONGEST_NAME = 200
"""Characters of a variant's name, which is a directory's; file systems allow 255 bytes."""


@dataclass(frozen=True)
class Alternative:
    """One value of one entry of `sweep:`.

    Example: `Alternative(("train", "beta"), Node(0.25, "rounds.yaml:20"), "beta=0.25")`
    """

    path: tuple[str | int, ...]
    """Of the value in the configuration."""
    node: Node
    name: str


def expand(root: Node) -> list[tuple[str, Node]]:
    """The configurations that a sweep stands for, named e.g. `beta=0.25,lambda=0.3`; without a sweep one, unnamed.

    Raises:
        UsageError: an entry is not one that can be swept, or two alternatives have one name.
    """
    if "sweep" not in root.value:
        return [("", root)]
    entries = root.value["sweep"].entries("sweep: expected options with their alternatives")
    shorts = Counter(str(key).rpartition(".")[2] for key in entries)
    columns = []
    for key, node in entries.items():
        path = _path(str(key), node, root)
        if not isinstance(node.value, list) or not node.value:
            raise node.error(f"sweep: {key}: expected a list of alternatives, found {shown(node.plain())}.")
        short = str(key).rpartition(".")[2]
        title = short if shorts[short] == 1 and path[0] != "score" else str(key)
        column = [Alternative(path, item, f"{title}={_label(item.plain())}") for item in node.value]
        for number, alternative in enumerate(column):
            if alternative.name in [other.name for other in column[:number]]:
                message = f"sweep: {key}: two alternatives are named '{alternative.name}'. Remove one."
                raise alternative.node.error(message)
        columns.append(column)
    if not columns:
        raise root.value["sweep"].error("sweep: it is empty; list alternatives, e.g. train.beta: [0.25, 0.5].")
    num_variants = math.prod(map(len, columns))
    if num_variants > MOST_VARIANTS:
        raise root.value["sweep"].error(f"sweep: it stands for {num_variants} variants; at most {MOST_VARIANTS}.")
    variants = []
    for choice in itertools.product(*columns):
        changed = root
        for alternative in choice:
            changed = _replaced(changed, alternative.path, alternative.node)
        name = ",".join(alternative.name for alternative in choice)
        if len(name.encode()) > LONGEST_NAME:
            raise root.value["sweep"].error(
                f"sweep: the name of a variant, '{name[:40]}…', is longer than {LONGEST_NAME} bytes. Sweep fewer "
                "options, or shorter values: variables hold long ones."
            )
        variants.append((name, changed))
    return variants


def _path(key: str, node: Node, root: Node) -> tuple[str | int, ...]:
    section, _, rest = key.partition(".")
    if key == "score":
        return ("score",)
    if section == "score" and rest.endswith(".weight"):
        if "score" in root.value["sweep"].value:
            raise node.error(f"sweep: {key}: sweep whole lists of 'score' or single weights, not both.")
        name = rest.removesuffix(".weight")
        entries = _score_list(root.value.get("score", Node([], node.where))).value
        named = [_reward(entry.plain()) for entry in entries] if isinstance(entries, list) else []
        if name not in named:
            raise node.error(f"sweep: {key}: there is no reward '{name}' in 'score'; there are: {', '.join(named)}.")
        return ("score", named.index(name), "weight")
    models = {stage.name: stage.options_model for stage in stages() if stage.loop is not None and stage.per_round}
    if section not in models or not rest:
        allowed = ", ".join([*(f"{name}.OPTION" for name in models), "score", "score.REWARD.weight"])
        raise node.error(f"sweep: {key} cannot be swept. What can: {allowed}.")
    known = option_names(models[section])
    if rest not in known:
        raise node.error(f"sweep: {key}: there is no option {rest} of {section}.{closest(rest, known)}")
    return (section, rest)


def _score_list(node: Node) -> Node:
    """`score:` as a list: a single reward need not be one."""
    return Node([node], node.where) if isinstance(node.value, dict) else node


def _replaced(node: Node, path: tuple[str | int, ...], new: Node) -> Node:
    if not path:
        return new
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        items = list(_score_list(node).value)
        items[step] = _replaced(items[step], rest, new)
        return Node(items, node.where)
    entries = node.entries("expected options")
    return node.updated({step: _replaced(entries.get(step, Node({}, new.where)), rest, new)})


def _reward(entry: object) -> str:
    """The name of a reward of `score:`."""
    if not isinstance(entry, dict):
        return str(entry)
    return str(entry.get("name") or str(entry.get("reward")).rpartition(":")[2])


def _label(value: object) -> str:
    """A value in a directory's name."""
    if isinstance(value, list):
        return "+".join(map(_label, value)) or "none"
    if isinstance(value, dict) and "reward" in value:
        weight = value.get("weight", 1)
        text = _reward(value) if weight == 1 else f"{_reward(value)}-{weight}"
    elif isinstance(value, dict):
        text = "-".join(str(part) for part in value.values())
    else:
        text = str(value).lower() if isinstance(value, bool) or value is None else str(value)
    return re.sub(r"[^\w.+-]+", "_", text)
