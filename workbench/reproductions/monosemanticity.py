"""A dictionary of a language model's MLP: what it costs the model, and whether its features say what neurons do not."""

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from models.progress import progress
from probes.detection import (
    Columns,
    Confusion,
    DenseColumns,
    HeldOut,
    SparseColumns,
    count_labels,
    f1_from_counts,
    f1_of_values,
)
from workbench.features.naming.rows import NamingRows, naming_rows, read_positions
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.dictionaries import Wanted, dictionaries
from workbench.reproductions.python_source import BATCH, HOOK, PythonSource, python_source
from workbench.sae import SAE, SAEConfig, SAETrainConfig, compare_dictionaries, control_dictionaries
from workbench.sae.metrics.labelled_rows import latent_matrix

TITLE = "Features of one MLP are nearer to single concepts than its neurons"
PAPER = "Bricken et al. 2023, Towards Monosemanticity"

K = 16
D_SAE, N_ROWS, FIT_ROWS = 2048, 800_000, 60_000
FULL_D_SAE, FULL_N_ROWS, FULL_FIT_ROWS = 4096, 3_000_000, 200_000  # the paper's eight latents a neuron
TRAINED, NEURONS, CONTROLS = "trained", "neurons", ("random", "PCA")
# From here on a concept is little more than a set of tokens.
TOLD_BY_TOKEN = 0.8
CLEAR = 0.2
N_RESAMPLES = 1000


def reproduce(bench: Bench) -> list[Row]:
    """Train dictionaries, splice them in, and look for the best feature and the best neuron for every exact label."""
    source = python_source(bench)
    positions = read_positions(source.store)
    fit_rows = FULL_FIT_ROWS if bench.full else FIT_ROWS
    rows = naming_rows(source.store, positions, source.model.cfg.d_vocab, bos=0, max_fit_rows=fit_rows)
    worth, concepts, medians = [], [], []
    for seed in range(3 if bench.full else 1):
        compared = _compared(bench, source, seed)
        table = compare_dictionaries(compared, lambda: source.once("test"), source.model, source.documents)
        worth.append(table.assign(seed=seed))
        bench.tell(f"seed {seed}: the best feature and the best neuron for each of {len(rows.names)} concepts")
        found, interval = compare_concepts(source, rows, {n: s for n, s in compared.items() if n != NEURONS})
        concepts.append(found.assign(seed=seed))
        medians.append(interval.assign(seed=seed))
    tables = {
        name: pd.concat(parts, ignore_index=True)
        for name, parts in (("worth", worth), ("concepts", concepts), ("medians", medians))
    }
    for name, found in tables.items():
        bench.table(name, found)
    return [*worth_rows(tables["worth"]), *concept_rows(tables["concepts"], tables["medians"])]


def _compared(bench: Bench, source: PythonSource, seed: int) -> dict[str, SAE]:
    d_sae, n_rows = (FULL_D_SAE, FULL_N_ROWS) if bench.full else (D_SAE, N_ROWS)
    cfg = SAEConfig(d_in=source.store.width(HOOK), d_sae=d_sae, k=K, hook_name=HOOK, seed=seed)
    wanted = {f"topk-seed-{seed}": Wanted(cfg, SAETrainConfig(n_tokens=n_rows, batch_size=BATCH))}
    inputs, rows = source.inputs(bench), {"split": "train", "seed": seed}
    (sae,) = dictionaries(bench, wanted, source.training(seed), inputs=inputs, rows=rows).values()
    return {TRAINED: sae} | control_dictionaries(sae, lambda: source.once("train"))


