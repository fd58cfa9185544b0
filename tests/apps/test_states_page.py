"""The page of recurrent states without a browser: units over a text, those that track labels, spans, the portrait."""

import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
import torch
from test_copied_code import Offered, offered, same
from test_views import component, opened, unescaped_tags, words
from tiny_run import WICKED

from apps import serve_spans
from apps.views import states_labels
from workbench.activations import ActivationStore, harvest
from workbench.cli.dynamics import make_dynamics
from workbench.dynamics import most_varying, read_dynamics, read_states
from workbench.features.spans.bounds import bounds
from workbench.features.spans.sources import RecordedUnits
from workbench.features.spans.spans import active_set, matching_spans
from workbench.runs import Run

__all__ = ["offered"]  # a fixture
PROMPT = "def make_1(self, value):\n    return"
HOOK = "blocks.0.rnn.hook_h"
SPAN = {"from": "3", "to": "5", "threshold": "0.6"}


@pytest.mark.usefixtures("explorer_environment")
class TestRecurrentStates:
    PROMPT = PROMPT

    def test_the_text_is_coloured_by_what_the_unit_holds(self, runs_root: Path) -> None:
        held = read_states(Run.open(runs_root / "gru").model(), self.PROMPT)
        app = opened("states", run="gru", prompt=self.PROMPT, layer="1", unit="5", token="3")
        strip = component(app, "token_strip")
        assert strip["hue"] == "signed"
        assert strip["chosen"] == 3
        assert strip["strips"][0]["values"] == pytest.approx(held.layers[1]["h"][:, 5], abs=1e-4)
        assert strip["max"] == pytest.approx(np.abs(held.layers[1]["h"][:, 5]).max(), abs=1e-4)
        assert "Token 3" in words(app)

    def test_a_gate_in_the_link_is_shown_from_0_to_1(self, runs_root: Path) -> None:
        held = read_states(Run.open(runs_root / "gru").model(), self.PROMPT)
        app = opened("states", run="gru", prompt=self.PROMPT, value="update", unit="7")
        strip = component(app, "token_strip")
        assert (strip["hue"], strip["max"]) == ("activation", 1.0)
        assert strip["strips"][0]["values"] == pytest.approx(held.layers[0]["update"][:, 7], abs=1e-4)
        assert "The update gate is the share of the old state that is kept." in words(app)

    def test_units_are_listed_by_how_much_they_vary_or_by_what_they_hold(self, runs_root: Path) -> None:
        values = read_states(Run.open(runs_root / "gru").model(), self.PROMPT).layers[0]["h"]
        varying = component(opened("states", run="gru", prompt=self.PROMPT), "link_table", "varies by")
        assert varying["ids"] == most_varying(values, 7).tolist()
        asked = {"token": "2", "rank": "strongest here", "unit": str(varying["ids"][0])}
        app = opened("states", run="gru", prompt=self.PROMPT, **asked)
        strongest = component(app, "link_table", "varies by")["ids"]
        assert strongest[:6] == np.argsort(-np.abs(values[2]), kind="stable")[:6].tolist()

    def test_the_cells_own_values_stand_beside_each_other(self, runs_root: Path) -> None:
        values = read_states(Run.open(runs_root / "gru").model(), self.PROMPT).layers[0]
        app = opened("states", run="gru", prompt=self.PROMPT, token="4", unit="2")
        rows = component(app, "link_table", "mean unit")["rows"]
        assert [row[0]["text"] for row in rows] == ["hidden state h", "reset gate", "update gate", "candidate"]
        for row, value in zip(rows, values.values(), strict=True):
            assert float(row[1]["text"].replace("−", "-")) == pytest.approx(value[4, 2], abs=6e-4)

    def test_how_many_units_are_drawn_is_said(self) -> None:
        asked = {"run": "gru", "prompt": self.PROMPT}
        assert "Units 1–16 of 24, those that vary most" in words(opened("states", count="16", **asked))
        assert "Units 17–24 of 24" in words(opened("states", count="16", units="2", **asked))
        assert "All 24 units" in words(opened("states", count="24", **asked))

    def test_both_directions_of_a_bidirectional_network_are_there(self) -> None:
        app = opened("states", run="both-ways", prompt=self.PROMPT, value="h_backward")
        assert "hidden state h, backward" in words(app)
        assert component(app, "token_strip")["strips"][0]["values"]

    def test_the_prompt_is_the_prompt_labs(self) -> None:
        app = opened("prompt_lab", run="gru", prompt=self.PROMPT)
        app.switch_page("views/states.py")
        app.run()
        assert not app.exception
        assert app.text_area(key="prompt").value == self.PROMPT

    @pytest.mark.parametrize(
        ("run", "sentence"),
        [
            ("flip-flop", "where its states lead, and which units tell a label, is on the page Dynamics."),
            ("aligned", "where its heads look in held-out sequences is on the page Attention."),
            ("sums", "A Transformer has no recurrence"),
            ("result", "This run holds tables alone, and no subject."),
        ],
    )
    def test_where_there_is_nothing_to_show_one_sentence_says_so(self, run: str, sentence: str) -> None:
        app = opened("states", run=run)
        assert sentence in words(app)
        assert not app.error
        assert not app.text_area

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ({"prompt": "value " * 2000}, "at most 1023 are read at once"),
            ({"prompt": "x", "unit": "99"}, "There is no such unit in this layer: they are numbered 0 to 23."),
            ({"prompt": "x", "unit": "<script>"}, "There is no such unit in this layer"),
        ],
    )
    def test_what_cannot_be_shown_is_one_sentence(self, asked: dict[str, str], sentence: str) -> None:
        assert sentence in words(opened("states", run="gru", **asked))

    def test_markup_in_a_prompt_stays_text(self) -> None:
        app = opened("states", run="gru", prompt=WICKED, token="1")
        assert "Token 1: <" in words(app)
        assert not unescaped_tags(app)


