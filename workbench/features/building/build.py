"""`build_index`: make the feature index of one dictionary over one recording."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from models.artifacts import publishing
from models.dataset import Dataset
from models.tensor_files import save_tensors
from probes.detection import DenseColumns, SparseColumns
from workbench.activations import ActivationStore
from workbench.features.building.collect import Codes, Collected, check_sae, collect
from workbench.features.building.examples import choose_examples
from workbench.features.building.logits import direct_logit_effects, logit_table
from workbench.features.building.neighbours import coactive_features, decoder_neighbours
from workbench.features.columns import UNITS, Columns, Dictionary, write_columns
from workbench.features.index.feature_index import KIND, FeatureIndex
from workbench.features.index.tables import write_feature_rows
from workbench.features.naming.comparison import NEURONS, PCA, RANDOM, TRAINED, Naming, name_features
from workbench.features.naming.names import ColumnSet
from workbench.features.naming.rows import MAX_FIT_ROWS, NamingRows, naming_rows, read_positions
from workbench.features.vocabulary import dataset_words
from workbench.sae import SAE
from workbench.sae.controls import Moments, control_config, pca_dictionary, random_dictionary

MOMENT_ROWS = 65_536
# Rows on which the controls' sparsity and the random dictionary's one factor are fitted.
CONTROL_ROWS = 4096
TOP_TOKENS = 5


def build_index(
    sae: SAE | Columns,
    store: ActivationStore,
    model: Any,
    out: str | Path,
    dataset: Dataset,
    *,
    inputs: dict[str, str] | None = None,
    max_fit_rows: int = MAX_FIT_ROWS,
    seed: int = 0,
) -> FeatureIndex:
    """Index every feature of a dictionary, or unit, head or probe, from one pass over its hook's recording; name it.

    The codes, and all that is drawn from them, are of all rows. Names, and the controls beside them, are chosen on
    training documents drawn until they hold `max_fit_rows` rows and judged on all test documents: the same rows for
    the dictionary, PCA, random directions and neurons. Without labels, names come from tokens alone. Units are neurons
    themselves: they are held against random directions and PCA alone. How much a head writes is no linear map, and so
    has no decoder: an index of heads has no neighbours by direction, and no logits.

    Args:
        sae: a dictionary of any architecture, or a transcoder, whose `cfg.hook_name` names the hook that it reads; or
            what `workbench.features.columns` makes of units, heads or probes.
        store: a recording of that hook over `dataset`.
        model: the subject, for the direct path to the logits.
        out: the artifact's folder, `RUN/features/NAME`.
        dataset: what was recorded: document names and the tokenizer.
        inputs: the manifest's inputs, where `out` lies in a run; the recording's id otherwise.
        max_fit_rows: see above.
        seed: of the examples and the drawn documents.

    Raises:
        ValueError: a crosscoder, the hook is not in the recording, the dictionary's width does not fit, there are no
            test documents; before any long work.
    """
    columns = sae if isinstance(sae, Columns) else None
    read_by = sae.dictionary if isinstance(sae, Columns) else sae
    hook = read_by.cfg.hook_name
    check_sae(read_by, store, hook)
    store = store.on(store.axis_of(hook))
    positions = read_positions(store)
    read = dataset.on_axis(store.axis)
    vocabulary = dataset_words(read)
    rows = naming_rows(store, positions, len(vocabulary), read.bos or 0, max_fit_rows=max_fit_rows, seed=seed)
    config = {"seed": seed, "hook_name": hook, "bos": dataset.bos, "max_fit_rows": max_fit_rows}
    if columns is not None:
        config |= {"columns": columns.kind, "about": columns.about, **columns.settings}
    with publishing(out, KIND, inputs=inputs or {"activations": store.id}, config=config, seed=seed) as draft:
        controls = sae.controls if isinstance(sae, Columns) else _controls(sae, store, hook, rows)
        used = np.concatenate([rows.fit, rows.held_out])
        with_neurons = columns is None or columns.kind != UNITS
        found = collect(store, hook, read_by, positions["seq"], controls, used, with_neurons=with_neurons)
        naming = name_features(rows, _column_sets(found, rows), vocabulary)
        _write_codes(draft.path, found.codes, positions)
        _write_tables(draft.path, found, naming, positions, vocabulary, seed, columns)
        _write_surroundings(draft.path, found.codes, read_by, model)
        if columns is not None:
            write_columns(columns, draft.path)
        pd.DataFrame({"token": vocabulary}).to_parquet(draft.path / "vocabulary.parquet")
        _documents(dataset, positions).to_parquet(draft.path / "documents.parquet")
        draft.results = {
            "n_features": found.codes.n_features,
            "n_rows": found.codes.n_rows,
            "n_fit_rows": len(rows.fit),
            "n_held_out_rows": len(rows.held_out),
            "n_held_out_documents": len(np.unique(rows.doc)),
            "n_concepts": len(rows.names),
        }
    return FeatureIndex.open(out)


def _controls(sae: SAE, store: ActivationStore, hook: str, rows: NamingRows) -> dict[str, SAE]:
    """PCA and a random dictionary of what is read, as sparse as this one, from a spread of the fitting rows."""
    sample = store.read(hook, rows.fit[:: -(-len(rows.fit) // MOMENT_ROWS)])
    some = sample[:CONTROL_ROWS]
    cfg = replace(sae.cfg, d_out=None, hook_name_out="", skip=False)
    with torch.inference_mode():
        active = int(sae.encode_sparse(some).l0().sum()) / len(some)
        cfg = control_config(cfg, cfg.k if cfg.k is not None else round(active))
        moments = Moments.of([sample])
        return {PCA: pca_dictionary(cfg, moments), RANDOM: random_dictionary(cfg, moments, [some])}


def _column_sets(found: Collected, rows: NamingRows) -> dict[str, ColumnSet]:
    """Every dictionary's columns on the fitting and on the held-out rows."""
    used = np.sort(np.concatenate([rows.fit, rows.held_out]))
    parts = {"fit": np.searchsorted(used, rows.fit), "held_out": np.searchsorted(used, rows.held_out)}
    codes = {TRAINED: found.codes.select(used), **found.controls}
    sets = {
        name: ColumnSet(**{part: _sparse_columns(code.select(chosen)) for part, chosen in parts.items()})
        for name, code in codes.items()
    }
    if found.neurons is None:
        return sets
    n_fit = len(rows.fit)
    neurons = ColumnSet(DenseColumns(found.neurons[:, :n_fit]), DenseColumns(found.neurons[:, n_fit:]))
    return sets | {NEURONS: neurons}


