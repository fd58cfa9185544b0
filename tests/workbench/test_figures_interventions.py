"""Figures of heads and interventions: what is drawn is what the table says, the control's beside it."""

import altair as alt
import numpy as np
import pandas as pd
import pytest

from workbench.figures import (
    alignment_map,
    circuit_graph,
    component_bars,
    composition_map,
    faithfulness,
    head_grid,
    head_scores,
    lens_by_layer,
    lens_map,
    patching_map,
    patching_profile,
    path_effects,
    steering_effect,
)
from workbench.figures.component_bars import MOST, REST
from workbench.figures.palette import NEURONS, RANDOM, TRAINED

WICKED = "<script>window.wicked = 1</script>"


def layers(chart: alt.TopLevelMixin) -> list[tuple[dict, pd.DataFrame]]:
    """The marks inside a chart, each with its table; building them validates the chart against Vega-Lite's schema."""
    spec = chart.to_dict()
    return [(layer, pd.DataFrame(spec["datasets"][layer["data"]["name"]])) for layer in spec["layer"]]


def cells(chart: alt.TopLevelMixin) -> tuple[dict, pd.DataFrame]:
    """The coloured cells of a map of panels."""
    return next((layer, table) for layer, table in layers(chart) if "color" in layer["encoding"])


def domain(layer: dict, axis: str) -> list[str]:
    return layer["encoding"][axis]["scale"]["domain"]


def scores(n_heads: int = 3) -> pd.DataFrame:
    rows = [
        {"layer": layer, "head": head, "text": text, "score": score, "value": layer + head / 10, "positions": 9}
        for layer in range(2)
        for head in range(n_heads)
        for text in ("real", "random repeated")
        for score in ("induction", "entropy")
    ]
    return pd.DataFrame(rows).assign(control=0.2, control_low=0.1, control_high=0.3)


class TestHeadScores:
    def test_every_head_stands_over_its_control(self) -> None:
        control, middle, points, frame = layers(head_scores(scores(), "induction", chosen="1.2"))
        assert domain(points[0], "y") == ["1.2", "1.1", "1.0", "0.2", "0.1", "0.0"], "the best first"
        assert len(points[1]) == 12
        assert control[1][["control_low", "control_high"]].drop_duplicates().to_numpy().tolist() == [[0.1, 0.3]]
        assert middle[0]["encoding"]["x"]["field"] == "control"
        assert frame[1]["name"].tolist() == ["1.2"]

    def test_of_many_heads_the_best_are_drawn(self) -> None:
        _, _, (points, table), _ = layers(head_scores(scores(n_heads=40), "induction"))
        assert len(domain(points, "y")) == 32
        assert table["value"].min() > 1

    def test_heads_of_one_number_at_several_hooks_are_told_apart(self) -> None:
        both = [scores().assign(hook=f"{side}.0.attn.hook_pattern") for side in ("encoder_blocks", "decoder_blocks")]
        _, _, (points, _), _ = layers(head_scores(pd.concat(both).query("layer == 0"), "induction"))
        assert {"encoder_blocks.0.attn.1", "decoder_blocks.0.attn.1"} <= set(domain(points, "y"))

    def test_a_score_that_no_head_has_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no head has the score 'gone': there are induction, entropy"):
            head_scores(scores(), "gone")

    def test_a_grid_has_the_last_layer_on_top_and_the_control_beside(self) -> None:
        table = scores()[lambda t: (t["text"] == "real") & (t["score"] == "induction")]
        layer, drawn = cells(head_grid(table, title="induction"))
        assert domain(layer, "y") == ["0 1", "0 0"]
        assert domain(layer, "x") == ["0 0", "0 1", "0 2", "- 0", "1 0", "1 1", "1 2"]
        assert drawn[drawn["panel"] == "control"]["value"].unique().tolist() == [0.2]
        own = drawn[(drawn["panel"] == "trained") & (drawn["row"] == "1")]
        assert own["value"].tolist() == [1.0, 1.1, 1.2]


