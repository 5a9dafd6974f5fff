"""Foreign tables with broken cells, types and bytes, for every stage that reads one."""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.chaos.fuzz_run import Run, nothing_wrong
from benchmarks.chaos.fuzz_sources import as_arrow, rows_of
from benchmarks.chaos.mutations import broken, changed
from benchmarks.chaos.place import Place
from benchmarks.chaos.viewer import look_at_all

ROWS = 4
GENERATE = ("--engine", "transformers", "--samples", "1", "--max-new-tokens", "1", "--device", "cpu")
REWARDS = (
    ("length", "--reward-arg", "target=6"),
    ("gsm8k",),
    ("exact-match", "--reward-arg", "field=answer"),
    ("numeric", "--reward-arg", "field=answer"),
)
ESTIMATORS = ("grao", "grpo", "rloo", "dr-grpo")
TYPES = (
    *(pa.int64(), pa.float64(), pa.string(), pa.large_string(), pa.binary(), pa.bool_(), pa.null(), pa.date32()),
    *(pa.timestamp("ns"), pa.decimal128(38, 2), pa.list_(pa.string()), pa.struct([("a", pa.int32())])),
    *(pa.dictionary(pa.int32(), pa.string()), pa.large_list(pa.float32()), pa.list_(pa.list_(pa.float16()))),
)
NEEDS: dict[str, tuple[int, str]] = {
    "score": (25, "groups"),
    "advantages": (25, "groups scores"),
    "evaluate": (12, "groups scores"),
    "inspect": (12, "groups"),
    "curriculum": (10, "prompts groups scores"),
    "train": (8, "groups advantages"),
    "generate": (8, "prompts"),
    "references": (10, "prompts groups scores"),
    "references --from": (5, "prompts"),
    "resample": (10, "prompts groups scores"),
    "minibatch": (5, "prompts"),
    "logprobs": (10, "groups"),
    "export": (20, "groups scores"),
    "export --advantages": (10, "groups advantages"),
    "compare": (10, "groups scores"),
    "audit": (10, "groups scores"),
    "view": (10, "groups scores"),
}
"""By command: how often it has its turn, and the tables that it reads."""
GROUP_FORMATS = ("preference", "sft", "kto", "flat", "openrlhf", "verl")


def run(place: Place, directory: Path, generator: random.Random) -> Run:
    """A stage on tables of other software, of which one is broken."""
    stage = generator.choices(list(NEEDS), [weight for weight, _ in NEEDS.values()])[0]
    needs = NEEDS[stage][1].split()
    wrong = generator.choice(needs)
    tables = {name: _write(place, name, directory / name, generator, name == wrong) for name in needs}
    arguments = _arguments(stage, tables, directory, place, generator)
    what = f"table → {stage}"
    if stage == "view":
        return Run(what, arguments, instead=lambda: look_at_all(str(tables["groups"]), scores=[str(tables["scores"])]))
    out = directory / "out"
    checks: dict[str, Callable[[], str | None]] = {
        "score": lambda: wrong_numbers(out, tables["groups"]),
        "advantages": lambda: wrong_numbers(out, tables["groups"]),
        "logprobs": lambda: wrong_numbers(out, tables["groups"]),
        **dict.fromkeys((name for name in NEEDS if name.startswith("export")), lambda: wrong_lines(directory)),
    }
    return Run(what, arguments, checks.get(stage, nothing_wrong))


def _arguments(
    stage: str, tables: Mapping[str, Path], directory: Path, place: Place, generator: random.Random
) -> tuple[object, ...]:
    """The command line of a stage on tables."""
    out, lines = directory / "out", directory / "out.jsonl"
    prompts, groups, scores, advantages = (tables.get(name) for name in ("prompts", "groups", "scores", "advantages"))
    references = (prompts, out, "--overwrite-references")
    export = (groups, lines, "--format", generator.choice(GROUP_FORMATS))
    arguments: dict[str, tuple[object, ...]] = {
        "score": (groups, out, "--reward", *generator.choice(REWARDS), "--cache", "cache.sqlite"),
        "advantages": (groups, out, "--scores", scores, "--estimator", generator.choice(ESTIMATORS)),
        "evaluate": (groups, scores, out),
        "inspect": (groups,),
        "curriculum": (prompts, out, "--num-prompts", 2, "--history", groups, scores),
        "train": (
            *(groups, advantages, out, "--model", place.model),
            *("--dry-run", "--device", "cpu", "--allow-off-policy"),
        ),
        "generate": (prompts, out, "--model", place.model, *GENERATE),
        "references": (*references, "--groups", groups, "--scores", scores),
        "references --from": (*references, "--from", prompts),
        "resample": (prompts, groups, scores, out, "--samples", 2),
        "minibatch": (prompts, out, "--prompts-per-round", 2),
        "logprobs": (groups, out, "--model", place.trained, "--device", "cpu"),
        "export": (*export, "--scores", scores),
        "export --advantages": (*export, "--advantages", advantages),
        "compare": (groups, scores, scores),
        "audit": (groups, scores, "--second", scores),
        "view": (groups, "--scores", scores),
    }
    return (stage.split()[0], *arguments[stage])


