"""YAML as a tree in which every value knows its line, so that whatever is wrong with it can be said where it stands."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from grao_pipeline.errors import InputError, UsageError

MERGE_TAG = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class Node:
    """A value and where it stands.

    Example: `Node({"beta": Node(0.5, "rounds.yaml:9")}, "rounds.yaml:8")`
    """

    value: Any
    """A scalar, a list of nodes, or a dictionary of nodes."""
    where: str
    """FILE:LINE; of a dictionary's entry, the line of its key."""

    def plain(self) -> Any:
        """The value without the lines."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return [node.plain() for node in self.value] if isinstance(self.value, list) else self.value

    def error(self, message: str) -> UsageError:
        """An error to raise about this value."""
        return UsageError(f"{self.where}: {message}")

    def find(self, path: Iterable[Any]) -> "Node":
        """The node at the end of a path of keys and indices, or as far along it as there are nodes."""
        node = self
        for step in path:
            if not isinstance(node.value, dict | list):
                break
            try:
                node = node.value[step]
            except (KeyError, IndexError, TypeError):
                break
        return node

    def entries(self, expected: str) -> dict[Any, "Node"]:
        """The dictionary that this must be; an empty value is an empty one.

        Args:
            expected: what the error says, e.g. `train: expected options`.

        Raises:
            UsageError: it is something else.
        """
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.error(f"{expected}, found {self.plain()!r}.")
        return self.value

    def without(self, key: str) -> "Node":
        """This dictionary without an entry."""
        return Node({name: node for name, node in (self.value or {}).items() if name != key}, self.where)

    def updated(self, changes: dict[Any, "Node"]) -> "Node":
        """This dictionary with entries replaced or added."""
        return Node({**(self.value or {}), **changes}, self.where)


def read_yaml(path: str) -> Node:
    """Read a YAML file.

    Raises:
        InputError: it cannot be read or is not YAML.
        UsageError: a key is given twice.
    """
    try:
        loader = yaml.SafeLoader(Path(path).read_text())
        root = loader.get_single_node()
        return Node(None, path) if root is None else _node(loader, root, path, _line(path, root), ())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else path
        raise InputError(f"{where}: the file is not YAML: {error.problem or error.context}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}") from error


def _node(loader: yaml.SafeLoader, node: yaml.Node, path: str, where: str, around: tuple[yaml.Node, ...]) -> Node:
    if any(node is other for other in around):
        raise UsageError(f"{where}: recursive alias.")
    around = (*around, node)
    if isinstance(node, yaml.SequenceNode):
        return Node([_node(loader, item, path, _line(path, item), around) for item in node.value], where)
    if not isinstance(node, yaml.MappingNode):
        return Node(loader.construct_object(node), where)
    keys = [key for key, _ in node.value if key.tag != MERGE_TAG]
    first: dict[Hashable, str] = {}
    for key in keys:
        name, line = _key(loader, key, path), _line(path, key)
        if name in first:
            raise UsageError(f"{line}: {name} is given a second time; the first is at {first[name]}. Remove one.")
        first[name] = line
    loader.flatten_mapping(node)  # `<<: *other`
    entries = {
        _key(loader, key, path): _node(loader, value, path, _line(path, key), around) for key, value in node.value
    }
    return Node(entries, where)


def _key(loader: yaml.SafeLoader, key: yaml.Node, path: str) -> Hashable:
    if not isinstance(key, yaml.ScalarNode):
        raise UsageError(f"{_line(path, key)}: expected a name as key. Quote text that begins with {{ or [.")
    name: Hashable = loader.construct_object(key)
    return name


def _line(path: str, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"
