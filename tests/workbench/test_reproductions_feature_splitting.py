"""What splits, and against what it is held."""

import pandas as pd

from workbench.reproductions import feature_splitting as result


def found(larger, another):
    lines = []
    for seed, (ours, chance) in enumerate(zip(larger, another, strict=True)):
        for width, wider in zip(result.WIDTHS[:-1], result.WIDTHS[1:], strict=True):
            for kind, split in (("larger", ours), ("another seed", chance), ("random", 0.0)):
                about = {"seed": seed, "width": width, "other": kind, "other_width": wider}
                lines.append(about | {"split": split, "kept": 0.5, "lost": 0.1, "parts": 1.5})
    return pd.DataFrame(lines)


def test_more_must_split_than_in_another_of_the_same_width_in_every_seed():
    good = [row for row in result.rows_of(found([0.3, 0.2], [0.1, 0.1])) if row.bar]
    assert len(good) == len(result.WIDTHS) - 1
    assert all(row.passed for row in good)
    assert not any(row.passed for row in result.rows_of(found([0.3, 0.1], [0.1, 0.1])) if row.bar)
