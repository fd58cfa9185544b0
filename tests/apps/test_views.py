"""Each page without a browser: what it shows, what it says when something is missing, what it keeps in the URL."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from tiny_run import D_SAE, WICKED, make_result_run

import apps
from models.metrics_log import read_log
from workbench.features import FeatureIndex
from workbench.runs import Run

ENTRY = Path(apps.__file__).parent / "explorer.py"


def opened(page: str = "runs", **parameters: str | list[str]) -> AppTest:
    """The app at a link."""
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    if page != "runs":
        app.switch_page(f"views/{page}.py")
    app.query_params |= parameters
    app.run()
    assert not app.exception
    return app


def component(app: AppTest, name: str, containing: str = "") -> dict[str, Any]:
    """What the first component of a name was given, or the first whose data has a word in it."""
    found = [c.proto for c in app.get("bidi_component") if c.proto.component_name == name]
    return json.loads(next(p.json for p in found if containing in p.json))


def unescaped_tags(app: AppTest) -> list[str]:
    """What Streamlit's own elements say with an angle bracket that Markdown would take for a tag's."""
    drawn = [*app.title, *app.caption, *app.markdown, *app.subheader, *app.info, *app.warning]
    return [e.value for e in drawn if re.search(r"(?<!\\)<", e.value)]


def charts(app: AppTest) -> list[dict[str, Any]]:
    """What Vega was given, without the data."""
    return [json.loads(chart.proto.spec) for chart in app.get("vega_lite_chart")]


def copied(artifact: str, runs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run of `RUN/KIND/NAME` alone, the artifact under another id: nothing that was read before is shown."""
    name, rest = artifact.split("/", 1)
    run = Path(shutil.copytree(runs_root / name, tmp_path / "runs" / name))
    manifest = run / rest / "manifest.json"
    known = json.loads(manifest.read_text("utf8"))
    known["seed"] = abs(hash(tmp_path)) % 1000 + 1
    manifest.write_text(json.dumps(known), "utf8")
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(tmp_path / "runs"))
    monkeypatch.delenv("WORKBENCH_EXPLORE_RUN", raising=False)
    return run


def words(app: AppTest) -> str:
    """All that the page says in Streamlit's own elements, escapes undone."""
    elements = [*app.title, *app.subheader, *app.caption, *app.markdown, *app.warning, *app.error, *app.info, *app.code]
    return "\n".join(e.value for e in elements).replace("\\", "").replace("\u2060", "")


@pytest.fixture
def index(runs_root: Path) -> FeatureIndex:
    return FeatureIndex.open(Run.open(runs_root / "tiny").find("features").path)


@pytest.mark.usefixtures("explorer_environment")
class TestRuns:
    def test_what_was_trained_and_made(self, runs_root: Path) -> None:
        app = opened()
        facts = {f["label"]: f["value"] for f in component(app, "facts")["facts"]}
        model = Run.open(runs_root / "tiny").model()
        assert facts["Parameters"] == f"{sum(p.numel() for p in model.parameters()):,}"
        assert facts["Context"] == "32"
        artifacts = component(app, "link_table", "whole")["rows"]
        assert [row[0]["text"] for row in artifacts] == ["dataset", "model", "activations", "sae", "features"]

    def test_the_dictionary_stands_beside_its_controls(self) -> None:
        app = opened()
        rows = component(app, "link_table", "loss recovered, zero")["rows"]
        assert [row[0]["text"] for row in rows] == ["trained", "PCA", "random", "neurons"]
        assert {row[1]["text"] for row in rows} == {"4.0"}, "all at the same L0"

    def test_concepts_lead_to_features(self, index: FeatureIndex) -> None:
        table = component(opened(), "link_table", "95% interval")
        single = index.concepts[index.concepts["kind"] == "single"]
        best = single.sort_values("gain_low", ascending=False).iloc[0]
        first = table["rows"][0]
        assert first[0]["text"] == best["concept"]
        assert "inside=" in first[0]["href"], "to all that detect it"
        assert f"feature={best['feature']}" in first[1]["href"]

    def test_a_statement_is_found_by_its_words(self, index: FeatureIndex) -> None:
        rows = component(opened(concept_q="In COMMENT"), "link_table", "95% interval")["rows"]
        known = index.concepts["concept"][index.concepts["kind"] == "single"]
        assert {row[0]["text"] for row in rows} == {c for c in known if "in" in c and "comment" in c}

    def test_a_run_without_an_index_is_shown_and_says_so(self) -> None:
        app = opened(run="unindexed")
        assert "no features to browse yet" in words(app)
        assert component(app, "facts")["facts"]

    def test_an_unknown_run_in_the_link_is_named(self) -> None:
        app = opened(run="<b>gone</b>")
        assert "There is no run <b>gone</b> here: this is tiny." in words(app)
        assert "There is no run <b>gone</b> here: this is tiny." in words(app.run()), "not for a moment alone"


