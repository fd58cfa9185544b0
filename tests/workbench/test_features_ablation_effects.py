"""Taking a feature out of the stream does what a run by hand with its contribution subtracted does."""

import argparse

import numpy as np
import pandas as pd
import pytest
import torch

from models import Dataset, Transformer, TransformerConfig
from models.artifacts import ArtifactError, Manifest, publishing
from models.saving import save_model
from workbench.activations import harvest
from workbench.cli.index_effects import affected, effects_of_next
from workbench.features import FeatureIndex, build_index
from workbench.features.columns import unit_columns
from workbench.features.on_demand.ablation_effects import (
    COLUMNS,
    FEATURE,
    FIRES,
    LOSS,
    PROBABILITY,
    RANDOM,
    SILENT,
    ablation_effects,
)
from workbench.features.on_demand.ablation_effects_kept import best_named, effects_name, keep_effects, kept_effects
from workbench.features.on_demand.feature_map_kept import keep_map, map_name
from workbench.runs import Run
from workbench.sae import SAE, SAEConfig, build_sae, save_sae

HOOK = "blocks.0.hook_resid_post"
N_CTX, D_VOCAB, D = 16, 20, 16
Made = tuple[Transformer, Dataset, SAE, FeatureIndex]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Subject, data, dictionary (its last two features never fire) and index."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, D_VOCAB, (40, N_CTX), generator=generator)
    tokens[:, 0] = 0
    mask = torch.arange(N_CTX) < torch.randint(6, N_CTX + 1, (40,), generator=generator)[:, None]
    tokens[~mask] = 0
    dataset = Dataset(tokens, mask)
    dataset.doc_table = dataset.doc_table.set_column(
        1, "split", [["test" if i % 3 == 0 else "train" for i in range(40)]]
    )
    model = Transformer(TransformerConfig(n_layers=2, d_model=D, n_heads=2, n_ctx=N_CTX, d_vocab=D_VOCAB)).eval()
    sae = build_sae(SAEConfig(d_in=D, d_sae=24, k=3, hook_name=HOOK)).requires_grad_(False)
    sae.b_enc[-2:] = -100.0
    path = tmp_path_factory.mktemp("made")
    store = harvest(model, dataset, [HOOK], path / "rows")
    return model, dataset, sae, build_index(sae, store, model, path / "index", dataset)


def live(index: FeatureIndex) -> int:
    return int(index.table["density"].idxmax())


@torch.no_grad()
def losses_by_hand(model: Transformer, dataset: Dataset, sae: SAE, feature: int) -> tuple[np.ndarray, np.ndarray]:
    """The loss of every next token as it is, and with the latent's contribution subtracted from the stream."""

    def without(x: torch.Tensor, hook: object) -> torch.Tensor:
        f = sae.encode(x.flatten(0, 1))[:, feature] * dataset.counted.flatten()
        return x - (f[:, None] * sae.W_dec[feature]).reshape(x.shape)

    tokens = dataset.tokens
    found = [model(tokens, return_type="logits"), model.run_with_hooks(tokens, fwd_hooks=[(HOOK, without)])]
    asked = dataset.mask[:, 1:]
    return tuple(
        np.where(asked, -x.log_softmax(-1)[:, :-1].gather(2, tokens[:, 1:, None])[..., 0], np.nan) for x in found
    )


def test_the_effect_is_that_of_a_run_by_hand(made: Made) -> None:
    model, dataset, sae, index = made
    feature = live(index)
    n = 200  # all of its examples
    table = ablation_effects(model, sae, index, [feature], dataset, n_examples=n, ahead=4)
    before, after = losses_by_hand(model, dataset, sae, feature)
    rows = sorted({e.row for kind in ("top", "band") for e in index.examples(feature, kind)})
    own = table[(table["variant"] == FEATURE) & (table["where"] == FIRES) & (table["measure"] == LOSS)]
    assert own["ahead"].tolist() == [1, 2, 3, 4]
    for line in own.itertuples():
        at = [(index.rows["seq"][r], index.rows["pos"][r] + line.ahead - 1) for r in rows]
        at = [(s, p) for s, p in at if p < N_CTX - 1 and not np.isnan(before[s, p])]
        change = np.array([after[s, p] - before[s, p] for s, p in at])
        assert line.n == len(at)
        assert line.before == pytest.approx(np.mean([before[s, p] for s, p in at]), abs=1e-5)
        assert line.change == pytest.approx(change.mean(), abs=1e-5)
        assert line.error == pytest.approx(change.std(ddof=1) / len(at) ** 0.5, abs=1e-5)


