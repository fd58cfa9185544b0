"""A query to the labels chooses the rows that it says, as pandas does, and nothing in it is run."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.activations.query import check_columns, matching, parse


def labels(n=200):
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "depth": pa.array(rng.integers(0, 7, n).astype(np.int8)),
            "pos": pa.array(rng.integers(0, 300, n).astype(np.int16)),
            "share": pa.array(rng.normal(size=n)),
            "in_string": pa.array(rng.random(n) < 0.5),
            "split": pa.array(np.where(rng.random(n) < 0.5, "train", "test")).dictionary_encode(),
        }
    )


def chosen(text, *tables):
    expression, names = parse(text)
    return np.concatenate(list(matching((table.select(sorted(names)) for table in tables), expression)))


atoms = st.sampled_from(
    [
        "depth >= 2",
        "2 <= depth < 5",
        "depth == 3",
        "depth != 3",
        "depth > 1.5",
        "depth < pos",
        "pos > 100",
        "share < -0.25",
        "share <= 0",
        "in_string",
        "in_string == True",
        "split == 'train'",
        "split != 'train'",
        "split in ('train', 'dev')",
        "depth in (1, 2, 300)",
        "depth not in [1, 2]",
        "-1 < depth",
    ]
)
queries = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("(not ({}))".format, inner),
        st.builds("{} or {} and {}".format, inner, inner, inner),
    ),
    max_leaves=6,
)


@given(queries)
@settings(max_examples=80, deadline=None)
def test_a_query_chooses_what_pandas_chooses(text):
    table = labels()
    frame = table.to_pandas()
    frame["split"] = frame["split"].astype(str)
    expected = frame.eval(text, engine="python")
    assert chosen(text, table.slice(0, 70), table.slice(70)).tolist() == expected.tolist()


def test_the_queries_of_the_examples_choose_some_rows_and_not_all():
    for text in ("depth >= 2 and split == 'train'", "in_string or not depth == 2", "2 <= depth < 5"):
        assert 0 < chosen(text, labels()).sum() < len(labels())


def test_a_very_long_query_is_answered():
    many = " or ".join(f"pos == {i}" for i in range(0, 300, 2)) + " or pos == -1" * 1800
    assert chosen(many, labels()).tolist() == (labels()["pos"].to_numpy() % 2 == 0).tolist()
    for longer in (many + " or pos == -1" * 10**4, "pos" + " < pos" * 10**4):
        with pytest.raises(ValueError, match="comparisons, more than"):
            parse(longer)


class TestMissingValues:
    table = pa.table(
        {
            "x": pa.array([1, 2, None]),
            "s": pa.array(["a", None, "b"]).dictionary_encode(),
            "b": pa.array([True, None, False]),
        }
    )

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("x == 1", [1, 0, 0]),
            ("x != 1", [0, 1, 0]),
            ("not x == 1", [0, 1, 0]),
            ("x in (1, 5)", [1, 0, 0]),
            ("x not in (1, 5)", [0, 1, 0]),
            ("s not in ('b',)", [1, 0, 0]),
            ("x in (1, None)", [1, 0, 1]),
            ("x == None", [0, 0, 1]),
            ("x is None", [0, 0, 1]),
            ("None != x", [1, 1, 0]),
            ("s is not None", [1, 0, 1]),
            ("b", [1, 0, 0]),
            ("not b", [0, 0, 1]),
            ("b or x == 2", [1, 1, 0]),
            ("b and x == 1", [1, 0, 0]),
        ],
    )
    def test_a_comparison_with_one_is_neither_true_nor_false(self, text, expected):
        assert chosen(text, self.table).tolist() == [bool(e) for e in expected]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "depth >",
        "depth",
        "__import__('os').system('true') == 0",
        "depth.real == 1",
        "depth[0] == 1",
        "depth + 1 == 2",
        "pos % 2 == 0",
        "(lambda: 1)() == 1",
        "[d for d in depth] == 1",
        "depth == (1, 2)",
        "depth in pos",
        "depth in ()",
        "depth < None",
        "depth = 1",
        "depth == 1; pos == 2",
        "depth if pos else share",
        "True",
        "1 == 1",
        "f'{depth}' == '1'",
        "b'a' == depth",
        "depth == 1j",
        "depth == 1" + "0" * 30,
        "not " * 5000 + "in_string",
        "my label == 1",
        "depth in (1, 'a')",
        "depth\0== 1",
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(text):
    if text == "depth":  # a name may be a truth value; this one is not
        with pytest.raises(ValueError, match="not true or false: depth is int8"):
            chosen(text, labels())
        return
    with pytest.raises(ValueError, match="compare columns with numbers.*letters, digits and underscores"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["depth == 'two'", "split == 3", "split > 1", "in_string and depth", "depth in ('a',)"]
)
def test_values_of_different_kinds_are_not_compared(text):
    with pytest.raises(ValueError, match="values of different kinds: .* is "):
        chosen(text, labels())


def test_a_wrong_name_is_answered_with_near_ones():
    _, names = parse("dept > 1 and split == 'train'")
    assert names == {"dept", "split"}
    with pytest.raises(ValueError, match="no label 'dept': did you mean depth"):
        check_columns(names, labels().column_names)
    with pytest.raises(ValueError, match="no label 'zzz': there are depth, pos, share, in_string, split"):
        check_columns(["zzz"], labels().column_names)


def test_nothing_is_read_before_it_is_asked_for():
    def tables():
        for i in range(3):
            read.append(i)
            yield labels()

    read = []
    answers = matching(tables(), pc.field("depth") > 2)
    assert read == []
    next(answers)
    assert read == [0]
