"""A map of directions keeps near ones near, says how far it does, and is held against one of noise."""

import numpy as np
import pandas as pd
import pytest
import torch

from models.artifacts import ArtifactError, publishing
from workbench.features.on_demand.feature_map import LEAST, feature_map, neighbours_kept, read_feature_map
from workbench.figures import feature_map as drawn_map
from workbench.figures.feature_map import COLOURS

N, D = 60, 24


@pytest.fixture(scope="module")
def directions() -> torch.Tensor:
    """Four bundles of directions, of any length."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(4, D, generator=generator).repeat_interleave(N // 4, 0)
    spread = centres + 0.3 * torch.randn(N, D, generator=generator)
    return spread * torch.rand(N, 1, generator=generator).add(0.1)


@pytest.fixture(scope="module")
def points(directions: torch.Tensor) -> pd.DataFrame:
    return feature_map(directions, seed=1)


@pytest.fixture
def features() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    kinds = np.resize(["token", "syntax", "none"], N)
    numbers = {name: rng.random(N) for name in ("f1", "neuron_f1", "density")}
    return pd.DataFrame({"feature": np.arange(N), "name": "<script>", "kind": kinds} | numbers)


class TestLayout:
    def test_bundles_of_directions_lie_together(self, points: pd.DataFrame) -> None:
        own = points[points["variant"] == "dictionary"]
        places, bundle = own[["x", "y"]].to_numpy(), np.arange(N) // (N // 4)
        apart = np.linalg.norm(places[:, None] - places, axis=2) + np.eye(N) * 9
        assert (bundle[apart.argmin(1)] == bundle).all()

    def test_it_keeps_more_neighbours_than_noise_does_and_noise_more_than_chance(self, points: pd.DataFrame) -> None:
        kept = points.groupby("variant")["kept"].mean()
        assert kept["dictionary"] > kept["random directions"] + 0.1
        assert kept["random directions"] > 10 / (N - 1)

    def test_one_seed_one_map(self, directions: torch.Tensor, points: pd.DataFrame) -> None:
        pd.testing.assert_frame_equal(feature_map(directions, seed=1), points)

    def test_lengths_of_directions_do_not_matter(self, directions: torch.Tensor, points: pd.DataFrame) -> None:
        longer = feature_map(directions * 2.0 ** torch.arange(N).remainder(3)[:, None], seed=1)
        pd.testing.assert_frame_equal(longer, points, atol=1e-3)

    def test_chosen_features_keep_their_numbers(self, directions: torch.Tensor) -> None:
        chosen = list(range(5, 5 + LEAST))
        found = feature_map(directions, chosen)
        assert found.groupby("variant")["feature"].apply(list).tolist() == [chosen, chosen]
        assert np.isfinite(found[["x", "y", "kept"]]).all(axis=None), "few features have a map too"

    def test_what_cannot_be_laid_out_is_refused(self, directions: torch.Tensor) -> None:
        with pytest.raises(ValueError, match="a map needs 8 features that fire or more: here are 7"):
            feature_map(directions[: LEAST - 1])
        with pytest.raises(ValueError, match="perplexity must be above 1"):
            feature_map(directions, perplexity=1)


def test_neighbours_kept_are_counted(directions: torch.Tensor) -> None:
    unit = torch.nn.functional.normalize(directions.double(), dim=1)
    places = torch.randn(N, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    shares = []
    for i in range(N):
        others = [j for j in range(N) if j != i]
        near = sorted(others, key=lambda j: -float(unit[i] @ unit[j]))[:7]
        beside = sorted(others, key=lambda j: float((places[i] - places[j]).norm()))[:7]
        shares.append(len(set(near) & set(beside)) / 7)
    assert neighbours_kept(unit, places, 7).tolist() == pytest.approx(shares)


class TestFigure:
    def data_of(self, chart) -> list[pd.DataFrame]:
        spec = chart.to_dict()
        return [pd.DataFrame(spec["datasets"][layer["data"]["name"]]) for layer in spec["layer"]]

    @pytest.mark.parametrize("colour", COLOURS)
    def test_noise_lies_beside_it_and_no_point_is_lost(self, points, features, colour: str) -> None:
        noise, others, marks, titles = self.data_of(drawn_map(points, features, colour))
        assert len(noise) == len(marks) == N
        assert len(others) == 0
        assert noise["x"].min() > marks["x"].max()
        assert [words.split(" · ")[0] for words in titles["words"]] == ["dictionary", "random directions"]

    def test_what_is_not_listed_is_grey_and_still_there(self, points, features) -> None:
        _, others, marks, _ = self.data_of(drawn_map(points, features, "F1", listed=[3, 5]))
        assert marks["feature"].tolist() == [3, 5]
        assert len(others) == N - 2

    def test_signs_have_a_colour_each_and_zero_has_neither(self, points, features) -> None:
        scale = drawn_map(points, features, "gain").to_dict()["layer"][2]["encoding"]["color"]["scale"]
        assert scale["domain"][0] == -scale["domain"][2]
        assert scale["domain"][1] == 0

    def test_what_it_cannot_draw_is_refused(self, points, features) -> None:
        with pytest.raises(ValueError, match="no colour 'loss'"):
            drawn_map(points, features, "loss")
        with pytest.raises(ValueError, match="the table lacks kept"):
            drawn_map(points.drop(columns="kept"), features)


class TestReading:
    def test_what_is_no_map_is_told_of(self, tmp_path, points) -> None:
        with publishing(tmp_path / "other", "analysis", config={"verb": "patch"}) as draft:
            points.to_parquet(draft.path / "map.parquet")
        with pytest.raises(ArtifactError, match="holds no map of features: `workbench index --map` makes one"):
            read_feature_map(tmp_path / "other")
        with publishing(tmp_path / "empty", "analysis", config={"verb": "index --map"}):
            pass
        with pytest.raises(ArtifactError, match="lacks map.parquet"):
            read_feature_map(tmp_path / "empty")