def patched() -> pd.DataFrame:
    rows = [
        {"hook": f"blocks.{i}.hook_resid_post", "layer": i, "head": pd.NA, "position": p, "variant": variant, "seed": s}
        | {"effect": 1.0 if variant == "patch" and p == 1 else 0.2 * s}
        for i in range(2)
        for p in range(3)
        for variant, s in (("patch", 0), ("random direction", 0), ("random direction", 1))
    ]
    return pd.DataFrame(rows).astype({"position": "Int64", "head": "Int64"})


class TestPatchingMap:
    def test_controls_are_the_mean_of_their_seeds_on_the_same_colours(self) -> None:
        layer, drawn = cells(patching_map(patched(), ["a", "\n", "a"], changed={1: WICKED}))
        assert domain(layer, "x")[:3] == ["0 0  a", f"0 1  ↵ ({WICKED})", "0 2  a"], "one word at two positions"
        assert layer["encoding"]["color"]["scale"]["domain"] == [-1, 0, 1]
        assert layer["encoding"]["color"]["scale"]["range"][::2] == [NEURONS, TRAINED]
        assert set(drawn.loc[drawn["panel"] == "random direction", "value"]) == {0.1}
        assert set(drawn.loc[(drawn["panel"] == "patch") & drawn["column"].str.startswith("1"), "value"]) == {1.0}

    def test_the_subject_s_last_hook_is_on_top(self) -> None:
        layer, _ = cells(patching_map(patched()))
        assert domain(layer, "y") == ["0 1.resid_post", "0 0.resid_post"]

    def test_long_prompts_have_their_control_below(self) -> None:
        long = pd.concat([patched().assign(position=lambda t, k=k: t["position"] + 3 * k) for k in range(6)])
        layer, _ = cells(patching_map(long))
        assert domain(layer, "y") == ["0 1.resid_post", "0 0.resid_post", "- 0", "1 1.resid_post", "1 0.resid_post"]
        assert len(domain(layer, "x")) == 18

    def test_heads_by_position_have_a_row_each(self) -> None:
        by_head = patched().assign(head=lambda t: t["layer"] + 4, hook="blocks.0.attn.hook_z")
        layer, _ = cells(patching_map(by_head))
        assert domain(layer, "y") == ["0 0.attn.z head 5", "0 0.attn.z head 4"]

    def test_small_effects_are_seen_too(self) -> None:
        layer, _ = cells(patching_map(patched().assign(effect=lambda t: t["effect"] / 100)))
        assert layer["encoding"]["color"]["scale"]["domain"] == pytest.approx([-0.01, 0, 0.01])

    def test_what_was_not_taken_one_at_a_time_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no line says of which head it is"):
            patching_map(patched(), along="head")

    def test_a_profile_has_a_line_a_place_and_the_control_dashed(self) -> None:
        table = pd.DataFrame(
            [
                {"stage": stage, "place": place, "variant": variant, "effect": effect}
                for stage, effect in (("embed", 1.0), ("0", 0.4))
                for place in ("where the prompts differ", "last token")
                for variant in ("patch", "random direction")
            ]
        )
        _, (lines, drawn), _ = layers(patching_profile(table))
        assert len(drawn) == len(table)
        assert lines["encoding"]["strokeDash"]["scale"]["domain"] == ["patch", "random direction"]
        with pytest.raises(ValueError, match="knows no place 'first'"):
            patching_profile(table.assign(place="first"))