@pytest.mark.usefixtures("explorer_environment")
class TestFeatures:
    def test_the_list_has_every_live_feature(self, index: FeatureIndex) -> None:
        app = opened("features")
        live = int((~index.table["dead"]).sum())
        assert f"{live:,} of {D_SAE:,} features listed" in words(app)

    def test_the_list_is_in_the_order_that_is_asked_for(self, index: FeatureIndex) -> None:
        table = component(opened("features", sort="density"), "link_table")
        live = index.table[~index.table["dead"]]
        assert table["ids"] == live.sort_values("density", ascending=False, kind="stable")["feature"].head(40).tolist()
        assert table["sorted"] == ["density", False]

    def test_filters_come_from_the_link(self, index: FeatureIndex) -> None:
        app = opened("features", q="return", f1=["0.3", "1.0"])
        found = index.table[
            index.table["name"].str.contains("return") | index.table["top_tokens"].str.contains("return")
        ]
        wanted = found[(found["f1"] >= np.float32(0.3)) & ~found["dead"]]["feature"]
        assert app.text_input(key="q").value == "return"
        assert f"{len(wanted):,} of {D_SAE:,} features listed" in words(app)

    def test_nothing_found(self) -> None:
        assert "No feature passes these filters" in words(opened("features", q="no such thing at all"))

    def test_one_feature_has_everything(self, index: FeatureIndex) -> None:
        feature = int(index.table["density"].idxmax())
        record = index.feature(feature)
        app = opened("features", feature=str(feature))
        said = words(app)
        assert f"Feature {feature:,}" in said
        assert record.row["name"] in said
        facts = {f["label"]: f["value"] for f in component(app, "facts")["facts"]}
        assert facts["F1"] == f"{record.row['f1']:.2f}"
        rests_on = next(f["note"] for f in component(app, "facts")["facts"] if f["label"] == "F1")
        assert rests_on == f"≥ {record.row['f1_low']:.2f}, on {record.row['support']:,} tokens"
        assert facts["Best neuron's F1"] == f"{record.row['neuron_f1']:.2f}"
        for heading in (
            "Where it fires",
            "How strongly",
            "What it says next",
            "Tokens it fires on",
            "Concepts it detects",
        ):
            assert heading in said
        strips = component(app, "token_strip")["strips"]
        example = index.examples(feature, "top")[0]
        assert strips[0]["focus"] == example.focus
        assert strips[0]["title"] == f"{example.doc}:{example.line}"
        assert strips[0]["values"] == pytest.approx(example.values, abs=1e-4)
        assert f"f={feature}" in strips[0]["href"]
        neighbours = component(app, "link_table", "Decoder directions")
        assert neighbours["ids"] == record.neighbours["feature"].tolist()

    def test_other_examples_are_a_click_away(self, index: FeatureIndex) -> None:
        feature = int(index.table["density"].idxmax())
        app = opened("features", feature=str(feature), show="From every band")
        strips = component(app, "token_strip")["strips"]
        assert strips[0]["badge"] == "80–100%"
        bands = [int(s["badge"].split("–")[0]) for s in strips]
        assert bands == sorted(bands, reverse=True)

    def test_next_and_back(self) -> None:
        app = opened("features", sort="number")
        first, second = component(app, "link_table")["ids"][:2]
        app = opened("features", sort="number", feature=str(first))
        next(b for b in app.button if b.label == "Next").click().run()
        assert app.query_params["feature"] == str(second)
        next(b for b in app.button if b.label == "All features").click().run()
        assert "feature" not in app.query_params
        assert "features listed" in words(app)

    @pytest.mark.parametrize("asked", ["64", "-1", "<script>", "1e3", "9" * 30, ""])
    def test_a_number_out_of_range_is_one_sentence(self, asked: str) -> None:
        said = words(opened("features", feature=asked))
        assert "in this dictionary: they are numbered 0 to 63." in said
        assert "features listed" in said

    def test_without_an_index_the_commands_are_named(self, runs_root: Path) -> None:
        said = words(opened("features", run="unindexed"))
        path = runs_root / "unindexed"
        assert [f"workbench {verb} --run {path}" in said for verb in ("train", "harvest", "sae", "index")] == [
            False,
            True,
            True,
            True,
        ]