def test_a_feature_that_never_fires_does_exactly_nothing(made: Made) -> None:
    model, dataset, sae, index = made
    table = ablation_effects(model, sae, index, [23], dataset)
    assert len(table)
    assert set(table["where"]) == {SILENT}
    assert (table["change"] == 0.0).all(), "random directions included: nothing is as large as nothing"


def test_the_tokens_that_rise_and_fall_are_those_of_the_mean_distribution(made: Made) -> None:
    model, dataset, sae, index = made
    feature = live(index)
    table = ablation_effects(model, sae, index, [feature], dataset, n_examples=200, n_tokens=3)
    told = table[(table["measure"] == PROBABILITY) & (table["variant"] == FEATURE)]
    assert len(told) == 6
    assert told["change"].iloc[:3].is_monotonic_decreasing
    assert told["change"].iloc[:3].min() >= 0 >= told["change"].iloc[3:].max()
    assert told["change"].iloc[3] == told["change"].min()
    assert told["before"].between(0, 1).all()
    control = table[(table["measure"] == PROBABILITY) & (table["variant"] == RANDOM)]
    assert control["token"].tolist() == told["token"].tolist()


def test_the_control_takes_out_as_much_along_nothing_in_particular(made: Made) -> None:
    """A dictionary whose row points at random is the control of the same dictionary: only the direction is another."""
    model, dataset, sae, index = made
    feature = live(index)
    table = ablation_effects(model, sae, index, [feature], dataset)
    fires = table[(table["measure"] == LOSS) & (table["where"] == FIRES)]
    own, control = (fires.loc[fires["variant"] == variant, "change"] for variant in (FEATURE, RANDOM))
    assert len(own) == len(control)
    assert not np.allclose(own, control)
    before = sae.W_dec[feature].clone()
    again = ablation_effects(model, sae, index, [feature], dataset)
    assert torch.equal(before, sae.W_dec[feature]), "the dictionary itself is left as it was"
    pd.testing.assert_frame_equal(table, again)


def test_places_are_few_spread_and_as_many_of_either_kind(made: Made) -> None:
    model, dataset, sae, index = made
    table = ablation_effects(model, sae, index, [live(index)], dataset, n_examples=5, ahead=1)
    counts = table[table["measure"] == LOSS].groupby("where")["n"].max()
    assert counts.max() <= 5


def test_what_cannot_be_measured_is_refused_in_one_sentence(made: Made) -> None:
    model, dataset, sae, index = made
    with pytest.raises(ValueError, match="there is no feature 24"):
        ablation_effects(model, sae, index, [0, 24], dataset)
    with pytest.raises(ValueError, match="has no direction that could be taken out"):
        ablation_effects(model, object(), index, [0], dataset)
    with pytest.raises(ValueError, match="not what this index was made of"):
        ablation_effects(model, sae, index, [live(index)], Dataset((dataset.tokens + 1) % D_VOCAB, dataset.mask))


@pytest.fixture
def run(made: Made, tmp_path) -> Run:
    """The same as a run, with an index of the dictionary and one of the hook's units."""
    model, dataset, sae, _ = made
    run = Run.create(tmp_path / "run")
    dataset.save(run.path)
    save_model(model, run.path)
    run = run.refresh()
    inputs = run.inputs(run.find("dataset"), run.find("model"))
    store = harvest(model, dataset, [HOOK], run.path_of("activations", "rows"), inputs=inputs)
    run = run.refresh()
    with publishing(run.path_of("sae", "small"), "sae", inputs=run.inputs(run.find("activations"))) as draft:
        save_sae(sae, draft.path)
    run = run.refresh()
    others = run.inputs(run.find("activations"), run.find("model"), run.find("dataset"))
    inputs = others | run.inputs(run.find("sae"))
    build_index(sae, store, model, run.path_of("features", "small"), dataset, inputs=inputs)
    build_index(unit_columns(store, HOOK), store, model, run.path_of("features", "units"), dataset, inputs=others)
    return run.refresh()