def _write(place: Place, name: str, directory: Path, generator: random.Random, is_wrong: bool) -> Path:
    """A table as other software writes it."""
    directory.mkdir()
    source: Path = getattr(place, name)
    rows = rows_of(source)[:ROWS]
    schema = pq.read_schema(next(iter(sorted(source.glob("part-*.parquet"))))).remove_metadata()
    table = pa.Table.from_pylist(rows, schema=schema)
    way = generator.random() if is_wrong else 1.0
    if way < 0.4:
        table = _with_odd_cells(rows, schema, generator)
    elif way < 0.75:
        table = _with_odd_columns(table, generator)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data = sink.getvalue().to_pybytes()
    if 0.75 <= way < 1.0:
        data = broken(data, generator)
    (directory / "table.parquet").write_bytes(data)
    return directory


def _with_odd_cells(rows: list[dict[str, Any]], schema: pa.Schema, generator: random.Random) -> pa.Table:
    for _ in range(generator.randint(1, 3)):
        row = generator.choice(rows)
        name = generator.choice(list(row))
        value = row[name]
        if generator.random() < 0.5:
            row[name] = _impossible(name, value, generator)
        else:
            row[name] = changed(value, generator)
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return as_arrow(rows)


def _impossible(name: str, value: Any, generator: random.Random) -> Any:
    """A value of the right type that cannot be."""
    texts = ('{"answer": NaN}', '{"answer": 1e999}', '{"a": ' * 3_000, "[1]", '{"a": "\\ud800"}', "null", "", "\0", "é")
    numbers = (float("nan"), float("inf"), -float("inf"), 1e38, 5.0, -1e30)
    tokens = (-1, 2**31 - 1, 100_000, 0)
    if isinstance(value, list):
        if generator.random() < 0.3 or not value:
            return generator.choice(([], [None], value * 2, value[:-1]))
        place = generator.randrange(len(value))
        return [*value[:place], _impossible(name, value[place], generator), *value[place + 1 :]]
    if isinstance(value, dict) and value:
        key = generator.choice(list(value))
        return value | {key: _impossible(name, value[key], generator)}
    if isinstance(value, float):
        return generator.choice(numbers)
    return generator.choice(tokens) if isinstance(value, int) else generator.choice(texts)


def _with_odd_columns(table: pa.Table, generator: random.Random) -> pa.Table:
    """The columns in another order, of another type, missing, twice or renamed."""
    place = generator.randrange(table.num_columns)
    name, column = table.column_names[place], table.column(place)
    action = generator.randrange(6)
    if action == 0:
        return table.remove_column(place)
    if action == 1:
        return table.append_column(name, column)
    if action == 2:
        return table.rename_columns([f"{other} " if other == name else other for other in table.column_names])
    if action == 3:
        return table.select(generator.sample(table.column_names, table.num_columns))
    if action == 4:
        return table.slice(0, generator.choice((0, 1))) if generator.random() < 0.5 else pa.concat_tables([table] * 2)
    kind = generator.choice(TYPES)
    try:
        odd = column.cast(kind)
    except (pa.ArrowException, ValueError):
        odd = pa.nulls(len(column), kind)
    try:
        pq.write_table(pa.table({name: odd}), pa.BufferOutputStream())
    except pa.ArrowException:
        odd = pa.nulls(len(column), pa.string())
    return table.set_column(place, name, odd)


def wrong_lines(directory: Path) -> str | None:
    """What is wrong with an exported file: a line that is not an object of JSON without NaN, or no line."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    lines = (directory / "out.jsonl").read_text("utf-8").splitlines()
    try:
        rows = [json.loads(line, parse_constant=refuse) for line in lines]
    except ValueError as error:
        return f"invalid JSON: {error}"
    return None if rows and all(isinstance(row, dict) for row in rows) else f"{len(rows)} rows"


def wrong_numbers(out: Path, groups: Path) -> str | None:
    """What is wrong with a finished table: a number that is not finite, or other rows than those of the groups."""
    rows = rows_of(out)
    num_groups = sum(pq.read_metadata(path).num_rows for path in groups.glob("[!.]*.parquet"))
    if len(rows) != num_groups:
        return f"{len(rows)} rows for {num_groups} groups"
    for row in rows:
        for name in ("rewards", "advantages", "sample_logprobs"):
            values = [value for value in flat(row.get(name)) if value is not None]
            if any(not -1e38 < value < 1e38 for value in values):
                return f"{name} {values}"
    return None


def flat(value: Any) -> Iterator[Any]:
    """The items of lists, however deep; none of None."""
    for item in value or ():
        yield from flat(item) if isinstance(item, list) else (item,)
