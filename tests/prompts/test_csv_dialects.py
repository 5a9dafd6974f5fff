"""CSV: whatever separates the cells, the rows are those that were written."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.progress import RecordedProgress
from grao_pipeline.prompts.csv_dialects import Dialect, dialect_of
from grao_pipeline.prompts.text_files import read_text_file

cells = st.text(st.sampled_from('ab ,;|\t"\n'), min_size=1, max_size=6)
rows = st.lists(st.tuples(cells, cells), min_size=1, max_size=5)


@given(rows, st.sampled_from(",;\t|"))
def test_a_table_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]], delimiter: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerows([("question", "answer"), *table])
    read = [tuple(row.values()) for row in read_text_file(path, RecordedProgress())]
    assert read == table


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("prompt\nhello; world\n", Dialect(",")),  # one column
        ("prompt\na,b\n", Dialect(",")),  # one column, and a line that the reader refuses
        ("question;answer, if any\na;b\n", Dialect(";")),  # by commas the rows do not add up
        ("question,answer\na;b,c;d\n", Dialect(",")),
        ("a, b\n1, 2\n", Dialect(",", True)),
        ("a,b\n1, 2\n", Dialect(",")),  # a space of the cell
        ("a\tb\n1\t2\n", Dialect("\t")),
        ('"a;x",b\n1,2\n', Dialect(",")),
        ("", Dialect(",")),
    ],
)
def test_the_separator_is_the_one_that_divides_all_rows_alike(text: str, dialect: Dialect) -> None:
    assert dialect_of(io.StringIO(text).readlines(), ",") == dialect


def test_a_separator_that_the_ending_does_not_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("question;answer\n1;2\n")
    progress = RecordedProgress()
    assert list(read_text_file(tmp_path / "a.tsv", progress)) == [{"question": "1", "answer": "2"}]
    assert progress.notes == ["a.tsv: its cells are separated by semicolons."]