def compare_concepts(source: PythonSource, rows: NamingRows, saes: dict[str, SAE]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The best column of each dictionary, and the best neuron, for every concept.

    Column and threshold are chosen on the fitting rows and scored on held-out documents.

    Returns:
        A row a concept: `concept`, `base_rate`, `token_f1` (what knowing the token alone gives), and `f1` of each
        dictionary and of the neurons under its name; and the rows of `median_gain`, of all concepts and of those that
        the token does not tell.
    """
    scorer = HeldOut.of(rows.held_out_labels, rows.doc)
    scores = {
        name: scorer.score(held_out, count_labels(fit, rows.fit_labels).best_column())
        for name, fit, held_out in progress(_columns(source, rows, saes), desc="comparing concepts", unit="dictionary")
    }
    here = rows.tokens["this"]
    token_f1 = f1_of_values(here[rows.fit], rows.fit_labels, here[rows.held_out], rows.held_out_labels, rows.d_vocab)
    table = pd.DataFrame(
        {
            "concept": rows.names,
            "base_rate": [score.base_rate for score in scores[NEURONS]],
            "token_f1": token_f1,
            **{name: [score.f1 for score in found] for name, found in scores.items()},
        }
    )
    chosen = {"all": np.ones(len(table), bool), "not told by the token": (table["token_f1"] < TOLD_BY_TOKEN).to_numpy()}
    medians = [
        {"concepts": which} | median_gain(scores[TRAINED], scores[NEURONS], mask)
        for which, mask in chosen.items()
        if mask.any()
    ]
    return table, pd.DataFrame(medians)


def median_gain(
    ours: list[Confusion], theirs: list[Confusion], chosen: Bool[np.ndarray, " concepts"], seed: int = 0
) -> dict[str, float]:
    """The median over concepts of F1(ours) − F1(theirs), its 95% interval over documents, and the share ≥ .2.

    Whole documents are drawn with replacement, the same ones for every concept and both detectors.
    """
    pairs = [(a, b) for a, b, wanted in zip(ours, theirs, chosen, strict=True) if wanted]
    n_documents = len(pairs[0][0].rows)
    even = np.full(n_documents, 1 / n_documents)
    draws = np.random.default_rng(seed).multinomial(n_documents, even, N_RESAMPLES)
    weights = np.vstack([np.ones(n_documents, draws.dtype), draws])

    def f1(results: list[Confusion]) -> Float[np.ndarray, "draw concept"]:
        tp, fired, positives = (
            weights @ np.stack([getattr(result, name) for result in results], axis=1)
            for name in ("tp", "fired", "positives")
        )
        return f1_from_counts(tp, fired, positives)

    gain = f1([a for a, _ in pairs]) - f1([b for _, b in pairs])
    medians = np.median(gain, axis=1)
    low, high = np.quantile(medians[1:], [0.025, 0.975])
    return {
        "n_concepts": len(pairs),
        "median": float(medians[0]),
        "low": float(low),
        "high": float(high),
        "clear": float((gain[0] >= CLEAR).mean()),
    }


def _columns(source: PythonSource, rows: NamingRows, saes: dict[str, SAE]) -> list[tuple[str, Columns, Columns]]:
    """The columns of each dictionary and of the neurons, on the fitting and on the held-out rows."""
    parts = (rows.fit, rows.held_out)
    found: list[tuple[str, Columns, Columns]] = []
    for name, sae in saes.items():
        fit, held_out = (sparse_columns(sp.vstack(_codes(source, sae, part))) for part in parts)
        found.append((name, fit, held_out))
    fit_neurons, held_out_neurons = (
        DenseColumns(np.concatenate([x.half().numpy().T for x in source.in_order(part)], axis=1)) for part in parts
    )
    return [*found, (NEURONS, fit_neurons, held_out_neurons)]


def _codes(source: PythonSource, sae: SAE, rows: Int[np.ndarray, " n"]) -> list[sp.csr_matrix]:
    return [latent_matrix(sae, x) for x in source.in_order(rows)]


def sparse_columns(codes: sp.csr_matrix) -> SparseColumns:
    """Codes, row by row, as the columns that detection reads."""
    columns = codes.tocsc()
    return SparseColumns(
        columns.indptr.astype(np.int64), columns.indices.astype(np.int32), columns.data, columns.shape[0]
    )


def worth_rows(worth: pd.DataFrame) -> list[Row]:
    """What the subject loses, how sparse the code is, how much of the dictionary is dead; controls beside it."""

    def of(column: str, name: str = TRAINED) -> list[float]:
        return worth.loc[worth["dictionary"] == name, column].tolist()

    def beside(column: str) -> str:
        return ", ".join(f"{name} {spread(of(column, name))}" for name in (*CONTROLS, NEURONS))

    zero, l0, dead = of("loss_recovered_zero"), of("l0"), of("dead_fraction")
    size = f"{int(of('d_sae')[0])} latents, {len(zero)} seed(s)"
    return [
        Row(
            f"loss recovered against zero ablation; {size}",
            "0.79 (A/5 0.945)",
            f"{spread(zero)}; {beside('loss_recovered_zero')}",
            "≥ 0.79 in every seed",
            min(zero) >= 0.79,
        ),
        Row(
            "loss recovered against mean ablation",
            "",
            f"{spread(of('loss_recovered_mean'))}; {beside('loss_recovered_mean')}",
        ),
        Row("variance explained", "", f"{spread(of('explained_variance'))}; {beside('explained_variance')}"),
        Row("L0", "", spread(l0, 1), "≤ 20 in every seed", max(l0) <= 20),
        Row(
            f"dead latents, of {of('rows')[0]:,.0f} held-out rows",
            "168 of 4096: 0.041",
            spread(dead),
            "≤ 0.10 in every seed",
            max(dead) <= 0.1,
        ),
    ]


def concept_rows(concepts: pd.DataFrame, medians: pd.DataFrame) -> list[Row]:
    """Best feature against best neuron, for all concepts and for those that are more than a set of tokens."""
    rows = []
    for which, found in medians.groupby("concepts"):
        told = concepts["token_f1"] < (TOLD_BY_TOKEN if which != "all" else np.inf)
        f1 = {name: concepts[told].groupby("seed")[name].median().tolist() for name in (TRAINED, NEURONS, *CONTROLS)}
        low, high, n = found["low"].min(), found["high"].max(), int(found["n_concepts"].iloc[0])
        rows += [
            Row(
                f"median F1 of best feature − best neuron; {which}: {n} concepts",
                "features are more monosemantic",
                f"{spread(found['median'].tolist())}, 95% over documents {low:.3f} to {high:.3f}",
                "> 0, interval too",
                bool(low > 0),
            ),
            Row(
                f"the same: share of concepts where it is ≥ {CLEAR}",
                "",
                f"{spread(found['clear'].tolist())}; median F1 "
                + ", ".join(f"{name} {spread(values)}" for name, values in f1.items()),
            ),
        ]
    return rows