@pytest.mark.usefixtures("explorer_environment")
class TestOtherSubjects:
    """Subjects that are no transformers, or read no text: each page says what is true of them."""

    def facts(self, app: AppTest) -> dict[str, str]:
        found = [json.loads(c.proto.json) for c in app.get("bidi_component") if c.proto.component_name == "facts"]
        return {f["label"]: f["value"] for row in found for f in row["facts"]}

    def test_a_recurrent_subjects_shape(self) -> None:
        facts = self.facts(opened(run="gru"))
        assert facts["Architecture"] == "Recurrent"
        assert facts["Cell"] == "gru (pytorch)"
        assert (facts["Layers"], facts["Width"], facts["Context"]) == ("2", "24", "any length")
        assert not {"Heads", "MLP", "Input", "Task"} & facts.keys()

    def test_a_subject_of_vectors_and_its_task(self, runs_root: Path) -> None:
        app = opened(run="flip-flop")
        facts = self.facts(app)
        data = Run.open(runs_root / "flip-flop").dataset()
        assert (facts["Cell"], facts["Input"], facts["Output"]) == ("lstm", "3", "3")
        assert (facts["Task"], facts["n bits"], facts["n steps"]) == ("flip flop", "3", "12")
        assert facts["Steps"] == f"{len(data) * 12:,}"
        assert "Tokens" not in facts
        learned = component(app, "link_table", "held-out accuracy")
        assert learned["columns"][0]["label"] == "loss, mean squared error"
        log = read_log(runs_root / "flip-flop" / "model" / "metrics.jsonl")
        assert learned["rows"][-1][1]["text"] == f"{log[-1]['heldout_accuracy']:.1%}"

    def test_a_transformer_on_a_task(self) -> None:
        app = opened(run="sums")
        facts = self.facts(app)
        assert (facts["Heads"], facts["Task"], facts["p"]) == ("2", "modular addition", "11")
        assert "MLP" not in facts, "it has none"
        assert component(app, "link_table", "nats an answer")

    def test_a_run_of_tables_shows_its_result(self) -> None:
        app = opened(run="result")
        said = words(app)
        assert "A memory" in said
        bars = {fact["label"]: fact["value"] for fact in component(app, "facts", "no bar")["facts"]}
        assert bars == {"met": "1", "missed": "1", "no bar": "1", "size": "quick"}
        made = component(app, "link_table", "whole")["rows"]
        assert [row[1]["text"] for row in made] == ["result", "spectrum"]
        assert not app.error
        assert WICKED in said
        assert not unescaped_tags(app)

    def test_a_run_of_tables_names_the_subjects_inside_it(
        self, runs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_result_run(tmp_path / "memory")
        shutil.copytree(runs_root / "flip-flop", tmp_path / "memory" / "seed-0")
        monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(tmp_path))
        monkeypatch.delenv("WORKBENCH_EXPLORE_RUN")
        for page in ("runs", "features", "prompt_lab", "states"):
            said = words(opened(page, run="memory"))
            assert "those inside it have one, such as seed-0." in said

    @pytest.mark.parametrize("run", ["gru", "flip-flop", "sums"])
    def test_without_an_index_the_commands_are_named(self, runs_root: Path, run: str) -> None:
        said = words(opened("features", run=run))
        assert f"workbench index --run {runs_root / run}" in said
        assert "workbench train" not in said

    def test_a_run_of_tables_has_no_features(self) -> None:
        said = words(opened("features", run="result"))
        assert "This run holds tables alone, and no subject." in said
        assert "workbench" not in said


class TestTrouble:
    """Runs that are missing, foreign or damaged: a message, and the app goes on."""

    def start(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(root))
        monkeypatch.delenv("WORKBENCH_EXPLORE_RUN", raising=False)

    @pytest.mark.parametrize("made", [True, False])
    def test_no_run_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: bool) -> None:
        folder = tmp_path / "runs"
        if made:
            folder.mkdir()
        self.start(monkeypatch, folder)
        said = words(opened())
        assert "Nothing to explore yet" in said
        assert "workbench demo" in said

    @pytest.mark.parametrize(
        "damage",
        [
            lambda index: (index / "features.parquet").write_bytes(b"PAR1 and then nothing"),
            lambda index: (index / "codes.safetensors").write_bytes(b"\x10"),
            lambda index: (index / "examples.parquet").unlink(),
            lambda index: (index / "manifest.json").write_text("{"),
        ],
    )
    def test_a_damaged_index_is_a_message(self, runs_root: Path, tmp_path: Path, monkeypatch, damage) -> None:
        shutil.copytree(runs_root / "tiny", tmp_path / "runs" / "tiny")
        index = Run.open(tmp_path / "runs" / "tiny").find("features").path
        # Another id: what was opened whole before stays open, and rightly so.
        manifest = json.loads((index / "manifest.json").read_text("utf8"))
        manifest["seed"] = hash(tmp_path) % 1000 + 1
        (index / "manifest.json").write_text(json.dumps(manifest), "utf8")
        damage(index)
        self.start(monkeypatch, tmp_path / "runs")
        app = AppTest.from_file(str(ENTRY), default_timeout=60).run()
        assert not app.exception
        if not app.error:
            app.switch_page("views/features.py").run()
            app.query_params["feature"] = "0"
            app.run()
        assert not app.exception
        assert len(app.error) == 1

    def test_a_wicked_document_name_stays_text(self, explorer_environment: Path, index: FeatureIndex) -> None:
        for feature in range(index.n_features):
            if any(WICKED in example.doc for example in index.examples(feature)[:8]):
                break
        app = opened("features", feature=str(feature))
        titles = [strip["title"] for strip in component(app, "token_strip")["strips"]]
        assert any(WICKED in title for title in titles)
        drawn = [e.value for e in [*app.title, *app.caption, *app.markdown, *app.subheader, *app.html]]
        assert not any("<script" in text for text in drawn)
