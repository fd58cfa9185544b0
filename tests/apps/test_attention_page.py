"""The attention page without a browser: patterns of texts and kept sequences, heads beside their controls."""

import base64
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_views import charts, component, copied, opened, unescaped_tags, words
from tiny_run import WICKED

from workbench.experiments.heads_results import (
    DIRECTIONS,
    MOVED,
    PAIRS,
    PROFILES,
    ROLLOUTS,
    SINGULAR,
    SPECTRUM,
    VALUES,
    VIRTUAL,
    HeadSurvey,
    read_heads,
)
from workbench.figures.words import visible
from workbench.runs import Run

ARTIFACT = "circuits/analyses/heads"
TEXT = "return self.total"


@pytest.fixture
def survey(runs_root: Path) -> HeadSurvey:
    return read_heads(Run.open(runs_root / "circuits").find("analysis", "heads").path)


def unpacked(packed: str, n: int, m: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed), np.uint8).reshape(n, m) / 255


@pytest.mark.usefixtures("explorer_environment")
class TestPatterns:
    def test_a_typed_text_is_looked_at_head_by_head(self, runs_root: Path) -> None:
        app = opened("attention", run="circuits", prompt=TEXT, layer="1", head="1", token="2")
        grid = component(app, "pattern_grid")
        assert (grid["layer"], grid["head"], grid["query"]) == (1, 1, 2)
        assert "".join(grid["tokens"][1:]).replace("·", " ") == TEXT
        model = Run.open(runs_root / "circuits").model().eval()
        _, cache = model.run_with_cache(TEXT)
        wanted = cache["blocks.1.attn.hook_pattern"][0, 1].detach().numpy()
        shown = component(app, "attention_text")
        assert shown["label"] == "layer 1, head 1"
        np.testing.assert_allclose(unpacked(shown["pattern"], *wanted.shape), wanted, atol=0.003)
        rows = component(app, "link_table", '"position"')["rows"]
        np.testing.assert_allclose([float(row[2]["text"]) for row in rows], sorted(wanted[2, :3])[::-1], atol=6e-4)

    def test_a_kept_sequence_is_shown_as_it_was_kept(self, survey: HeadSurvey) -> None:
        app = opened("attention", run="circuits", sequence="held out 2", layer="0", head="1")
        n = len(survey.words_of(1))
        grid = component(app, "pattern_grid")
        assert len(grid["tokens"]) == n
        wanted = survey.pattern("blocks.0.attn.hook_pattern", 1)[1].numpy()
        np.testing.assert_allclose(unpacked(grid["layers"][0]["heads"][1], n, n), wanted, atol=1e-6)

    @pytest.mark.parametrize("of", ["typed text", "held out 2"])
    def test_patterns_may_be_weighted_by_values_or_rolled_out(self, of: str, survey: HeadSurvey) -> None:
        at = {"run": "circuits", "prompt": TEXT, "sequence": of, "layer": "1", "head": "0"}
        grid = component(opened("attention", drawn="value-weighted", **at), "pattern_grid")
        n = len(grid["tokens"])
        shown = np.stack([unpacked(head, n, n) for layer in grid["layers"] for head in layer["heads"]])
        assert shown.max() == 1, "the longest there is"
        rolled = component(opened("attention", drawn="rollout", whose="1", **at), "pattern_grid")
        assert rolled["columns"] == ["trained", "before training"]
        assert [layer["name"] for layer in rolled["layers"]] == ["rollout of attention", "rollout of what is moved"]
        own, control = (unpacked(one, n, n) for one in rolled["layers"][0]["heads"])
        np.testing.assert_allclose(own.sum(-1), 1, atol=0.05)
        assert np.abs(own - control).max() > 0.01, "another subject's"
        if of == "held out 2":
            assert survey.values is not None
            of_sequence = [survey.values[f"blocks.{i}.attn.hook_pattern", 1].float().numpy() for i in range(2)]
            wanted = np.concatenate(of_sequence) / max(one.max() for one in of_sequence)
            np.testing.assert_allclose(shown, wanted, atol=0.003)
            np.testing.assert_allclose(own, survey.rollout("target", "attention", "trained", 1), atol=1e-6)

    def test_a_head_that_is_not_there_is_one_sentence(self) -> None:
        said = words(opened("attention", run="circuits", prompt=TEXT, layer="9", head="0"))
        assert "There is no such head here: layers are 0 to 1, heads 0 to 1." in said

    def test_a_text_that_is_too_long_is_one_sentence(self) -> None:
        assert "the context" in words(opened("attention", run="circuits", prompt="x = 1\n" * 40))