class TestLenses:
    def test_words_stand_in_their_cells(self) -> None:
        rows = [
            {"hook": f"blocks.{i}.hook_out", "position": p, "variant": v, "token": " x\n", "probability": 0.25 * p}
            for i in range(2)
            for p in range(2)
            for v in ("logit lens", "untrained")
        ]
        chart = lens_map(pd.DataFrame(rows), ["a", "b"])
        layer, drawn = cells(chart)
        assert set(drawn["word"]) == {"·x↵"}
        assert layer["encoding"]["color"]["scale"]["domain"] == [0, 1.0]
        assert any(of["encoding"].get("text", {}).get("field") == "word" for of, _ in layers(chart))

    def test_a_line_a_lens_with_its_interval(self) -> None:
        rows = [
            {
                "hook": f"blocks.{i}.hook_out",
                "variant": v,
                "measure": m,
                "value": 1.0 - i,
                "low": 0.5 - i,
                "high": 1.5 - i,
            }
            for i in range(2)
            for v in ("logit lens", "untrained")
            for m in ("loss", "kl")
        ]
        rows.append({"hook": None, "variant": "unigram", "measure": "loss", "value": 5.0, "low": 4.0, "high": 6.0})
        band, (lines, drawn), _, (rule, counted) = layers(lens_by_layer(pd.DataFrame(rows), "loss"))
        assert len(drawn) == 4
        assert band[1][["low", "high"]].to_numpy().min() == -0.5
        assert lines["encoding"]["x"]["sort"] == ["0.out", "1.out"]
        assert rule["mark"]["type"] == "rule"
        assert counted["value"].tolist() == [5.0]

    def test_a_measure_that_is_not_there_is_refused(self) -> None:
        empty = pd.DataFrame(columns=["hook", "variant", "measure", "value", "low", "high"])
        with pytest.raises(ValueError, match="no line of 'kl'"):
            lens_by_layer(empty, "kl")


class TestComponentBars:
    def test_many_parts_are_summed_and_nothing_is_lost(self) -> None:
        rng = np.random.default_rng(0)
        parts = pd.DataFrame({"part": [f"head {i}" for i in range(60)], "value": rng.normal(size=60)})
        (bars, drawn), control, _ = layers(component_bars(parts.assign(control_low=-1.0, control_high=1.0)))
        assert len(drawn) == MOST
        assert drawn["part"].iloc[-1].startswith(REST)
        assert drawn["value"].sum() == pytest.approx(parts["value"].sum())
        assert len(control[1]) == MOST - 1
        assert bars["encoding"]["color"]["scale"]["range"] == [TRAINED, NEURONS]
        assert (drawn["sign"] == np.where(drawn["value"] >= 0, "raises the answer", "lowers it")).all()

    def test_a_part_with_two_lines_is_refused(self) -> None:
        with pytest.raises(ValueError, match="one line of every part"):
            component_bars(pd.DataFrame({"part": ["a", "a"], "value": 1.0, "control_low": 0.0, "control_high": 0.0}))


def test_composition_is_drawn_above_random_matrices_and_far_pairs_have_a_dot() -> None:
    pairs = [
        {"kind": kind, "from_layer": 0, "from_head": a, "to_layer": 1, "to_head": b, "value": 0.1 * a, "percentile": p}
        for kind in "KQV"
        for a in range(2)
        for b, p in ((0, 99.5), (1, 50.0))
    ]
    chart = composition_map(pd.DataFrame(pairs).assign(random_mean=0.05))
    _, drawn = cells(chart)
    assert drawn["panel"].unique().tolist() == ["Q-composition", "K-composition", "V-composition"]
    assert drawn.groupby("column")["value"].first().tolist() == pytest.approx([-0.05, 0.05])
    dots = next(table for layer, table in layers(chart) if layer["mark"]["type"] == "point")
    assert len(dots) == 6
    assert set(dots["row"]) == {"1.0"}


def test_an_alignment_stands_beside_the_untrained_one_and_the_truth() -> None:
    table = pd.DataFrame(
        [
            {"target": t, "source": s, "weight": 0.9 if t == s else 0.1, "variant": v, "right": t == s}
            for v in ("trained", "untrained")
            for t in range(2)
            for s in range(3)
        ]
    )
    chart = alignment_map(table, ["x", "x"], ["x", "y", "x"])
    layer, drawn = cells(chart)
    assert domain(layer, "x") == ["0 0  x", "0 1  y", "0 2  x", "- 0", "1 0  x", "1 1  y", "1 2  x"]
    assert len(drawn) == len(table)
    dots = next(of for mark, of in layers(chart) if mark["mark"]["type"] == "point")
    assert len(dots) == 4


