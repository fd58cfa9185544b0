"""Sets of rows by a label's value: which labels and values there are, and the question that chooses a value's rows."""

import keyword

import pyarrow as pa
import pyarrow.compute as pc

from workbench.activations import ActivationStore

MOST_VALUES = 60  # of a label, the commonest
Value = str | int | bool


def labels_with_values(store: ActivationStore) -> list[str]:
    """The labels of a recording whose values can be chosen from: Boolean, then categorical, then whole numbers.

    A label whose name no question can hold is left out, and so is `line`, which says where a token is and not what.
    """
    kinds = {name: store.rows.schema.field(name).type for name in store.labels if name in store.rows.schema.names}
    kinds |= {name: store.columns(name).schema.field(name).type for name in store.labels if name not in kinds}
    usable = {name: kind for name, kind in kinds.items() if name != "line" and _is_name(name)}
    tests = (pa.types.is_boolean, pa.types.is_dictionary, pa.types.is_integer)
    return [name for is_kind in tests for name, kind in usable.items() if is_kind(kind)]


def values_of(store: ActivationStore, label: str) -> list[Value]:
    """The values of a label, the commonest first, no more than `MOST_VALUES`; of a Boolean one `True` comes first."""
    column = store.columns(label)[label].combine_chunks()
    if pa.types.is_boolean(column.type):
        return [value for value in (True, False) if pc.any(pc.equal(column, value)).as_py()]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    counted = sorted(pc.value_counts(column.drop_null()).to_pylist(), key=lambda one: -one["counts"])
    return [one["values"] for one in counted[:MOST_VALUES]]


def question(label: str, value: Value) -> str:
    """What `ActivationStore.where` is asked for the rows on which a label has a value."""
    return f"{label} == {value!r}"


def _is_name(label: str) -> bool:
    return label.isidentifier() and not keyword.iskeyword(label)
