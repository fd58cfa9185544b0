"""The interventions page without a browser: maps, lens and attribution of the same prompts; steering."""

from pathlib import Path

import pandas as pd
import pytest
from test_views import charts, component, copied, opened, unescaped_tags, words
from tiny_run import HOOK, WICKED

from workbench.experiments import Patching, read_patching
from workbench.features import FeatureIndex
from workbench.runs import Run

ARTIFACT = "circuits/analyses/patch"


@pytest.fixture
def patching(runs_root: Path) -> Patching:
    return read_patching(Run.open(runs_root / "circuits").find("analysis", "patch").path)


@pytest.mark.usefixtures("explorer_environment")
class TestExperiment:
    def test_the_metric_of_both_runs_stands_on_top(self, patching: Patching) -> None:
        shown = {
            f["label"]: f["value"]
            for f in component(opened("interventions", run="circuits", patch="patch"), "facts")["facts"]
        }
        assert shown["pairs"] == "1"
        assert float(shown["clean metric"].replace("−", "-")) == pytest.approx(patching.pairs["clean"].mean(), abs=6e-3)

    def test_map_profile_attribution_lens_and_words_are_drawn(self) -> None:
        drawn = charts(opened("interventions", run="circuits", patch="patch"))
        assert len(drawn) == 5
        effect, profile, bars, lens, likeliest = (str(chart) for chart in drawn)
        assert "share of the effect restored" in effect
        assert "where the prompts differ" in profile
        assert "random answers" in bars
        assert "loss of the answer, nats" in lens
        assert "probability of the likeliest token" in likeliest

    def test_parts_add_up_to_the_logit(self, patching: Patching) -> None:
        assert patching.logit_attribution is not None
        said = words(opened("interventions", run="circuits", patch="patch"))
        total = f"{patching.pairs['clean'].mean():+.3f}".replace("-", "−")
        assert f"All parts add up to {total}: the subject's logit difference is {total}." in said

    def test_prompts_are_shown_with_the_word_that_changed(self) -> None:
        app = opened("interventions", run="circuits", patch="patch")
        assert "1 → 2" in words(app)
        (row,) = component(app, "link_table", "corrupt metric")["rows"]
        assert row[0]["text"].startswith(f"#·{WICKED}↵".replace(" ", "·"))
        assert not unescaped_tags(app)

    def test_an_ablation_by_head_says_which(self) -> None:
        app = opened("interventions", run="circuits", patch="by-head")
        assert "Mean ablation by head" in words(app)
        assert "effect on the metric" in str(charts(app)[0])

    def test_whole_hooks_are_a_table_with_their_control(self) -> None:
        app = opened("interventions", run="circuits", patch="whole")
        table = component(app, "link_table", "random direction")
        assert [column["label"] for column in table["columns"]] == ["hook", "patch", "random direction"]
        assert table["rows"][-1][1]["text"] == "+1.000", "the last stream is all that is read"
        assert "Patching by hook" in words(app)

    def test_target_and_source_have_maps_of_their_own(self) -> None:
        app = opened("interventions", run="aligned")
        assert not app.error
        assert "All parts add up to" in words(app)


@pytest.mark.usefixtures("explorer_environment")
class TestSteering:
    def test_steered_text_stands_beside_unsteered_and_random(self) -> None:
        app = opened("interventions", look="Steering", run="tiny", prompt="return self", direction="unit")
        assert not [c for c in app.get("bidi_component") if "perplexity" in c.proto.json]
        next(button for button in app.button if button.label == "Write").click().run()
        assert not app.exception
        table = component(app, "link_table", "perplexity")
        assert [c["label"] for c in table["columns"]][2::2] == ["steered", "random direction"]
        pushes = [row[0]["text"] for row in table["rows"]]
        assert pushes == ["−4×", "−2×", "−1×", "−0.5×", "none", "+0.5×", "+1×", "+2×", "+4×"]
        texts = [row[at]["text"] for row in table["rows"] for at in (2, 4)]
        assert all(text for text in texts if text != texts[9])
        assert texts[9] == ""
        assert all(float(row[3]["text"].replace(",", "")) >= 1 for row in table["rows"])
        effect = str(charts(app)[-1])
        assert "loss of the text, nats a token" in effect
        assert "random direction" in effect
        assert "The text changes at" in words(app)

    def test_a_feature_is_named_and_pushed_by_its_largest_value(self, runs_root: Path) -> None:
        row = FeatureIndex.open(Run.open(runs_root / "tiny").find("features").path).table.iloc[3]
        app = opened("interventions", look="Steering", run="tiny", prompt="return self", f="3", written="true")
        chosen = {n.label: n.value for n in app.number_input}
        assert chosen["Feature"] == 3
        assert chosen["Strength, of its activation"] == pytest.approx(row["max"], abs=0.05)
        assert f"{row['name']}**. The largest value that was recorded: {row['max']:,.2f}" in words(app).replace(
            "\\", ""
        )
        assert len(component(app, "link_table", "perplexity")["rows"]) == 9, "a link to what was written writes it"

    def test_a_units_usual_push_is_its_largest_recorded_size(self) -> None:
        app = opened(
            "interventions", look="Steering", run="tiny", direction="unit", steered_hook=HOOK, prompt="return self"
        )
        assert "recorded values" in words(app)
        assert "was not recorded" in words(opened("interventions", look="Steering", run="gru", prompt="return self"))


class TestNothingThere:
    @pytest.mark.usefixtures("explorer_environment")
    @pytest.mark.parametrize(("run", "option"), [("gru", "--pairs bracket"), ("flip-flop", "--examples")])
    def test_the_command_is_named(self, run: str, option: str, runs_root: Path) -> None:
        app = opened("interventions", run=run)
        assert [code.value for code in app.code] == [f"workbench patch --run {runs_root / run} {option}"]

    @pytest.mark.parametrize("damage", ["result.parquet", "prompts.parquet", "lens.parquet"])
    def test_damage_is_a_message(self, damage: str, runs_root: Path, tmp_path: Path, monkeypatch) -> None:
        folder = copied(ARTIFACT, runs_root, tmp_path, monkeypatch) / "analyses/patch"
        pd.DataFrame({"x": [1]}).to_parquet(folder / damage)
        app = opened("interventions", patch="patch")
        (error,) = app.error
        assert "damaged" in error.value
