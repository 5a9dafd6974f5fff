"""Whether two expressions are equal: exactly where both are exact, else to a millionth of the expected one.

The comparison is that of math-verify, which rounds numbers to 6 decimals: it takes 1e-7 for 2e-7, and 2^-99 for 2^-98.
Here numbers, alone or as elements of sets, intervals and matrices, are compared relative to their size.
"""

from collections.abc import Callable, Sequence
from itertools import product

from sympy import Eq, Expr, Float, Interval, MatrixBase, Mul, Rational, Tuple, UnevaluatedExpr, Union
from sympy import FiniteSet as SympyFiniteSet

from grao_pipeline.scoring.rewards.math_reading import Expression

EXACT_DIGITS = 60
SAME_DIGITS = Rational(1, 10**50)
"""Two exact numbers with a smaller relative difference are equal: their difference could not be worked out further."""
TOLERANCE = Rational(1_000_001, 10**12)
"""A millionth, and room for rounding: 0.333333 is a third."""


ROUNDING = Rational(1, 100)
"""Relative difference of the sides of an equation with a decimal, `1/3 = 0.33`, that holds."""


def are_equal(expected: Sequence[Expression], answers: Sequence[Expression]) -> bool:
    """Whether one of the answers equals one of the expected expressions; one with a wrong equation (5 = 4) does not."""
    return any(_is_equal(one, other) for one, other in product(expected, filter(_holds, answers)))


def _holds(answer: Expression) -> bool:
    """Whether every equation between two numbers in an answer is right."""
    equations = [] if not hasattr(answer, "atoms") else answer.atoms(Eq)
    return all(_is_right(*equation.args) for equation in equations if all(map(_is_number, equation.args)))


def _is_right(left: Expr, right: Expr) -> bool:
    left, right = left.doit(), right.doit()
    if not (left.has(Float) or right.has(Float)):
        return _close(left, right)
    one, other = left.evalf(EXACT_DIGITS), right.evalf(EXACT_DIGITS)
    return bool(abs(one - other) <= ROUNDING * max(abs(one), abs(other)))


def _is_equal(expected: Expression, answer: Expression) -> bool:
    from math_verify import verify

    if _is_number(expected) and _is_number(answer):
        return _same_number(expected, answer)
    if not verify([expected], [answer], timeout_seconds=None):
        return False
    return not _numbers_differ(expected, answer)


def _is_number(value: object) -> bool:
    return isinstance(value, Expr) and not value.free_symbols and bool(value.is_number) and value.is_finite is not False


def _same_number(expected: Expression, answer: Expression) -> bool:
    """Equal values; a percent sign that only one side has may be missing on the other."""
    pairs = [(expected, answer)]
    bare = [_without_percent(expected), _without_percent(answer)]
    if (bare[0] is None) != (bare[1] is None):
        pairs.append((bare[0] or expected, bare[1] or answer))
    return any(_close(one.doit(), other.doit()) for one, other in pairs)


def _close(expected: Expr, answer: Expr) -> bool:
    is_exact = not (expected.has(Float) or answer.has(Float))
    if is_exact and isinstance(expected, Rational) and isinstance(answer, Rational):
        return bool(expected == answer)
    one, other = expected.evalf(EXACT_DIGITS), answer.evalf(EXACT_DIGITS)
    difference, size = abs(one - other), abs(one)
    if is_exact:
        return bool(difference <= SAME_DIGITS * max(size, abs(other)))
    both_rational = all(isinstance(value, Rational | Float) for value in (expected, answer))
    return bool(difference <= TOLERANCE * (min(size, 1) if both_rational else size))


def _without_percent(value: Expression) -> Expr | None:
    """50 of `50%`; None of a number without a percent sign."""
    hundredth = UnevaluatedExpr(Rational(1, 100))
    if isinstance(value, Mul) and len(value.args) == 2 and value.args[1] == hundredth:
        return value.args[0]
    return None


def _numbers_differ(expected: Expression, answer: Expression) -> bool:
    """Whether numbers inside two equal things differ by more than the tolerance after all."""
    for kind, elements, is_ordered in _CONTAINERS:
        if isinstance(expected, kind) and isinstance(answer, kind):
            ones, others = elements(expected), elements(answer)
            if not all(map(_is_number, [*ones, *others])):
                return False
            if is_ordered:
                return not all(_same_number(one, other) for one, other in zip(ones, others, strict=True))
            return not all(any(_same_number(one, other) for other in others) for one in ones)
    if isinstance(expected, Expr) and isinstance(answer, Expr):
        return _differ_at_a_point(expected, answer)
    return False


def _differ_at_a_point(expected: Expr, answer: Expr) -> bool:
    """Whether two terms with the same variables have different values where the variables are some numbers."""
    if not expected.free_symbols or expected.free_symbols != answer.free_symbols:
        return False
    variables = sorted(expected.free_symbols, key=str)
    point = {variable: Rational(7 + 2 * index, 5 + index) for index, variable in enumerate(variables)}
    values = expected.subs(point), answer.subs(point)
    return all(map(_is_number, values)) and not _same_number(*values)


def _ends(interval: Interval) -> list[Expression]:
    return [end for end in (interval.start, interval.end) if end.is_finite]


def _arguments(value: Expression) -> list[Expression]:
    return list(value.args)


_CONTAINERS: Sequence[tuple[type, Callable[..., list[Expression]], bool]] = (
    (MatrixBase, lambda matrix: list(matrix.flat()), True),
    (Tuple, _arguments, True),
    (Interval, _ends, True),
    (SympyFiniteSet, _arguments, False),
    (Union, lambda union: [end for part in union.args if isinstance(part, Interval) for end in _ends(part)], False),
)
