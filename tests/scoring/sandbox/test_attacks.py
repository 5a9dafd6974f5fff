"""Attacks of a completion's code: on its verdict, on files and on the process that started it. All are real."""

import pytest

from benchmarks.sandbox import CHEATS, HARMS, LIMITS, READS, TEST, WRITES, attacks
from grao_pipeline.scoring.sandbox.launchers import BUBBLEWRAP, PROCESS, bubblewrap_problem
from grao_pipeline.scoring.sandbox.python_runner import run_tests


@pytest.mark.parametrize("name", sorted(CHEATS))
def test_no_code_passes_a_test_without_the_right_value(name: str) -> None:
    assert run_tests(CHEATS[name], [TEST], LIMITS).passed == (False,)


@pytest.mark.parametrize("kind", ["read outside", "write outside", "harm"])
@pytest.mark.parametrize("sample", [0, 1, pytest.param(None, marks=pytest.mark.slow)])
def test_code_reaches_nothing_outside(kind: str, sample: int | None) -> None:
    """Two attacks of a kind, then all of them."""
    of_kind = [attack for attack in attacks() if attack.kind == kind]
    assert len(of_kind) == {"read outside": len(READS), "write outside": len(WRITES), "harm": len(HARMS)}[kind]
    chosen = of_kind if sample is None else [of_kind[1 + 3 * sample]]
    assert [attack.name for attack in chosen if attack.succeeds(PROCESS)] == []


@pytest.mark.slow
@pytest.mark.skipif(bubblewrap_problem() is not None, reason="bubblewrap does not work here")
def test_bubblewrap_holds_every_attack_but_those_on_tests_in_the_same_process() -> None:
    outside = [attack for attack in attacks() if "in its process" not in attack.kind]
    assert [attack.name for attack in outside if attack.succeeds(BUBBLEWRAP)] == []
