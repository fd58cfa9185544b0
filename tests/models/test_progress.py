"""The progress bar: several pieces of work in a row may be counted on one."""

from models.progress import as_one, progress


def test_pieces_of_one_description_are_counted_on_one_bar():
    with as_one(desc="fits", total=7) as whole:
        assert list(progress(range(4), desc="fits")) == [0, 1, 2, 3]
        with progress(total=3, desc="fits") as bar:
            bar.update(2)
            bar.update()
        assert list(progress(range(2), desc="something else")) == [0, 1]
        assert whole.n == 7
    alone = progress(range(4), desc="fits")
    assert list(alone) == [0, 1, 2, 3]
    assert alone.n == 4, "afterwards each has its own again"
