"""Questions to the labels of a recording, such as `bracket_depth >= 2 and split == 'train'`."""

import ast
import difflib
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from jaxtyping import Bool

from workbench.activations.row_runs import RowRuns

if TYPE_CHECKING:
    from workbench.activations.store import ActivationStore

_COMPARISONS = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ALLOWED = (
    "compare columns with numbers, texts, True, False or each other by ==, !=, <, <=, >, >=, `in (…)` or `== None`, "
    "and join that by and, or, not and brackets, as in \"bracket_depth >= 2 and split == 'train'\"; a column's name "
    "must be letters, digits and underscores"
)
MOST_COMPARISONS = 2000  # Arrow does not survive tens of thousands
_UNKNOWN = pa.scalar(None, pa.bool_())


def parse(text: str) -> tuple[pc.Expression, set[str]]:
    """A query as an Arrow expression, and the columns it names. The text is parsed as Python and never evaluated.

    A comparison with a value that is missing is neither true nor false, as in SQL; `label == None` asks whether it is
    missing.

    Raises:
        ValueError: anything but comparisons joined by and, or, not.
    """
    shown = text if len(text) < 200 else f"{text[:200]}…"
    reader = _Reader()
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        expression = reader.truth(tree)
    except (SyntaxError, RecursionError, MemoryError, ValueError, OverflowError) as error:
        raise ValueError(f"the query {shown!r} cannot be read: {_ALLOWED}.") from error
    if reader.comparisons > MOST_COMPARISONS:
        raise ValueError(
            f"the query makes {reader.comparisons:,} comparisons, more than {MOST_COMPARISONS:,}: "
            "ask for many values of one column by `in (…)`."
        )
    if not reader.columns:
        raise ValueError(f"the query {shown!r} names no column: {_ALLOWED}.")
    return expression, reader.columns


class _Reader:
    """Walks the syntax tree; what it has no branch for is refused by a ValueError."""

    def __init__(self) -> None:
        self.columns: set[str] = set()
        self.comparisons = 0

    def truth(self, node: ast.expr) -> pc.Expression:
        """What is true or false of a row."""
        match node:
            case ast.BoolOp(op, values):
                return _joined(
                    [self.truth(value) for value in values], operator.and_ if isinstance(op, ast.And) else operator.or_
                )
            case ast.UnaryOp(ast.Not(), operand):
                return ~self.truth(operand)
            case ast.Compare(left, ops, comparators):
                sides = [left, *comparators]
                links = zip(sides[:-1], ops, sides[1:], strict=True)
                return _joined([self.compared(a, comparison, b) for a, comparison, b in links], operator.and_)
            case ast.Name():
                return self.column(node)
            case ast.Constant(bool(value)):
                return pc.scalar(value)
        raise ValueError

    def compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pc.Expression:
        """One comparison."""
        self.comparisons += 1
        if isinstance(op, (ast.In, ast.NotIn)):
            column = self.column(left)
            found = self.is_one_of(column, right)
            return found if isinstance(op, ast.In) else ~found
        for side, other in ((left, right), (right, left)):
            if isinstance(side, ast.Constant) and side.value is None:
                column = self.column(other)
                if isinstance(op, (ast.Eq, ast.Is)):
                    return column.is_null()
                if isinstance(op, (ast.NotEq, ast.IsNot)):
                    return column.is_valid()
        return _COMPARISONS.get(type(op), _refuse)(self.side(left), self.side(right))

    def is_one_of(self, column: pc.Expression, choices: ast.expr) -> pc.Expression:
        """Whether a column's value stands in a list; where the value is missing, that is missing too."""
        if not isinstance(choices, (ast.Tuple, ast.List, ast.Set)) or not choices.elts:
            raise ValueError
        values = [_constant(choice) for choice in choices.elts]
        found = column.isin(pa.array([value for value in values if value is not None]))
        if None in values:
            return column.is_null() | found
        return pc.if_else(column.is_valid(), found, _UNKNOWN)

    def side(self, node: ast.expr) -> pc.Expression:
        """A column or a constant."""
        if isinstance(node, ast.Name):
            return self.column(node)
        value = _constant(node)
        if value is None:
            raise ValueError
        return pc.scalar(value)

    def column(self, node: ast.expr) -> pc.Expression:
        if not isinstance(node, ast.Name):
            raise ValueError
        self.columns.add(node.id)
        return pc.field(node.id)


def _joined(parts: list[pc.Expression], join: Callable[[Any, Any], pc.Expression]) -> pc.Expression:
    """Joined in halves: Arrow walks an expression by recursion, and a chain would be as deep as it is long."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return join(_joined(parts[:middle], join), _joined(parts[middle:], join))


def _refuse(left: Any, right: Any) -> pc.Expression:
    raise ValueError


def _constant(node: ast.expr) -> Any:
    match node:
        case ast.UnaryOp(ast.USub(), ast.Constant(int(value) | float(value))) if not isinstance(value, bool):
            return -value
        case ast.Constant(bool() | int() | float() | str() | None as value):
            return value
    raise ValueError


def matching(tables: Iterable[pa.Table], expression: pc.Expression) -> Iterator[Bool[np.ndarray, " rows"]]:
    """For each table, at which of its rows the expression is true; where it is missing, it is not.

    Raises:
        ValueError: a comparison of values that cannot be compared, such as a number and a text, or an expression that
            is not true or false.
    """
    for table in tables:
        kinds = ", ".join(f"{field.name} is {field.type}" for field in table.schema)
        try:
            answer = pa.dataset.dataset(table).to_table(columns={"chosen": expression})["chosen"]
        except (pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowInvalid) as error:
            raise ValueError(f"the query compares values of different kinds: {kinds}.") from error
        if not pa.types.is_boolean(answer.type):
            raise ValueError(f"the query asks for something that is not true or false: {kinds}.")
        yield np.asarray(answer.combine_chunks().fill_null(False)).astype(bool)


def check_columns(names: Iterable[str], known: Sequence[str]) -> None:
    """Raises `ValueError` for a name that is not known, with those it may have meant."""
    for name in sorted(set(names) - set(known)):
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        answer = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}."
        raise ValueError(f"there is no label {name!r}: {answer}")


def chosen_rows(store: "ActivationStore", split: str | None = None, where: str | None = None) -> RowRuns:
    """The rows of a split for which a query is true, found a shard at a time; all of them if neither is given.

    Raises:
        TypeError: the query is no text.
        ValueError: it cannot be read or answered, or the store has no row of the split.
    """
    if split is None and where is None:
        return RowRuns.whole(len(store))
    if not isinstance(where, str | None):
        raise TypeError(f"a {type(where).__name__} is no query: `where` is a text, and `rows` takes the rows' numbers.")
    expression, names = parse(where) if where is not None else (pc.scalar(True), set())
    if split is not None:
        expression, names = expression & (pc.field("split") == split), names | {"split"}
    check_columns(names, store.column_names)
    found = RowRuns.from_mask(matching(store.shard_columns(*sorted(names)), expression))
    if not len(found) and split is not None:
        raise ValueError(f"{store.path} has no row of the split {split!r}{f' with {where}' if where else ''}.")
    return found
