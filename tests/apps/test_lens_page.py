"""The interventions page where layers were read and steering was kept: lenses, parts, words, texts."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from test_views import charts, component, copied, opened, unescaped_tags, words
from tiny_run import WICKED
from typechecker import unchecked

from workbench.cli.lens import make_lens
from workbench.cli.steer import AskedDirection, make_steering
from workbench.experiments import LensReading, Steering, read_lens, read_steering
from workbench.features import FeatureIndex
from workbench.figures.words import visible
from workbench.runs import Run


@pytest.fixture(scope="session")
def read_root(runs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run `read`: `tiny` with its layers read, by a tuned lens too, and steered along a latent of its dictionary."""
    root = tmp_path_factory.mktemp("read")
    path = Path(shutil.copytree(runs_root / "tiny", root / "read"))
    index = FeatureIndex.open(Run.open(path).find("features").path)
    feature = int(index.table["max"].idxmax())
    with unchecked():
        make_lens(Run.open(path), tuned=True, n_steps=5, n_tokens=400, prompt=f"# {WICKED}\nreturn self")
        prompts = [f"# {WICKED}", "return self"]
        make_steering(Run.open(path), prompts, AskedDirection(feature=f"small/{feature}"), max_new=5)
    return root


@pytest.fixture
def environment(read_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(read_root))
    monkeypatch.setenv("WORKBENCH_EXPLORE_RUN", "read")
    return read_root / "read"


@pytest.fixture
def lens(read_root: Path) -> LensReading:
    return read_lens(read_root / "read/analyses/lens")


@pytest.fixture
def steering(read_root: Path) -> Steering:
    return read_steering(read_root / "read/analyses/steer")


class TestLens:
    def test_layers_parts_and_words_are_drawn(self, environment: Path) -> None:
        by_layer, bars, likeliest, *_ = (str(chart) for chart in charts(opened("interventions", look="Lens")))
        assert "loss of the next token, nats" in by_layer
        assert "added to its logit" in bars
        assert "probability of the likeliest token" in likeliest

    def test_the_controls_are_among_the_lines(self, environment: Path) -> None:
        by_layer = str(charts(opened("interventions", look="Lens"))[0])
        for variant in ("logit lens", "tuned lens", "shuffled lens", "random rotation", "untrained"):
            assert variant in by_layer

    def test_parts_add_up_to_the_logit(self, environment: Path, lens: LensReading) -> None:
        assert lens.prompt is not None
        assert lens.prompt.attribution is not None
        logit = f"{lens.prompt.attribution['logit'].iloc[0]:,.3f}".replace("-", "−")
        assert f"All parts add up to {logit}: the logit is {logit}." in words(opened("interventions", look="Lens"))

    def test_a_text_that_would_do_harm_is_shown_as_it_is(self, environment: Path) -> None:
        assert not unescaped_tags(opened("interventions", look="Lens"))

    def test_another_measure_comes_from_the_link(self, environment: Path) -> None:
        assert "KL to the subject" in str(charts(opened("interventions", look="Lens", lens_measure="KL"))[0])

    def test_damage_is_a_message(self, environment: Path, read_root: Path, tmp_path: Path, monkeypatch) -> None:
        folder = copied("read/analyses/lens", read_root, tmp_path, monkeypatch) / "analyses/lens"
        pd.DataFrame({"x": [1]}).to_parquet(folder / "result.parquet")
        (error,) = opened("interventions", look="Lens").error
        assert "damaged" in error.value


class TestSteering:
    def test_kept_texts_stand_beside_unsteered_and_random_ones(self, environment: Path, steering: Steering) -> None:
        app = opened("interventions", look="Steering")
        rows = component(app, "link_table", "perplexity")["rows"]
        assert [row[0]["text"] for row in rows] == ["none", "+0.5×", "+1×", "+2×", "+4×"]
        shown = steering.texts.query("sequence == 0 and variant != 'unsteered'").drop_duplicates(["variant", "edit"])
        for row, (_, pushed) in zip(rows[1:], shown.groupby("strength"), strict=True):
            own = pushed.set_index("variant")["text"].map(visible)
            assert [row[2]["text"], row[4]["text"]] == own[["steered", "random direction"]].tolist()
        assert f"Strength 1 is {steering.whole:.2f} of its activation." in words(app)

    def test_another_prompt_comes_from_the_link(self, environment: Path, steering: Steering) -> None:
        app = opened("interventions", look="Steering", steered_prompt="2  return·self")
        said = steering.texts.query("sequence == 1 and variant == 'unsteered'")["perplexity"].iloc[0]
        assert component(app, "link_table", "perplexity")["rows"][0][3]["text"] == f"{said:,.1f}"

    def test_fluency_is_drawn_with_its_unit(self, environment: Path) -> None:
        assert "strength, of its activation" in str(charts(opened("interventions", look="Steering"))[-1])


class TestNothingThere:
    @pytest.mark.usefixtures("explorer_environment")
    def test_the_command_is_named(self, runs_root: Path) -> None:
        assert f"workbench lens --run {runs_root / 'gru'}" in words(opened("interventions", look="Lens", run="gru"))