class TestCircuitGraph:
    STAGES = (("embed", "pos"), ("0.0", "0.1"), ("logits",))

    def edges(self) -> pd.DataFrame:
        pairs = [("embed", "0.0", 2.0), ("pos", "0.1", -1.0), ("0.0", "logits", 0.5), ("embed", "logits", 0.0)]
        tables = [
            pd.DataFrame(pairs, columns=["sender", "receiver", "score"]).assign(variant=v) for v in ("EAP", "random")
        ]
        return pd.concat(tables)

    def test_the_strongest_edges_of_every_variant(self) -> None:
        halo, (rules, drawn), (_, nodes), *_ = layers(
            circuit_graph(self.edges(), self.STAGES, most=2, known=[("embed", "0.0")])
        )
        assert drawn.groupby("variant")["size"].apply(list).to_dict() == {"EAP": [2.0, 1.0], "random": [2.0, 1.0]}
        assert len(nodes) == 10
        assert halo[1][["sender", "receiver"]].drop_duplicates().to_numpy().tolist() == [["embed", "0.0"]]
        assert rules["encoding"]["strokeWidth"]["scale"]["domain"] == [0, 2.0]
        assert (drawn["y2"] > drawn["y"]).all(), "what is later stands higher"

    def test_an_edge_of_no_node_is_refused(self) -> None:
        with pytest.raises(ValueError, match="the edge of '9.9' has no place"):
            circuit_graph(self.edges().replace("0.1", "9.9"), self.STAGES)


def kept_shares(**about: object) -> pd.DataFrame:
    rows = [
        about | {"seed": seed, "share": share, "share_low": share - 0.1, "share_high": share + 0.1}
        for seed, share in ((pd.NA, 0.9), (0, 0.1), (1, 0.3))
    ]
    return pd.DataFrame(rows)


class TestFaithfulness:
    def test_edges_alone_and_without_stand_beside_the_mean_of_random_circuits(self) -> None:
        table = pd.concat([kept_shares(edges=n, left=left) for n in (5, 20) for left in ("alone", "all but")])
        ends, each, intervals, lines, _ = layers(faithfulness(table))
        assert ends[1]["share"].tolist() == [0, 1], "all ablated, and the whole subject"
        assert sorted(each[1]["share"].unique()) == [0.1, 0.3]
        assert intervals[1][["low", "high"]].drop_duplicates().to_numpy().ravel() == pytest.approx([0.8, 1.0])
        means = lines[1].set_index(["series", "size"])["share"]
        assert means["alone", 5] == 0.9
        assert means["random: all but", 20] == pytest.approx(0.2)
        scale = lines[0]["encoding"]["color"]["scale"]
        grey = dict(zip(scale["domain"], scale["range"], strict=True))
        assert {name for name, hue in grey.items() if hue == RANDOM} == {"random: alone", "random: all but"}

    def test_latents_neurons_and_kept_errors_are_told_apart(self) -> None:
        kinds = (("latents", "as nodes"), ("latents", "kept"), ("neurons", "as nodes"))
        table = pd.concat([kept_shares(nodes=3, errors=errors, dictionary=of) for of, errors in kinds])
        scale = layers(faithfulness(table))[3][0]["encoding"]["color"]["scale"]
        hues = dict(zip(scale["domain"], scale["range"], strict=True))
        assert list(hues)[:3] == ["latents", "latents, errors kept", "neurons"]
        assert hues["latents"] == TRAINED
        assert hues["neurons"] == NEURONS

    def test_nothing_is_not_drawn(self) -> None:
        with pytest.raises(ValueError, match="nothing to draw"):
            faithfulness(kept_shares(edges=5, left="alone")[:0])


