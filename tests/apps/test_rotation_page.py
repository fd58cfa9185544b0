"""The part of the interventions page about learned directions, without a browser; and its figure."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from test_views import charts, component, copied, opened, unescaped_tags, words

from workbench.cli.patch_rotation import make_rotation
from workbench.cli.prompt_options import AskedPrompts
from workbench.experiments import read_rotations
from workbench.experiments.rotation_results import VARIANTS
from workbench.figures import rotation_scores
from workbench.runs import Run

TITLE = "Directions that hold the answer"
HOOK = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def rotated(runs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny runs' folder with one more, in which directions were learned."""
    root = tmp_path_factory.mktemp("rotated")
    run = Path(shutil.copytree(runs_root / "circuits", root / "circuits"))
    make_rotation(Run.open(run), AskedPrompts(examples=True, n=12), hooks=[HOOK], k=[1, 2], steps=5, n_controls=2)
    return root


@pytest.fixture
def explorer(rotated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(rotated))
    monkeypatch.delenv("WORKBENCH_EXPLORE_RUN", raising=False)
    return rotated


@pytest.mark.usefixtures("explorer")
class TestPage:
    def test_learned_directions_stand_beside_every_control(self) -> None:
        app = opened("interventions", look="Directions", run="circuits", patch="patch")
        assert TITLE in [e.value for e in app.subheader]
        shown = {f["label"]: f["value"] for f in component(app, "facts", "held out")["facts"]}
        assert (shown["fitted"], shown["held out"], shown["swapped at"]) == ("9", "3", "last token")
        (drawn,) = [str(chart) for chart in charts(app) if "share of pairs that say the corrupt answer" in str(chart)]
        for variant in VARIANTS:
            assert variant in drawn
        assert not unescaped_tags(app)
        assert not app.error

    def test_the_other_score_is_the_way_to_the_corrupt_runs(self) -> None:
        app = opened("interventions", look="Directions", run="circuits", patch="patch", said="logit difference")
        assert any("share of the way to the corrupt runs" in str(chart) for chart in charts(app))

    def test_it_is_no_experiment_of_the_other_kind(self) -> None:
        """What is patched is chosen among patched results alone."""
        app = opened("interventions", run="circuits")
        (chosen,) = [box for box in app.selectbox if box.label == "Result"]
        assert "rotation" not in chosen.options

    def test_damage_is_a_message(self, rotated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = copied("circuits/analyses/rotation", rotated, tmp_path, monkeypatch) / "analyses/rotation"
        (folder / "directions.safetensors").write_bytes(b"x")
        (error,) = opened("interventions", look="Directions", patch="patch").error
        assert "damaged" in error.value


@pytest.mark.usefixtures("explorer_environment")
def test_the_command_is_named_where_nothing_was_learned() -> None:
    said = words(opened("interventions", look="Directions", run="circuits", patch="patch"))
    assert "No directions were learned yet" in said
    assert "workbench patch --run" in said
    assert "--method rotation --pairs bracket" in said


class TestFigure:
    def test_every_line_is_drawn_in_its_row_and_lane(self, rotated: Path) -> None:
        table = read_rotations(rotated / "circuits/analyses/rotation").table
        spec = rotation_scores(table).to_dict()
        points = pd.DataFrame(spec["datasets"][spec["layer"][-1]["data"]["name"]])
        assert points["score"].tolist() == table["said"].tolist()
        assert points["row"].unique().tolist() == ["1.resid_post, 1", "1.resid_post, 2"]
        assert spec["layer"][-1]["encoding"]["yOffset"]["scale"]["domain"] == list(VARIANTS)

    def test_an_untrained_subject_has_no_effect_to_draw(self, rotated: Path) -> None:
        table = read_rotations(rotated / "circuits/analyses/rotation").table
        spec = rotation_scores(table, "effect").to_dict()
        assert "untrained subject" not in spec["layer"][-1]["encoding"]["color"]["scale"]["domain"]

    def test_what_cannot_be_drawn_is_named(self, rotated: Path) -> None:
        table = read_rotations(rotated / "circuits/analyses/rotation").table
        with pytest.raises(ValueError, match="draws no 'loss'"):
            rotation_scores(table, "loss")
        with pytest.raises(ValueError, match="needs the columns"):
            rotation_scores(table.drop(columns="k"))
        with pytest.raises(ValueError, match="knows no variant 'probe'"):
            rotation_scores(table.assign(variant="probe"))