def _sparse_columns(codes: Codes) -> SparseColumns:
    return SparseColumns(codes.indptr, codes.rows, codes.values, codes.n_rows)


def _write_codes(path: Path, codes: Codes, positions: dict[str, np.ndarray]) -> None:
    arrays = {"indptr": codes.indptr, "position": codes.rows, "value": codes.values.astype(np.float16)}
    save_tensors({name: torch.from_numpy(values) for name, values in arrays.items()}, path / "codes.safetensors")
    kept = {name: torch.from_numpy(values.astype(np.int32)) for name, values in positions.items() if name != "split"}
    save_tensors(kept, path / "rows.safetensors")


def _write_tables(
    path: Path,
    found: Collected,
    naming: Naming,
    positions: dict[str, np.ndarray],
    vocabulary: list[str],
    seed: int,
    columns: Columns | None,
) -> None:
    table = _feature_table(found.codes, positions["token"], positions["doc"], vocabulary)
    if columns is not None:
        table.insert(1, "title", columns.titles)
    pd.concat([table, naming.table], axis=1).to_parquet(path / "features.parquet")
    naming.naming.to_parquet(path / "naming.parquet")
    naming.concepts.to_parquet(path / "concepts.parquet")
    naming.detectors.to_parquet(path / "detectors.parquet")
    write_feature_rows(naming.names, path / "names.parquet")
    examples = choose_examples(found.codes, found.near_misses, positions["seq"], seed=seed)
    write_feature_rows(examples, path / "examples.parquet")


def _write_surroundings(path: Path, codes: Codes, read_by: Dictionary, model: Any) -> None:
    neighbours, effects = coactive_features(codes).assign(cosine=np.float32(np.nan)), None
    if isinstance(read_by, SAE):
        neighbours = pd.concat([decoder_neighbours(read_by.W_dec), neighbours], ignore_index=True)
        written = read_by.cfg.hook_name_out if read_by.cfg.kind == "transcoder" else read_by.cfg.hook_name
        effects = direct_logit_effects(model, written, read_by.W_dec.detach())
    write_feature_rows(neighbours, path / "neighbours.parquet")
    write_feature_rows(logit_table(effects), path / "logits.parquet")


def _feature_table(codes: Codes, token: np.ndarray, doc: np.ndarray, vocabulary: list[str]) -> pd.DataFrame:
    """One row a feature: feature, firings, density, max, mean (of its firings), dead, documents, top_tokens."""
    firings = np.diff(codes.indptr)
    n_docs = len(np.unique(doc))
    rows = []
    for start, stop in zip(codes.indptr[:-1], codes.indptr[1:], strict=True):
        values, where = codes.values[start:stop], codes.rows[start:stop]
        ids, counts = np.unique(token[where], return_counts=True)
        top = ids[np.argsort(-counts, kind="stable")[:TOP_TOKENS]]
        rows.append(
            (
                values.max(initial=0.0),
                values.mean() if len(values) else 0.0,
                len(np.unique(doc[where])) / n_docs,
                " ".join(vocabulary[i].strip() or repr(vocabulary[i]) for i in top),
            )
        )
    table = pd.DataFrame(rows, columns=["max", "mean", "documents", "top_tokens"])
    table.insert(0, "feature", np.arange(codes.n_features))
    table.insert(1, "firings", firings)
    table.insert(2, "density", firings / codes.n_rows)
    return table.assign(dead=firings == 0).astype({"max": "float32", "mean": "float32", "documents": "float32"})


def _documents(dataset: Dataset, positions: dict[str, np.ndarray]) -> pd.DataFrame:
    """Name, split and recorded rows of each document."""
    table = dataset.doc_table.select(["name", "split"]).to_pandas().astype(str)
    return table.assign(rows=np.bincount(positions["doc"], minlength=len(table)))