class TestPathEffects:
    def paths(self) -> pd.DataFrame:
        ends = [("blocks.0.hook_mlp_out", "blocks.1.attn.hook_v_input[0]"), ("hook_embed", "blocks.0.hook_mlp_in")]
        rows = [
            {"sender": a, "receiver": b, "norm": "recomputed", "variant": variant, "seed": seed, "effect": effect}
            for a, b in ends
            for variant, seed, effect in (
                ("patch", pd.NA, 0.7),
                ("random direction", 0, 0.1),
                ("random direction", 1, 0),
            )
        ]
        return pd.DataFrame(rows).assign(
            effect_low=lambda t: t["effect"] - 0.1, effect_high=lambda t: t["effect"] + 0.1
        )

    def test_a_path_has_a_lane_of_its_own_and_one_of_every_random_direction(self) -> None:
        _, (rules, _), (points, drawn) = layers(path_effects(self.paths()))
        assert domain(points, "y") == ["MLP 0 → 1.0 values", "embed → MLP 0"], "in the order of the table"
        assert drawn.groupby("variant")["effect"].apply(list).to_dict() == {
            "patch": [0.7, 0.7],
            "random direction": [0.1, 0.0, 0.1, 0.0],
        }
        assert points["encoding"]["color"]["scale"]["range"] == [TRAINED, RANDOM]
        assert (rules["encoding"]["x"]["field"], rules["encoding"]["x2"]["field"]) == ("low", "high")
        assert (drawn["high"] - drawn["low"]).to_numpy() == pytest.approx(0.2)

    def test_paths_of_several_norms_are_told_apart(self) -> None:
        both = pd.concat([self.paths(), self.paths().assign(norm="frozen")])
        assert len(domain(layers(path_effects(both))[2][0], "y")) == 4

    def test_an_unknown_variant_is_refused(self) -> None:
        with pytest.raises(ValueError, match="knows no variant 'other'"):
            path_effects(self.paths().assign(variant="other"))


def steered_texts(directions: tuple[str, ...] = ("up",)) -> pd.DataFrame:
    rows = [{"edit": "", "direction": "", "strength": 0.0, "variant": "unsteered", "seed": pd.NA, "loss": 3.0}]
    for i, name in enumerate(directions):
        for s in (1.0, 2.0):
            about = {"edit": f"{name} {s}", "direction": name, "strength": s}
            rows.append(about | {"variant": "steered", "seed": pd.NA, "loss": 3 + s + 10 * i})
            rows += [about | {"variant": "random direction", "seed": k, "loss": 4.0 + k} for k in (0, 1)]
    return pd.DataFrame(rows)


def test_several_directions_have_a_line_each_and_are_never_pooled() -> None:
    table = steered_texts(("up", "down"))
    with pytest.raises(ValueError, match="2 edits have the strength 1: name by"):
        steering_effect(table, "loss")
    _, _, lines, _ = layers(steering_effect(table, "loss", by="direction"))
    means = lines[1].set_index(["series", "strength"])["value"]
    assert means["up", 1.0] == 4.0
    assert means["down", 1.0] == 14.0
    colours = lines[0]["encoding"]["color"]["scale"]
    assert len(set(colours["range"])) == len(colours["domain"]) == 3


def test_steering_stands_beside_random_directions_and_unsteered_text() -> None:
    still, each, lines, _ = layers(steering_effect(steered_texts(), "loss"))
    assert still[1]["value"].tolist() == [3.0]
    assert len(each[1]) == 4
    means = lines[1].set_index(["series", "strength"])["value"]
    assert means["random direction", 1.0] == 4.5
    assert means["steered", 2.0] == 5.0


@pytest.mark.parametrize("figure", [composition_map, component_bars, faithfulness, path_effects, patching_profile])
def test_a_table_without_its_columns_is_refused(figure) -> None:
    with pytest.raises(ValueError, match="needs the columns"):
        figure(pd.DataFrame({"x": [1]}))


def test_an_empty_map_is_refused() -> None:
    empty = scores().assign(value=1.0)[:0]
    with pytest.raises(ValueError, match="nothing to draw"):
        head_grid(empty)