@pytest.mark.usefixtures("explorer_environment")
class TestHeads:
    def test_every_head_stands_beside_its_control_and_links_to_its_pattern(self, survey: HeadSurvey) -> None:
        app = opened("attention", run="circuits", prompt=TEXT, score="previous token", text="random repeated")
        table = survey.by_head("previous_token", "random repeated")
        rows = component(app, "link_table", "control's highest")["rows"]
        assert len(rows) == len(table) == 4
        for row, line in zip(rows, table.to_dict("records"), strict=True):
            assert row[0]["text"] == f"{line['layer']}.{line['head']}"
            assert f"layer={line['layer']}&head={line['head']}" in row[0]["href"]
            shown = [float(cell["text"].replace("−", "-")) for cell in row[1:8]]
            names = ["value", "control", "control_high", "copying", "copying_percentile", "cost", "random_cost"]
            np.testing.assert_allclose(shown, [line[name] for name in names], atol=0.051)

    def test_scores_costs_and_composition_are_drawn(self) -> None:
        drawn = charts(opened("attention", run="circuits", prompt=TEXT))
        said = "\n".join(str(chart) for chart in drawn)
        for title in (
            *("rise of the loss, nats (mean ablation)", "above random matrices (dot: 99th percentile)"),
            *("deviations above the mean of all pairs (grey: random head)", "random matrices of the same norm"),
            *("random pairs' 99th percentile", "positions shuffled", "share to the first", "moved elsewhere"),
        ):
            assert title in said.replace("\\'", "'"), title

    def test_the_page_opens_on_the_head_that_stands_out_and_says_why(self, survey: HeadSurvey) -> None:
        app = opened("attention", run="circuits", prompt=TEXT)
        best = survey.standout()
        layer = int(best.hook.split(".")[1])
        grid = component(app, "pattern_grid")
        assert (grid["layer"], grid["head"]) == (layer, best.head)
        said = words(app)
        assert f"head {best.head} of blocks.{layer}.attn" in said
        assert f"{best.value:.3f}, the control's best {best.control:.3f}" in said
        other = opened("attention", run="circuits", prompt=TEXT, layer=str(1 - layer), head="0")
        assert "stands out most" not in words(other)

    def test_what_a_head_s_weights_say_is_told_beside_random(self, survey: HeadSurvey) -> None:
        app = opened("attention", run="circuits", prompt=TEXT, layer="1", head="1")
        assert "What the weights of layer 1, head 1 say" in words(app)
        assert survey.directions is not None
        assert survey.copying is not None
        own = survey.directions[(survey.directions["layer"] == 1) & (survey.directions["head"] == 1)]
        rows = component(app, "link_table", "farthest")["rows"]
        assert len(rows) == 12, "three directions of two circuits, each of two signs"
        first = own[(own["circuit"] == rows[0][0]["text"][:2]) & (own["direction"] == 0) & (own["sign"] == "+")]
        for side, cells in zip(first["side"].unique(), (rows[0][2:5], rows[0][5:8]), strict=True):
            end = first[first["side"] == side]
            assert cells[0]["text"] == "  ".join(visible(text) for text in end["text"])
            assert cells[1]["text"].replace("−", "-") == f"{end['value'].max():.2f}"
            assert cells[2]["text"] == f"{end['random_high'].iloc[0]:.2f}"
        partners = component(app, "link_table", "random's 99%")["rows"]
        assert all("1.1" in row[1]["text"] for row in partners)
        copying = survey.copying.set_index(["layer", "head"]).loc[(1, 1)]
        shown = {fact["label"]: fact for fact in component(app, "facts", "copying")["facts"]}
        assert shown["copying"]["value"].replace("−", "-") == f"{copying['value']:+.3f}"
        assert shown["copying"]["note"].endswith(f"{copying['random_high']:.3f}")

    def test_a_survey_of_before_these_parts_is_still_shown(self, runs_root: Path, tmp_path: Path, monkeypatch) -> None:
        folder = copied(ARTIFACT, runs_root, tmp_path, monkeypatch) / "analyses/heads"
        for name in (PAIRS, DIRECTIONS, SINGULAR, VIRTUAL, SPECTRUM, PROFILES, MOVED, VALUES, ROLLOUTS):
            (folder / name).unlink()
        app = opened("attention", sequence="held out 1")
        assert component(app, "pattern_grid")
        assert "What the weights" not in words(app)

    def test_a_wicked_text_stays_text(self) -> None:
        assert not unescaped_tags(opened("attention", run="circuits", sequence="held out 1", prompt=WICKED))


@pytest.mark.usefixtures("explorer_environment")
class TestAlignments:
    def test_a_decoder_s_attention_is_target_by_source(self, runs_root: Path) -> None:
        survey = read_heads(Run.open(runs_root / "aligned").find("analysis", "heads").path)
        app = opened("attention", run="aligned")
        grid = component(app, "pattern_grid")
        assert len(grid["tokens"]) == len(survey.words_of(0))
        assert len(grid["keys"]) == len(survey.words_of(0, "source")) < len(grid["tokens"])
        assert not grid["causal"]
        assert component(app, "attention_text")["keys"] == grid["keys"]
        assert survey.aligned is not None
        assert f"untrained {survey.aligned.set_index('variant').loc['untrained', 'argmax']:.3f}" in words(app)


class TestNothingThere:
    @pytest.mark.usefixtures("explorer_environment")
    def test_without_a_survey_the_command_is_named_and_patterns_are_shown(self, runs_root: Path) -> None:
        app = opened("attention", run="unindexed", prompt=TEXT)
        assert component(app, "pattern_grid")
        assert [code.value for code in app.code] == [f"workbench heads --run {runs_root / 'unindexed'}"]

    @pytest.mark.usefixtures("explorer_environment")
    @pytest.mark.parametrize(
        ("run", "sentence"),
        [("gru", "A Recurrent like this has no attention"), ("result", "This run holds tables alone, and no subject.")],
    )
    def test_a_subject_without_attention_has_none(self, run: str, sentence: str) -> None:
        app = opened("attention", run=run)
        assert sentence in words(app)
        assert not app.code

    @pytest.mark.parametrize("damage", ["result.parquet", "copying.parquet", "patterns.safetensors"])
    def test_damage_is_a_message(self, damage: str, runs_root: Path, tmp_path: Path, monkeypatch) -> None:
        file = copied(ARTIFACT, runs_root, tmp_path, monkeypatch) / "analyses/heads" / damage
        if damage.endswith("parquet"):
            pd.DataFrame({"x": [1]}).to_parquet(file)
        else:
            file.write_bytes(b"no tensors")
        (error,) = opened("attention").error
        assert "damaged" in error.value
