"""An index holds what the recording holds: everything in it is counted again here, the slow way."""

import re
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import f1_score, precision_score, recall_score

from models import Dataset, Recurrent, RecurrentConfig, Seq2Seq, Seq2SeqConfig, Transformer, TransformerConfig, at_pos
from models.artifacts import ArtifactError
from models.tasks import Copy
from probes.detection import f1_interval
from workbench.activations import harvest
from workbench.features import FeatureIndex, build_index
from workbench.features.building.logits import direct_logit_effects
from workbench.features.index.tables import write_feature_rows
from workbench.features.naming.detectors import N_DETECTORS
from workbench.sae import SAEConfig, build_sae

HOOK = "blocks.0.mlp.hook_post"
N_CTX, D_VOCAB, D_MLP, D_SAE, K = 16, 30, 32, 64, 4
WORDS = ("even", "odd", "nought")


def make_model() -> Transformer:
    cfg = TransformerConfig(n_layers=2, d_model=16, n_heads=2, d_mlp=D_MLP, n_ctx=N_CTX, d_vocab=D_VOCAB, seed=0)
    return Transformer(cfg).eval()


def make_dataset(n_seq: int = 160, labels: bool = True, test_every: int = 4) -> Dataset:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, D_VOCAB, (n_seq, N_CTX), generator=generator)
    tokens[:, 0] = 0
    lengths = torch.randint(6, N_CTX + 1, (n_seq,), generator=generator)
    mask = torch.arange(N_CTX) < lengths[:, None]
    tokens[~mask] = 0
    docs = torch.arange(n_seq) // 5
    names = [f"doc {i}" for i in range(int(docs.max()) + 1)]
    splits = ["test" if test_every and i % test_every == 0 else "train" for i in range(len(names))]
    flat, bos = tokens[mask].numpy(), tokens[mask].numpy() == 0
    words = pa.array(np.select([flat % 10 == 0, flat % 2 == 0], ["nought", "even"], "odd").tolist(), mask=bos)
    table = {
        "is_large": pa.array(flat > 20, mask=bos),
        "parity": words.dictionary_encode(),
        "tens": pa.array((flat // 10).astype(np.int16), mask=bos),
        "line": pa.array(np.arange(len(flat)).astype(np.int16), mask=bos),
    }
    return Dataset(tokens, mask, docs, pa.table(table) if labels else None, pa.table({"name": names, "split": splits}))


def make_sae(d_in: int = D_MLP, hook: str = HOOK):
    return build_sae(SAEConfig(d_in=d_in, d_sae=D_SAE, k=K, hook_name=hook)).requires_grad_(False)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Subject, recording, dictionary (some of whose features never fire) and index."""
    model, dataset, sae = make_model(), make_dataset(), make_sae()
    sae.b_enc[-3:] = -100.0
    path = tmp_path_factory.mktemp("run")
    store = harvest(model, dataset, [HOOK], path / "a", batch_size=16, shard_rows=300)
    index = build_index(sae, store, model, path / "index", dataset, seed=3)
    return model, dataset, store, sae, index


@pytest.fixture(scope="module")
def codes(made):
    """All codes, dense, rounded as they are published."""
    _, _, store, sae, _ = made
    return sae.encode(store[HOOK][:]).half().float().numpy()


@pytest.fixture(scope="module")
def rows(made):
    return made[2].rows.to_table().to_pandas()


def test_codes_are_the_dictionarys_own(made, codes):
    index = made[-1]
    assert (index.n_features, index.n_rows) == (D_SAE, len(codes))
    for feature in range(D_SAE):
        where, values = index.values(feature)
        assert np.array_equal(where, np.flatnonzero(codes[:, feature]))
        assert np.array_equal(values, codes[where, feature])


def test_the_table_sums_the_codes_up(made, codes, rows):
    table = made[-1].table
    fires = codes > 0
    assert table["feature"].tolist() == list(range(D_SAE))
    assert table["density"].to_numpy() == pytest.approx(fires.mean(0))
    assert table["max"].to_numpy() == pytest.approx(codes.max(0))
    assert table["mean"].to_numpy() == pytest.approx(codes.sum(0) / np.maximum(1, fires.sum(0)), rel=1e-5)
    assert table["dead"].tolist() == (~fires.any(0)).tolist()
    assert table["dead"].tolist()[-3:] == [True] * 3
    docs = [rows["doc"][f].nunique() / rows["doc"].nunique() for f in fires.T]
    assert table["documents"].to_numpy() == pytest.approx(docs)


@pytest.mark.parametrize("architecture", ["standard", "batchtopk", "jumprelu", "gated", "matryoshka_batchtopk"])
def test_an_index_is_made_of_every_architecture(made, rows, tmp_path, architecture):
    """With as many latents active in a row as there are, none in some; near misses are the next that would be."""
    model, dataset, store, _, _ = made
    k = K if "topk" in architecture else None
    sae = build_sae(SAEConfig(d_in=D_MLP, d_sae=D_SAE, k=k, architecture=architecture, hook_name=HOOK))
    sae.requires_grad_(False)
    x = store[HOOK][:]
    pre = sae.pre_activations(x)
    if hasattr(sae, "threshold"):
        sae.threshold.copy_(pre.quantile(torch.linspace(0.7, 0.99, D_SAE), dim=0).diagonal().clamp(min=1e-4))
    if architecture == "gated":
        sae.b_mag.fill_(float(pre.mean()))
        sae.r_mag.fill_(0.5)
    dense = sae.encode(x)
    l0 = (dense > 0).sum(1)
    assert l0.unique().numel() > 5
    torch.testing.assert_close(sae.chosen(pre).to_dense(D_SAE), dense)
    index = build_index(sae, store, model, tmp_path / "index", dataset)
    published = dense.half().float().numpy()
    missed = pre.masked_fill(dense > 0, -torch.inf).numpy()
    for feature in range(0, D_SAE, 5):
        where, values = index.values(feature)
        assert np.array_equal(where, np.flatnonzero(published[:, feature]))
        assert values == pytest.approx(published[where, feature], rel=2e-3)
        best = pd.Series(missed[:, feature]).groupby(rows["seq"]).max().sort_values(ascending=False).head(8)
        found = [e.value for e in index.examples(feature, "near_miss")]
        assert found == pytest.approx([value for value in best if np.isfinite(value)], rel=1e-5, abs=1e-6)
    for control in ("PCA", "random"):  # as sparse as the dictionary: no more alive than could be
        assert index.naming.set_index(["dictionary", "kind"]).loc[(control, "token"), "live"] > 0


def test_a_transcoder_is_indexed_by_what_it_reads_and_pushes_the_logits_where_it_writes(made, tmp_path):
    model, dataset, store, _, _ = made
    out = "blocks.1.hook_mlp_out"
    cfg = SAEConfig(d_in=D_MLP, d_sae=D_SAE, k=K, hook_name=HOOK, d_out=16, hook_name_out=out, skip=True)
    sae = build_sae(cfg).requires_grad_(False)
    index = build_index(sae, store, model, tmp_path / "index", dataset)
    where, values = index.values(3)
    codes = sae.encode(store[HOOK][:]).half().float()[:, 3].numpy()
    assert np.array_equal(where, np.flatnonzero(codes))
    assert np.array_equal(values, codes[where])
    effect = direct_logit_effects(model, out, sae.W_dec)[3].sort(descending=True)
    assert index.feature(3).logits_up["logit"].tolist() == pytest.approx(effect.values[:10].tolist(), abs=1e-5)
    assert set(index.naming["dictionary"]) == {"trained", "PCA", "random", "neurons"}


def test_histogram_tokens_and_documents_count_each_firing_once(made, codes, rows):
    index = made[-1]
    for feature in (0, 7, D_SAE - 1):
        record = index.feature(feature)
        fires = codes[:, feature] > 0
        edges, counts = record.histogram
        assert counts.sum() == fires.sum()
        assert edges[0] == 0
        assert len(edges) == len(counts) + 1
        on = rows[fires].assign(value=codes[fires, feature]).groupby("token")["value"].agg(["size", "mean"])
        for row in record.tokens.itertuples():
            expected = on.loc[int(row.token)]
            assert (row.count, row.mean) == (expected["size"], pytest.approx(expected["mean"]))
        assert record.documents["firings"].sum() == fires.sum()
        assert record.row["name"] == index.table["name"][feature]


def test_top_examples_are_the_strongest_of_each_sequence(made, codes, rows):
    index = made[-1]
    for feature in range(0, D_SAE, 9):
        best = pd.Series(codes[:, feature]).groupby(rows["seq"]).max()
        expected = best[best > 0].sort_values(ascending=False).head(20)
        found = index.examples(feature)
        assert [e.value for e in found] == expected.tolist()
        assert len({e.seq for e in found}) == len(found)


def test_bands_are_fair_and_never_zero(made, codes):
    index = made[-1]
    drawn = 0
    for feature in range(D_SAE):
        top = codes[:, feature].max()
        for example in index.examples(feature, "band"):
            assert example.value > 0
            assert example.band == min(4, int(5 * example.value / top))
            drawn += 1
    for feature in range(0, D_SAE, 8):
        for band in range(5):
            seqs = [e.seq for e in index.examples(feature, "band", band)]
            assert len(seqs) == len(set(seqs)) <= 6
    assert drawn > 5 * D_SAE


def test_near_misses_are_the_highest_rows_that_do_not_fire(made, rows):
    _, _, store, sae, index = made
    x = store[HOOK][:]
    pre = ((x - sae.b_dec) @ sae.W_enc + sae.b_enc).numpy()
    pre[sae.encode(x).numpy() > 0] = -np.inf
    for feature in range(0, D_SAE, 7):
        best = pd.Series(pre[:, feature]).groupby(rows["seq"]).max().sort_values(ascending=False).head(8)
        found = index.examples(feature, "near_miss")
        assert [e.value for e in found] == pytest.approx(best.tolist(), rel=1e-5)
        assert all(e.values[e.focus] == 0 for e in found)


def test_windows_show_their_own_sequence_and_its_losses(made, codes, rows):
    model, dataset, _, _, index = made
    for example in index.with_losses(index.examples(5, "band"), model):
        row = rows.iloc[example.row]
        start = example.row - example.focus
        window = rows.iloc[start : start + len(example.tokens)]
        assert (window["seq"] == example.seq).all()
        assert (example.seq, example.pos) == (row["seq"], row["pos"])
        assert example.tokens == [str(t) for t in window["token"]]
        assert example.values == codes[window.index, 5].tolist()
        assert example.values[example.focus] == example.value
        assert example.doc == f"doc {row['doc']}"
        assert example.line == row["line"]
        length = int(dataset.mask[example.seq].sum())
        loss = model(dataset.tokens[example.seq, :length][None], return_type="loss", loss_per_token=True)[0]
        shown = loss[window["pos"].to_numpy() - 1]
        assert example.losses == pytest.approx(shown.tolist(), abs=1e-5)


def test_windows_end_where_the_sequence_ends_or_the_width_is_reached(made, rows):
    index = made[-1]
    for example in index.examples(5, before=3, after=2):
        of_seq = rows[rows["seq"] == example.seq]
        wanted = of_seq[(of_seq["pos"] >= example.pos - 3) & (of_seq["pos"] <= example.pos + 2)]
        assert example.tokens == [str(t) for t in wanted["token"]]


def test_logits_follow_the_direct_path(made):
    """Against the path multiplied out from the model's own weights, norm and all, without folding."""
    model, _, _, sae, index = made
    written = sae.W_dec @ model.blocks[0].mlp.W_out
    written = (written - written.mean(1, keepdim=True)) * model.ln_final.w
    effect = written @ model.W_U
    effect = (effect - effect.mean(1, keepdim=True)).detach()
    record = index.feature(11)
    expected = effect[11].sort(descending=True)
    assert record.logits_up["logit"].tolist() == pytest.approx(expected.values[:10].tolist(), abs=1e-5)
    assert record.logits_up["token"].tolist() == [str(i) for i in expected.indices[:10].tolist()]
    assert record.logits_down["logit"].tolist() == pytest.approx(expected.values.flip(0)[:10].tolist(), abs=1e-5)


def test_neighbours_by_decoder_and_by_firing(made, codes):
    _, _, _, sae, index = made
    unit = torch.nn.functional.normalize(sae.W_dec, dim=1)
    cosine = (unit @ unit.T).fill_diagonal_(-2).numpy()
    fires = codes > 0
    for feature in (2, 30):
        record = index.feature(feature)
        assert record.neighbours["cosine"].tolist() == pytest.approx(np.sort(cosine[feature])[::-1][:10].tolist())
        assert record.neighbours["name"].tolist() == index.table["name"][record.neighbours["feature"]].tolist()
        for row in record.coactive.itertuples():
            a, b = fires[:, feature], fires[:, row.feature]
            assert row.jaccard == pytest.approx((a & b).sum() / (a | b).sum())
            assert row.correlation == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-5)
        others = [i for i in range(D_SAE) if i != feature and (fires[:, feature] & fires[:, i]).any()]
        best = max(np.corrcoef(fires[:, feature], fires[:, i])[0, 1] for i in others)
        assert record.coactive["correlation"].iloc[0] == pytest.approx(best, abs=1e-5)


def meaning(concept: str, rows: pd.DataFrame) -> np.ndarray:
    """A concept's name, read back as a person would: where it holds."""
    held = np.ones(len(rows), bool)
    for part in concept.split(" and "):
        if part == "large":
            held &= rows["is_large"].to_numpy(bool)
        elif match := re.fullmatch(r"parity is (\w+)", part):
            held &= (rows["parity"] == match[1]).to_numpy()
        elif match := re.fullmatch(r"tens (=|≥) (\d)", part):
            number = rows["tens"].to_numpy()
            held &= number == int(match[2]) if match[1] == "=" else number >= int(match[2])
        elif match := re.fullmatch(r"(this|previous|next) token is(?: one of)?: ([^+]*)", part):
            token = rows["token"]
            shift = {"this": 0, "previous": 1, "next": -1}[match[1]]
            moved = token.groupby(rows["seq"]).shift(shift)
            moved = moved.fillna(0 if match[1] == "previous" else -1)
            held &= moved.isin([int(t) for t in re.findall(r"\d+", match[2])]).to_numpy()
        else:
            raise AssertionError(f"a name that says nothing: {part}")
    return held


def test_names_mean_what_they_say_on_held_out_documents(made, codes, rows):
    store, index = made[2], made[-1]
    test = (rows["split"] == "test").to_numpy()
    activations = store[HOOK][:].half().float().numpy()
    checked = set()
    for feature in range(D_SAE):
        for name in index.feature(feature).concepts.itertuples():
            if "more)" in name.concept:
                continue
            truth = meaning(name.concept, rows)[test]
            fires = ((codes[:, feature] > 0) & (codes[:, feature] >= name.threshold))[test]
            assert name.f1 == pytest.approx(f1_score(truth, fires, zero_division=0), abs=1e-6)
            assert name.precision == pytest.approx(precision_score(truth, fires, zero_division=0))
            assert name.recall == pytest.approx(recall_score(truth, fires, zero_division=0))
            assert name.base_rate == pytest.approx(truth.mean())
            assert name.support == truth.sum()
            low, high = f1_interval(*(np.array(part.sum()) for part in (truth & fires, fires, truth)))
            assert name.f1_low == pytest.approx(low if (truth & fires).any() else 0, abs=1e-6)
            assert name.f1_low <= name.f1 <= high or name.f1 in (0, 1)
            neuron = name.neuron_sign * activations[:, name.neuron]
            # No threshold of that neuron does better here than the best one.
            hits = truth[np.argsort(-neuron[test], kind="stable")].cumsum()
            reachable = (2 * hits / (np.arange(1, len(hits) + 1) + truth.sum())).max()
            assert 0 <= name.neuron_f1 <= reachable + 1e-6
            checked.add((name.kind, " and " in name.concept))
    assert {("token", False), ("syntax", False)} <= checked


def test_of_each_concept_the_best_features_are_kept(made, codes, rows):
    index = made[-1]
    test = (rows["split"] == "test").to_numpy()
    trains = ~test
    assert index.config["results"]["n_fit_rows"] == trains.sum(), "all training rows are fitted on"
    assert set(index.detectors["concept"]) <= set(index.concepts["concept"])
    best = index.concepts.set_index("concept")
    for concept, found in index.detectors.groupby("concept"):
        truth = meaning(concept, rows)
        assert found["rank"].tolist() == list(range(len(found)))
        assert len(found) <= N_DETECTORS
        assert found["fit_f1"].is_monotonic_decreasing
        assert found["feature"].iloc[0] == best.loc[concept, "feature"]
        for line in found.itertuples():
            fires = (codes[:, line.feature] > 0) & (codes[:, line.feature] >= line.threshold)
            assert line.f1 == pytest.approx(f1_score(truth[test], fires[test], zero_division=0), abs=1e-6)
            assert line.support == truth[test].sum()
        # None that was left out would have been better where they were chosen, firing wherever it fires.
        left_out = np.setdiff1d(np.arange(D_SAE), found["feature"])
        reached = [f1_score(truth[trains], codes[trains, f] > 0, zero_division=0) for f in left_out]
        assert max(reached) <= found["fit_f1"].iloc[-1] + 1e-6


def test_an_index_made_before_names_had_a_support_has_it_counted_back(made, tmp_path):
    index = made[-1]
    old = shutil.copytree(index.path, tmp_path / "old")
    (old / "detectors.parquet").unlink()
    for name in ("features", "names"):
        kept = pd.read_parquet(old / f"{name}.parquet").drop(columns=["f1_low", "support"])
        (write_feature_rows if name == "names" else pd.DataFrame.to_parquet)(kept, old / f"{name}.parquet")
    opened = FeatureIndex.open(old)
    assert opened.detectors is None
    columns = ["f1_low", "support"]
    pd.testing.assert_frame_equal(opened.table[columns], index.table[columns])
    for feature in range(D_SAE):
        mine, theirs = (i.feature(feature).concepts[columns] for i in (opened, index))
        pd.testing.assert_frame_equal(mine, theirs, check_dtype=False)


def test_the_shown_name_is_the_best_one_or_none(made):
    index = made[-1]
    for feature in range(D_SAE):
        row, concepts = index.feature(feature).row, index.feature(feature).concepts
        if row["dead"]:
            assert (row["kind"], row["name"], len(concepts)) == ("none", "no concept found", 0)
        elif concepts["f1"].iloc[0] < 0.3 or concepts["lift"].iloc[0] < 2:
            assert (row["kind"], row["name"]) == ("none", "no concept found")
            assert row["f1"] == pytest.approx(concepts["f1"].iloc[0])
        else:
            assert (row["kind"], row["name"]) == (concepts["kind"].iloc[0], concepts["concept"].iloc[0])


def test_comparison_tables_cover_every_dictionary_and_concept(made, rows):
    index = made[-1]
    assert set(zip(index.naming["dictionary"], index.naming["kind"], strict=True)) == {
        (name, kind) for name in ("trained", "PCA", "random", "neurons") for kind in ("token", "syntax")
    }
    live = index.naming.set_index(["dictionary", "kind"])["live"]
    assert live["neurons", "token"] == D_MLP
    assert live["trained", "syntax"] == D_SAE - index.table["dead"].sum()
    concepts = index.concepts
    assert {"large", "parity is even", "parity is odd", "tens = 1"} <= set(concepts["concept"])
    assert not concepts["concept"].str.contains("line").any()
    assert concepts["gain"].to_numpy() == pytest.approx((concepts["feature_f1"] - concepts["neuron_f1"]).to_numpy())
    inside = (concepts["gain_low"] <= concepts["gain"]) & (concepts["gain"] <= concepts["gain_high"])
    assert inside.mean() > 0.9
    for row in concepts.itertuples():
        test = (rows["split"] == "test").to_numpy()
        assert row.base_rate == pytest.approx(meaning(row.concept, rows)[test].mean())


def test_the_same_seed_makes_the_same_index(made, tmp_path):
    model, dataset, store, sae, index = made
    again = build_index(sae, store, model, tmp_path / "again", dataset, seed=3)
    assert again.id == index.id


def test_without_labels_names_come_from_tokens_alone(made, tmp_path):
    model, _, _, sae, _ = made
    dataset = make_dataset(labels=False)
    store = harvest(model, dataset, [HOOK], tmp_path / "a")
    index = build_index(sae, store, model, tmp_path / "index", dataset)
    assert set(index.naming["kind"]) == {"token"}
    assert set(index.table["kind"]) <= {"token", "none"}
    assert index.concepts.empty
    assert index.examples(0)[0].line is None


def test_few_fitting_rows_are_whole_documents(made, tmp_path):
    model, dataset, store, sae, index = made
    small = build_index(sae, store, model, tmp_path / "small", dataset, max_fit_rows=500)
    results = small.config["results"]
    assert 300 < results["n_fit_rows"] <= 500
    assert results["n_held_out_rows"] == index.config["results"]["n_held_out_rows"]


def test_an_index_is_refused_before_any_work(made, tmp_path):
    model, dataset, store, sae, _ = made
    with pytest.raises(ValueError, match=f"rows of width 8, but {HOOK} is {D_MLP} wide"):
        build_index(make_sae(d_in=8), store, model, tmp_path / "x", dataset)
    with pytest.raises(ValueError, match="no recording of 'blocks.1.mlp.hook_post'"):
        build_index(make_sae(hook="blocks.1.mlp.hook_post"), store, model, tmp_path / "x", dataset)
    crosscoder = build_sae(SAEConfig(d_in=D_MLP, d_sae=D_SAE, k=K, n_layers=2, hook_names=(HOOK, HOOK)))
    with pytest.raises(ValueError, match="a crosscoder's are of several hooks at once"):
        build_index(crosscoder, store, model, tmp_path / "x", dataset)
    untested = make_dataset(test_every=0)
    with pytest.raises(ValueError, match="no test documents"):
        build_index(sae, harvest(model, untested, [HOOK], tmp_path / "a"), model, tmp_path / "x", untested)
    assert not (tmp_path / "x").exists()


def test_questions_about_features_that_are_not_there(made):
    index = made[-1]
    for ask in (index.feature, index.values, index.examples):
        with pytest.raises(ValueError, match=f"numbered 0 to {D_SAE - 1}"):
            ask(D_SAE)
    with pytest.raises(ValueError, match="no examples of the kind 'best'"):
        index.examples(0, "best")


def test_an_open_index_outlives_its_folder_and_a_damaged_one_is_named(made, tmp_path):
    index = made[-1]
    copy = tmp_path / "copy"
    shutil.copytree(index.path, copy)
    opened = FeatureIndex.open(copy)
    assert opened.table.equals(index.table)
    assert opened.examples(3) == index.examples(3)
    codes = (copy / "codes.safetensors").read_bytes()
    (copy / "codes.safetensors").unlink()
    (copy / "codes.safetensors").write_bytes(codes[: len(codes) // 2])
    with pytest.raises(ArtifactError, match="cut short"):
        [FeatureIndex.open(copy).values(feature) for feature in range(D_SAE)]
    (copy / "examples.parquet").unlink()
    with pytest.raises(ArtifactError, match="examples.parquet is missing"):
        FeatureIndex.open(copy)
    shutil.rmtree(copy)
    assert opened.feature(3).concepts.equals(index.feature(3).concepts)
    with pytest.raises(ArtifactError, match="not an artifact"):
        FeatureIndex.open(copy)


def test_a_subject_of_vectors_is_indexed_by_its_labels(tmp_path):
    """No token stands anywhere: features are named by what the labels say, and by nothing else."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(80, 10, 2, generator=generator)
    up = pa.array((inputs[..., 0] > 0.5).flatten().numpy())
    split = ["test" if i % 4 == 0 else "train" for i in range(80)]
    dataset = Dataset(inputs, labels=pa.table({"up": up}), doc_table=pa.table({"name": split, "split": split}))
    model = Recurrent(RecurrentConfig(cell="gru", d_model=8, d_in=2, d_out=2))
    sae = make_sae(8, "blocks.0.rnn.hook_h")
    store = harvest(model, dataset, [sae.cfg.hook_name], tmp_path / "a")
    index = build_index(sae, store, model, tmp_path / "f", dataset)
    assert index.vocabulary == ["any step"]
    assert set(index.concepts["concept"]) >= {"up"}
    example = index.examples(int(index.table["firings"].argmax()))[0]
    assert set(example.tokens) == {"any step"}
    assert index.feature(0).logits_up is None  # what it reads out is no token


def test_the_direct_path_from_a_recurrent_state_is_the_read_out():
    """Adding a direction to the last step's state moves the logits by just that, up to what softmax ignores."""
    model = Recurrent(RecurrentConfig(cell="gru", d_model=8, d_vocab=D_VOCAB, n_layers=2))
    direction = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[0, 3, 5]])
    hook = "blocks.1.rnn.hook_h"
    moved = model.run_with_hooks(tokens, fwd_hooks=[(hook, at_pos(lambda h, hook: h + direction, 2))])
    expected = direct_logit_effects(model, hook, direction)[0]
    difference = (moved - model(tokens))[0, -1]
    torch.testing.assert_close(difference - difference.mean(), expected, atol=1e-5, rtol=1e-4)
    assert direct_logit_effects(model, "blocks.0.rnn.hook_h", direction) is None


def test_an_encoders_features_are_indexed_on_its_source(tmp_path):
    task = Copy()
    dataset = task.dataset(60, 30)
    cfg = Seq2SeqConfig(
        cell="gru", d_model=8, d_vocab=task.shape["d_vocab"], d_vocab_source=task.shape["d_vocab_source"]
    )
    sae = make_sae(8, "encoder_blocks.0.rnn.hook_h")
    model = Seq2Seq(cfg)
    store = harvest(model, dataset, [sae.cfg.hook_name], tmp_path / "a")
    assert len(store) == int(dataset.source_mask.sum())
    _, cache = model.run_with_cache(**dataset.batch(slice(None)))
    torch.testing.assert_close(store[sae.cfg.hook_name][:], cache[sae.cfg.hook_name][dataset.source_mask])
    index = build_index(sae, store, model, tmp_path / "f", dataset)
    assert np.array_equal(index.rows["token"], dataset.source[dataset.source_mask].numpy())
    both = harvest(model, dataset, [sae.cfg.hook_name, "decoder_blocks.0.rnn.hook_h"], tmp_path / "b")
    assert np.array_equal(build_index(sae, both, model, tmp_path / "g", dataset).rows["token"], index.rows["token"])
