"""Figures that hold one number against another: agreement with what was told, courses over time."""

import pandas as pd
import pytest

from workbench.figures import agreement, time_courses


class TestAgreement:
    PAIRS = pd.DataFrame({"told": [1.0, 4.0, 3.0], "counted": [1.5, 3.5, 9.0], "of": ["own", "own", "another's"]})

    def spec(self) -> dict:
        return agreement(self.PAIRS, "told", "counted", x_title="closed form (Hz)", y_title="counted").to_dict()

    def test_the_diagonal_runs_over_all_that_is_drawn_and_both_axes_are_alike(self) -> None:
        points, line = self.spec()["layer"]
        assert pd.DataFrame(self.spec()["datasets"][line["data"]["name"]]).to_numpy().tolist() == [[1, 1], [9, 9]]
        assert points["encoding"]["x"]["scale"] == points["encoding"]["y"]["scale"]
        assert points["encoding"]["x"]["scale"]["domain"] == [1, 9]

    def test_what_is_compared_has_a_colour_and_a_sign_and_the_first_lies_on_top(self) -> None:
        points = self.spec()["layer"][0]
        for sign in ("color", "shape"):
            scale = points["encoding"][sign]["scale"]
            assert scale["domain"] == ["own", "another's"]
            assert len(set(scale["range"])) == 2
        drawn = pd.DataFrame(self.spec()["datasets"][points["data"]["name"]])
        assert drawn["of"].tolist() == ["another's", "own", "own"]

    def test_a_table_without_what_it_draws_is_refused(self) -> None:
        with pytest.raises(ValueError, match="the table lacks told"):
            agreement(self.PAIRS.drop(columns="told"), "told", "counted", x_title="", y_title="")
        with pytest.raises(ValueError, match="the table is empty"):
            agreement(self.PAIRS.head(0), "told", "counted", x_title="", y_title="")


class TestTimeCourses:
    COURSES = pd.DataFrame(
        {
            "time": [0.0, 0.1] * 4,
            "value": range(8),
            "of": ["x", "x", "y", "y"] * 2,
            "recurrent": ["solved"] * 4 + ["cut"] * 4,
        }
    )

    def test_panels_stand_in_their_order_and_share_both_axes(self) -> None:
        spec = time_courses(self.COURSES, "recurrent").to_dict()
        assert spec["facet"]["row"]["sort"] == ["solved", "cut"]
        assert "resolve" not in spec
        assert spec["spec"]["encoding"]["color"]["scale"]["domain"] == ["x", "y"]

    def test_a_table_without_what_it_draws_is_refused(self) -> None:
        with pytest.raises(ValueError, match="the table lacks recurrent"):
            time_courses(self.COURSES.drop(columns="recurrent"), "recurrent")
        with pytest.raises(ValueError, match="the table is empty"):
            time_courses(self.COURSES.head(0), "recurrent")
