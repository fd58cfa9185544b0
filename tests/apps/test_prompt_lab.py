"""The prompt lab without a browser: what texts, tokens and edits show, and what these are held against."""

import base64
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from streamlit.testing.v1 import AppTest
from test_copied_code import Offered, same
from test_views import charts, component, opened, unescaped_tags, words
from tiny_run import HOOK, WICKED

from apps import shown
from models import save_model
from models.spiking import integrator
from models.tasks import BandLimited
from workbench.activations import ActivationStore, harvest
from workbench.cli.lens import make_lens
from workbench.cli.probe import make_probes
from workbench.features import read_prompt
from workbench.features.reading.changed import changed_tokens, with_token
from workbench.features.reading.layers import layers_at, stream_hooks
from workbench.features.reading.units import ElsewhereHeld, unusual_units
from workbench.interventions import TunedLens
from workbench.probing.table_probes import refit
from workbench.runs import Run
from workbench.sae import load_sae

PROMPT = "def make_1(self, value):\n    return self.total"
SECOND = "def make_2(self, value):\n    return self.total"
PANES = {"pane_units": "true", "pane_probes": "true", "pane_lens": "true"}
PROBED = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]


@pytest.fixture(scope="module")
def lab_root(runs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lab` is the tiny run with two hooks recorded and probed, and a tuned lens."""
    root = tmp_path_factory.mktemp("lab")
    run = Run.open(shutil.copytree(runs_root / "tiny", root / "lab"))
    inputs = run.inputs(run.find("dataset"), run.find("model"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    harvest(run.model(), run.dataset(), PROBED, run.path_of("activations", "layers"), inputs=inputs)
    make_probes(run.refresh(), "layers", labels=["is_return", "in_comment"], n_rows=2000, code_length=False)
    make_lens(run.refresh(), tuned=True, n_steps=3, n_tokens=600)
    torch.set_num_threads(threads)
    return root


@pytest.fixture
def lab(lab_root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(lab_root))
    monkeypatch.setenv("WORKBENCH_EXPLORE_RUN", "lab")
    return Run.open(lab_root / "lab")


@pytest.mark.usefixtures("explorer_environment")
class TestPromptLab:
    def test_a_held_out_passage_is_there_to_begin_with(self, runs_root: Path) -> None:
        app = opened("prompt_lab")
        dataset = Run.open(runs_root / "tiny").dataset()
        held_out = [dataset.tokenizer.decode(row.tolist()) for row in dataset.split("test").tokens]
        assert any(app.text_area(key="prompt").value in text for text in held_out)

    def test_a_prompt_in_the_link_is_read(self) -> None:
        prompt = "def make_1(self, value):\n    return"
        app = opened("prompt_lab", prompt=prompt, token="3", layer="1", head="1")
        strip = component(app, "token_strip")
        assert "".join(strip["strips"][0]["tokens"][1:]) == prompt.replace(" ", "·").replace("\n", "↵")
        assert strip["chosen"] == 3
        assert strip["hue"] == "loss"
        assert strip["strips"][0]["values"][0] is None, "nothing predicts the first token"
        grid = component(app, "pattern_grid")
        assert (grid["layer"], grid["head"], grid["query"]) == (1, 1, 3)
        assert "Token 3" in words(app)

    def test_features_that_fire_lead_to_their_pages(self) -> None:
        active = component(
            opened("prompt_lab", prompt="return self.total", token="1"), "link_table", "share of the feature"
        )
        assert all("features?" in row[0]["href"] for row in active["rows"])
        values = [float(row[2]["text"]) for row in active["rows"]]
        assert values == sorted(values, reverse=True)

    def test_a_chosen_feature_colours_the_text(self) -> None:
        active = component(
            opened("prompt_lab", prompt="return self.total", token="2"), "link_table", "share of the feature"
        )
        feature, value = active["ids"][0], float(active["rows"][0][2]["text"])
        strip = component(opened("prompt_lab", prompt="return self.total", f=str(feature)), "token_strip")
        assert strip["hue"] == "activation"
        assert strip["strips"][0]["values"][2] == pytest.approx(value, abs=0.006)

    @pytest.mark.parametrize(
        ("prompt", "sentence"),
        [("value " * 60, "tokens long: with BOS before it, at most 31 fit"), ("", "The prompt is empty")],
    )
    def test_a_prompt_that_cannot_be_read_is_one_sentence(self, prompt: str, sentence: str) -> None:
        app = opened("prompt_lab", prompt="x")
        app.text_area(key="prompt").set_value(prompt).run()
        assert not app.exception
        assert sentence in words(app)

    def test_the_lab_works_without_a_dictionary(self) -> None:
        app = opened("prompt_lab", run="unindexed", prompt="return self")
        assert "No dictionary has been indexed" in words(app)
        assert component(app, "pattern_grid")

    def test_a_feature_that_does_not_exist_is_one_sentence(self) -> None:
        assert "There is no feature '99' in this dictionary" in words(opened("prompt_lab", prompt="return", f="99"))

    def test_the_lab_reads_a_recurrent_subject(self) -> None:
        app = opened("prompt_lab", run="gru", prompt="return self")
        assert "This subject has no attention." in words(app)
        assert component(app, "token_strip")["hue"] == "loss"

    def test_who_sees_the_next_token_expects_none(self) -> None:
        app = opened("prompt_lab", run="both-ways", prompt="return self")
        assert "This subject does not predict the next token" in words(app)
        assert set(component(app, "token_strip")["strips"][0]["values"]) == {None}

    @pytest.mark.parametrize(
        ("run", "sentence"),
        [
            (
                "flip-flop",
                "This model reads 3 numbers a step, not tokens, so it cannot read a typed text: where its states lead, "
                "and which units tell a label, is on the page Dynamics.",
            ),
            (
                "sums",
                "This model has no tokenizer, so it cannot read a typed text: where its heads look in held-out "
                "sequences is on the page Attention.",
            ),
            (
                "aligned",
                "This model answers a source with a target, so it cannot read one typed text: where its heads look in "
                "held-out sequences is on the page Attention.",
            ),
            ("result", "This run holds tables alone, and no subject."),
        ],
    )
    def test_where_no_text_can_be_read_the_lab_says_so(self, run: str, sentence: str) -> None:
        app = opened("prompt_lab", run=run)
        assert sentence in words(app)
        assert not app.error
        assert not app.text_area

    def test_a_population_of_spiking_neurons_leads_to_its_page(self, tmp_path: Path, monkeypatch) -> None:
        data = BandLimited(objective="integral", n_steps=60, dt=0.001, cutoff=20.0).dataset(2, 1, seed=0)
        run = Run.create(tmp_path / "cells")
        data.save(run.path)
        save_model(integrator(10), run.path, inputs={"data": data.id})
        monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(tmp_path))
        monkeypatch.setenv("WORKBENCH_EXPLORE_RUN", "cells")
        for page in ("prompt_lab", "states"):
            app = opened(page)
            assert "This model reads 1 number a step" in words(app)
            assert "is on the page Population." in words(app)
            assert component(app, "session_link")["href"].startswith("population?run=cells")

    def test_a_typed_text_outlasts_a_reload_of_another_page(self) -> None:
        app = opened("prompt_lab", run="tiny", prompt="return self")
        app.switch_page("views/features.py").run()
        assert app.query_params["typed"] == "return self"
        again = opened("features", run="tiny", typed="return self")
        again.switch_page("views/prompt_lab.py").run()
        assert again.text_area(key="prompt").value == "return self"
        assert "typed" not in again.query_params
        assert "typed" not in opened("features", run="tiny").query_params

    def test_what_was_shown_of_one_run_is_forgotten_in_another(self) -> None:
        app = opened("prompt_lab", run="tiny", prompt="return self", f="3", token="1")
        assert component(app, "token_strip")["hue"] == "activation"
        app.selectbox(key="run").set_value("circuits").run()
        assert not app.exception
        assert component(app, "token_strip")["hue"] == "loss"
        assert "f" not in app.query_params
        assert app.query_params["token"] == "1", "the text is the same"


class TestPanes:
    def test_what_is_folded_makes_nothing(self, lab: Run) -> None:
        app = opened("prompt_lab", prompt=PROMPT, token="3")
        said = [component(app, "link_table", "expected next")]
        assert said
        for heading in ("from its mean", "held out", "it would say"):
            with pytest.raises(StopIteration):
                component(app, "link_table", heading)

    def test_units_stand_beside_their_recording(self, lab: Run) -> None:
        app = opened("prompt_lab", prompt=PROMPT, token="3", pane_units="true")
        shown = component(app, "link_table", "from its mean")
        reading = read_prompt(lab.model(), None, PROMPT, hooks=[HOOK])
        elsewhere = ElsewhereHeld.of_recording(ActivationStore.open(lab.path / "activations" / "mlp"), HOOK)
        table = unusual_units(reading.held[HOOK][3].numpy(), elsewhere)
        assert shown["ids"] == table["unit"].head(12).tolist()
        assert [float(row[2]["text"]) for row in shown["rows"]] == pytest.approx(table["percentile"][:12], abs=0.051)
        assert "of the recording mlp. Shows 12 of 48 units" in words(app)

    def test_units_that_were_not_recorded_stand_beside_the_text(self, lab: Run) -> None:
        app = opened("prompt_lab", prompt=PROMPT, token="3", pane_units="true", unit_hook="blocks.1.mlp.hook_post")
        assert "tokens of this very text, for the hook was not recorded" in words(app)
        assert component(app, "link_table", "from its mean")["rows"]

    def test_units_of_a_recurrent_subject_lead_to_their_states(self, explorer_environment: Path) -> None:
        app = opened("prompt_lab", run="gru", prompt=PROMPT, token="3", pane_units="true")
        shown = component(app, "link_table", "from its mean")
        assert all("states?" in row[0]["href"] and "value=h" in row[0]["href"] for row in shown["rows"])

    def test_a_probe_reads_what_it_reads_when_it_is_fitted_again(self, lab: Run) -> None:
        app = opened("prompt_lab", prompt=PROMPT, token="8", pane_probes="true", probe_label="is_return")
        shown = component(app, "link_table", '"yes"')
        table = lab.find("probes")
        store = ActivationStore.open(lab.path / "activations" / "layers")
        reading = read_prompt(lab.model(), None, PROMPT, hooks=PROBED)
        for row, hook in zip(shown["rows"], PROBED, strict=True):
            fitted = refit(store, table.manifest.config, "logistic", hook, ["is_return", "in_comment"])
            told = fitted.read(reading.held[hook][8])
            p = told[(told["label"] == "is_return") & (told["class"] == "1")]["probability"].item()
            assert row[1]["bar"] == pytest.approx(p, abs=1e-3)
        assert [c["label"] for c in shown["columns"]][2:] == ["held out", "control task", "word alone"]
        assert len(component(app, "link_table", "read as")["rows"]) == 2

    def test_the_lens_is_that_of_the_layers(self, lab: Run) -> None:
        app = opened("prompt_lab", prompt=PROMPT, token="3", pane_lens="true")
        shown = component(app, "link_table", "it would say")
        model = lab.model()
        reading = read_prompt(model, None, PROMPT, hooks=stream_hooks(model))
        lens = TunedLens.load(lab.find("analysis").path)
        table = layers_at(model, reading, 3, lens=lens)
        ranks = table[(table["place"] == 1) & table["seed"].isna()].set_index(["hook", "variant"])["rank"]
        assert sorted(int(row[4]["text"].replace(",", "")) for row in shown["rows"]) == sorted(ranks)
        assert any("tuned lens" in row[0]["text"] for row in shown["rows"])
        assert charts(app)

    def test_a_copied_figure_is_the_one_that_is_drawn(self, lab: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        found: dict[str, Offered] = {}

        def noted(chart: Any, table: pd.DataFrame, *, name: str, python: str) -> None:
            found[name] = Offered(chart, table, python)

        monkeypatch.setattr(shown, "taken_along", noted)
        app = opened("prompt_lab", prompt=PROMPT, prompt2=SECOND, token="4", pane_lens="true")
        assert set(found) == {"lens-by-layer", "state-change"}
        assert len(charts(app)) == 2
        same(found)
        assert {"hook", "value", "measure"} <= set(found["lens-by-layer"].table), "what is drawn, not what it is from"

    def test_the_start_of_a_sequence_is_told_apart(self, lab: Run) -> None:
        said = words(opened("prompt_lab", prompt=PROMPT, prompt2=SECOND, token="0", **PANES))
        assert "The start of a sequence is in no recording" in said
        assert "No probe was fitted on the start of a sequence" in said
        assert "Nothing stands in the place of a sequence's start" in said


class TestChanges:
    def test_the_second_text_is_coloured_by_what_became_of_its_loss(self, lab: Run) -> None:
        app = opened("prompt_lab", prompt=PROMPT, prompt2=SECOND, token="5")
        model, sae = lab.model(), load_sae(lab.find("sae").path)
        first, second = (read_prompt(model, sae, text) for text in (PROMPT, SECOND))
        shown = component(app, "token_strip", '"signed"')
        values = [np.nan if v is None else v for v in shown["strips"][0]["values"]]
        assert values == pytest.approx(second.loss - first.loss, abs=1e-3, nan_ok=True)
        assert shown["chosen"] == 5
        tokens = changed_tokens(first, second)
        assert f"of which {tokens['edited'].sum()} are not the first's" in words(app)

    def test_another_token_is_put_in_the_place_of_the_locked_one(self, lab: Run) -> None:
        app = opened("prompt_lab", prompt=PROMPT, token="1", pane_change="true")
        box = next(b for b in app.text_input if b.label.startswith("Instead of"))
        box.set_value("class").run()
        assert not app.exception
        assert app.text_area(key="prompt2").value == PROMPT.replace("def", "class")
        assert app.query_params["prompt2"] == PROMPT.replace("def", "class"), "a link opens it again"
        assert component(app, "token_strip", '"signed"')
        next(b for b in app.button if b.label == "Without the second text").click().run()
        assert not app.exception
        assert [box.key for box in app.text_area] == ["prompt"]
        assert "prompt2" not in app.query_params

    def test_what_was_expected_can_be_put_there(self, lab: Run) -> None:
        app = opened("prompt_lab", prompt=PROMPT, token="3", pane_change="true")
        reading = read_prompt(lab.model(), None, PROMPT)
        others = [word for word, _ in reading.predictions[2] if word != reading.tokens[3]]
        pills = next(group for group in app.get("button_group") if group.proto.id.endswith(f"pick_instead 3 {PROMPT}"))
        pills.set_value(others[0]).run()
        assert not app.exception
        assert app.text_area(key="prompt2").value == with_token(lab.model().tokenizer, PROMPT, 3, others[0])

    def test_the_whole_text_can_be_edited(self, lab: Run) -> None:
        app = opened("prompt_lab", prompt=PROMPT)
        next(b for b in app.button if b.label == "Change the text").click().run()
        assert app.text_area(key="prompt2").value == PROMPT
        app.text_area(key="prompt2").set_value(PROMPT + "[0]").run()
        assert not app.exception
        assert component(app, "token_strip", '"signed"')

    def test_a_second_text_that_cannot_be_read_leaves_the_first(self, lab: Run) -> None:
        app = opened("prompt_lab", prompt=PROMPT, prompt2="value " * 60)
        assert "The second text: the prompt is" in words(app)
        assert component(app, "token_strip")

    def test_a_token_that_is_gone_is_said_to_be(self, lab: Run) -> None:
        n = len(read_prompt(lab.model(), None, PROMPT).tokens)
        app = opened("prompt_lab", prompt=PROMPT, prompt2="def", token=str(n - 1))
        assert "The locked token is not in the second text" in words(app)

    def test_an_edit_moves_nothing_before_it(self, lab: Run) -> None:
        app = opened("prompt_lab", prompt=PROMPT, prompt2=SECOND, token="1")
        assert "Not at all: the edit stands behind it" in words(app)


@pytest.mark.parametrize(
    "prompt",
    [WICKED, ":material/home:", ":red[x] $a$ [l](u)", "a\0b", "🙂 é 漢", "   ", "\n\n", "`x` *y* <b>"],
)
def test_wicked_texts_stay_text(lab: Run, prompt: str) -> None:
    app = opened("prompt_lab", prompt=prompt, prompt2=prompt + "!", token="1", **PANES)
    assert not app.exception
    assert not app.error
    assert not unescaped_tags(app)
    assert "Token 1: " in words(app)


def test_a_text_of_ten_thousand_characters_is_one_sentence(lab: Run) -> None:
    app = opened("prompt_lab", prompt="x", prompt2="y")
    app.text_area(key="prompt").set_value("value " * 1667).run()
    assert not app.exception
    assert "tokens long: with BOS before it, at most 31 fit" in words(app)


@pytest.mark.parametrize("token", ["-1", "999", "<script>", "1e3"])
def test_a_token_that_is_none_of_the_text_is_the_last(lab: Run, token: str) -> None:
    app = opened("prompt_lab", prompt="return self", token=token)
    assert not app.exception
    assert component(app, "token_strip")["chosen"] == len(component(app, "token_strip")["strips"][0]["tokens"]) - 1


def _long_pattern() -> None:
    import torch

    from apps.components.pattern_grid import pattern_grid

    patterns = {0: torch.rand(3, 130, 130, generator=torch.Generator().manual_seed(0)).tril()}
    words = ["x"] * 130
    pattern_grid(words, patterns, key="g", layer=0, head=2, query=5, on_head=lambda: None, on_query=lambda: None)


def test_a_long_texts_small_heads_have_the_largest_weight_of_each_block_and_the_large_head_is_whole() -> None:
    grid = component(AppTest.from_function(_long_pattern).run(), "pattern_grid")
    pattern = torch.rand(3, 130, 130, generator=torch.Generator().manual_seed(0)).tril().numpy()
    assert grid["block"] == [3, 3]
    whole = np.frombuffer(base64.b64decode(grid["pattern"]), np.uint8).reshape(130, 130)
    assert whole / 255 == pytest.approx(pattern[2], abs=0.003)
    for head, packed in enumerate(grid["layers"][0]["heads"]):
        small = np.frombuffer(base64.b64decode(packed), np.uint8).reshape(44, 44) / 255
        for row, column in ((0, 0), (20, 7), (43, 43), (10, 30)):
            block = pattern[head, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            assert small[row, column] == pytest.approx(block.max(), abs=0.003)