@pytest.fixture(scope="module")
def read_root(runs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`read` is the GRU with its states recorded, and its fixed points and units that tell labels."""
    root = tmp_path_factory.mktemp("read")
    run = Run.open(shutil.copytree(runs_root / "gru", root / "read"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    inputs = run.inputs(run.find("dataset"), run.find("model"))
    harvest(run.model(), run.dataset(), [HOOK], run.path_of("activations", "h"), inputs=inputs)
    make_dynamics(run.refresh(), n_starts=6, n_tokens=3000)
    torch.set_num_threads(threads)
    return root


@pytest.fixture
def read(read_root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(read_root))
    monkeypatch.setenv("WORKBENCH_EXPLORE_RUN", "read")
    return Run.open(read_root / "read")


class TestUnitsThatTrackALabel:
    def test_each_label_leads_to_its_unit_beside_the_controls(self, read: Run) -> None:
        units = read_dynamics(read.find("analysis").path).units
        best = units[units["chosen"] & (units["variant"] == "trained")].set_index("label")
        table = component(opened("states", run="read", prompt=PROMPT), "link_table", "labels moved")
        assert {row[0]["text"] for row in table["rows"]} == set(best.index)
        for row in table["rows"]:
            label = row[0]["text"]
            asked = parse_qs(urlparse(row[0]["href"]).query)
            assert asked["unit"] == [str(best.loc[label, "unit"])] == [row[1]["text"]]
            assert "tracks" not in asked, "the other labels stay in sight"
            assert float(row[3]["text"].replace("−", "-")) == pytest.approx(best.loc[label, "held_out"], abs=6e-4)
            assert float(row[4]["text"].replace("−", "-")) == pytest.approx(best.loc[label, "shuffled"], abs=6e-4)

    def test_labels_are_found_by_a_word(self, read: Run) -> None:
        table = component(opened("states", run="read", prompt=PROMPT, tracks="RETURN"), "link_table", "labels moved")
        assert [row[0]["text"] for row in table["rows"]] == ["is_return"]

    def test_the_text_that_a_label_leads_to_has_it(self, read: Run) -> None:
        data = read.dataset()
        passage = states_labels._passage.__wrapped__("", "in_comment", data)
        assert passage
        assert "#" in passage
        held_out = [data.tokenizer.decode(row.tolist()) for row in data.split("test").tokens]
        assert any(passage in text for text in held_out)

    def test_without_an_analysis_the_command_is_named(self, explorer_environment: Path) -> None:
        said = words(opened("states", run="gru", prompt=PROMPT, pane_spans="true"))
        assert "workbench dynamics --run" in said
        assert f"workbench harvest --run {explorer_environment / 'gru'} --hooks {HOOK}" in said


class TestSpans:
    def test_the_set_and_the_spans_are_the_librarys(self, read: Run) -> None:
        app = opened("states", run="read", prompt=PROMPT, on_side="either", **SPAN)
        store = ActivationStore.open(read.find("activations").path)
        source = RecordedUnits(store, HOOK, read.dataset().doc_table["name"].to_pylist())
        limits = bounds(source, quantile=0.6, side="either")
        values = read_states(read.model(), PROMPT).layers[0]["h"]
        active = active_set(values, 3, 6, limits)
        found = matching_spans(source, limits, active, 3)
        strips = component(app, "token_strip", "Open this text")["strips"]
        assert [strip["badge"] for strip in strips] == [f"{j:.2f}" for j in found["jaccard"].head(8)]
        text = component(app, "token_strip", '"spans": true')
        assert text["span"] == [3, 6]
        assert text["strips"][0]["values"] == limits.on(values, active).sum(1).tolist()
        for strip, match in zip(strips, found.to_dict("records"), strict=False):
            first, behind = strip["span"]
            assert behind - first == match["length"]
            assert min(strip["values"][first:behind]) >= match["shared"]
            assert match["doc"] in strip["title"]
        shown = {fact["label"]: fact for fact in component(app, "facts", "active set")["facts"]}
        assert shown["spans that share it"]["value"] == f"{len(found):,}"
        assert "random sets" in shown["spans that share it"]["note"]
        labels = component(app, "link_table", "anywhere")
        assert labels["rows"]

    def test_a_match_opens_with_its_span(self, read: Run) -> None:
        app = opened("states", run="read", prompt=PROMPT, on_side="either", **SPAN)
        strip = component(app, "token_strip", "Open this text")["strips"][0]
        asked = {name: value[0] for name, value in parse_qs(urlparse(strip["href"]).query).items()}
        assert asked["threshold"] == "0.6"
        there = opened("states", **asked)
        first, behind = component(there, "token_strip", '"spans": true')["span"]
        tokens = component(there, "token_strip", '"spans": true')["strips"][0]["tokens"]
        assert tokens[first:behind] == strip["tokens"][slice(*strip["span"])]

    def test_without_a_span_the_page_says_how_to_select_one(self, read: Run) -> None:
        said = words(opened("states", run="read", prompt=PROMPT, pane_spans="true"))
        assert "Click the first token of a span" in said

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ({"from": "5", "to": "900"}, "There is no span from token 5 to 900 here"),
            ({"from": "0", "to": "2"}, "they are numbered 1 to"),
            ({"from": "2", "to": "9", "beyond": "a value", "threshold": "1.0"}, "No unit is beyond the threshold"),
        ],
    )
    def test_what_cannot_be_searched_is_one_sentence(self, read: Run, asked: dict[str, str], sentence: str) -> None:
        assert sentence in words(opened("states", run="read", prompt=PROMPT, **asked))

    @pytest.mark.usefixtures("explorer_environment")
    def test_a_transformers_neurons_and_features_are_searched_in_the_prompt_lab(self) -> None:
        states = opened("states", run="tiny")
        assert "A Transformer has no recurrence" in words(states)
        assert component(states, "session_link", "The run both-ways has one")["href"] == "states?run=both-ways"
        assert not states.text_area
        assert (
            "prompt_lab?run=tiny&index=small&pane_spans=true" in component(states, "session_link", "prompt lab")["href"]
        )
        asked = {"run": "tiny", "prompt": PROMPT, "from": "2", "to": "2", "threshold": "0.0", "pane_spans": "true"}
        app = opened("prompt_lab", hook="features of the dictionary", **asked)
        strips = component(app, "token_strip", "Open this text")["strips"]
        assert strips[0]["href"].startswith("prompt_lab?")
        assert "from=" in strips[0]["href"], "which opens the pane"
        assert component(app, "link_table", "anywhere")["rows"]
        neurons = opened("prompt_lab", hook="blocks.0.mlp.hook_post", **(asked | {"threshold": "0.6"}))
        assert component(neurons, "token_strip", "Open this text")["strips"]

    def test_what_a_look_finds_is_not_looked_for_again(self, read: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        app = opened("states", run="read", prompt=PROMPT, on_side="either", **SPAN)
        before = component(app, "token_strip", "Open this text")["strips"]

        def refused(*_: object, **__: object) -> None:
            raise AssertionError("this was found already")

        for name in ("matching_spans", "random_spans", "span_labels", "bounds", "token_strings", "_text_of"):
            monkeypatch.setattr(serve_spans, name, refused)
        app.segmented_control(key="rank").set_value("strongest here").run()
        assert not app.exception
        assert component(app, "token_strip", "Open this text")["strips"] == before


class TestPortrait:
    def test_the_states_lie_over_the_fixed_points(self, read: Run) -> None:
        app = opened("states", run="read", prompt=PROMPT, unit="5", pane_portrait="true")
        assert f"Over it all {len(read_dynamics(read.find('analysis').path).points)} points found" in words(app)

    def test_the_code_makes_the_same_figures(self, offered: Callable[..., dict[str, Offered]], read: Run) -> None:
        found = offered("states", run="read", prompt=f"return {WICKED}", unit="5", pane_portrait="true", value="update")
        assert set(found) == {"text-portrait", "states"}
        same(found)
        table = found["text-portrait"].table
        assert (table["what"] == "point").sum() == len(read_dynamics(read.find("analysis").path).points)
        assert (table["what"] == "trajectory").sum() == len(read_states(read.model(), f"return {WICKED}").tokens) - 1