def test_effects_are_kept_in_the_run_and_added_to(run: Run) -> None:
    index = run.find("features", "small")
    opened = FeatureIndex.open(index.path)
    first, second = best_named(opened, 2)
    assert kept_effects(run, index, first) is None
    told: list[tuple[int, int]] = []
    keep_effects(run, index, [first], say=lambda *done: told.append(done))
    one = kept_effects(run, index, first)
    assert one is not None
    assert list(one.columns) == list(COLUMNS)
    keep_effects(run, index, [first, second], say=lambda *done: told.append(done))
    assert told == [(1, 1), (1, 1)], "what was measured is not measured again"
    pd.testing.assert_frame_equal(one, kept_effects(run, index, first))
    both = kept_effects(run, index)
    assert both is not None
    assert set(both["feature"]) == {first, second}
    made = run.refresh().find("analysis", effects_name(index))
    assert index.id in made.manifest.inputs.values()
    assert not made.stale


def test_units_are_taken_out_by_the_same_protocol(run: Run) -> None:
    index = run.find("features", "units")
    keep_effects(run, index, [0])
    found = kept_effects(run, index, 0)
    assert found is not None
    assert found.loc[found["where"] == FIRES, "change"].abs().max() > 0


def test_a_run_that_may_only_be_read_keeps_them_in_the_cache(run: Run, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("workbench.features.on_demand.ablation_effects_kept.may_be_written", lambda run: False)
    index = run.find("features", "small")
    path = keep_effects(run, index, [1])
    assert path.is_relative_to(tmp_path / "cache")
    assert not (run.path / "analyses").exists()
    assert kept_effects(run, index, 1) is not None


def test_the_verb_measures_those_whose_names_hold_best_and_goes_on_from_what_is_there(run: Run) -> None:
    index = run.find("features", "small")
    best = best_named(FeatureIndex.open(index.path), 3)
    keep_effects(run, index, best[:1])
    told = affected(argparse.Namespace(run=str(run.path), effects=3, replace=False, json=True), index)
    assert told["effects"]["features"] == 3
    kept = kept_effects(run.refresh(), index)
    assert kept is not None
    assert set(kept["feature"]) == set(best)
    assert set(effects_of_next(kept)["feature"]) == set(best)


def test_a_damaged_table_is_said(run: Run) -> None:
    index = run.find("features", "small")
    path = keep_effects(run, index, [1])
    (path / "effects.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match="damaged"):
        kept_effects(run, index, 1)


def test_an_analysis_of_the_same_name_that_another_verb_made_is_not_replaced(run: Run, monkeypatch) -> None:
    index = run.find("features", "small")
    for name in (effects_name(index), map_name(index)):
        with publishing(run.path_of("analysis", name), "analysis", config={"verb": "steer"}):
            pass
    with monkeypatch.context() as patched:
        for work in ("ablation_effects_kept.ablation_effects", "feature_map_kept.feature_map"):
            patched.setattr(
                f"workbench.features.on_demand.{work}", lambda *a, **k: pytest.fail("long work before the refusal")
            )
        with pytest.raises(
            ArtifactError, match="small-effects was made by `workbench steer`: move it away, or write over it"
        ):
            keep_effects(run, index, [0])
        with pytest.raises(
            ArtifactError, match="small-map was made by `workbench steer`: move it away, or write over it"
        ):
            keep_map(run, index)
    for name in (effects_name(index), map_name(index)):
        assert run.refresh().find("analysis", name).manifest.config == {"verb": "steer"}
    path = keep_effects(run, index, [0], replace=True)
    assert Manifest.read(path).config["verb"] == "index --effects"
    assert Manifest.read(keep_map(run, index, replace=True)).config["verb"] == "index --map"


def test_where_no_feature_fires_the_verb_says_so(run: Run, monkeypatch) -> None:
    monkeypatch.setattr("workbench.features.on_demand.ablation_effects_kept.best_named", lambda index, n: [])
    with pytest.raises(ValueError, match="no feature of small fires"):
        affected(
            argparse.Namespace(run=str(run.path), effects=3, replace=False, json=True), run.find("features", "small")
        )
