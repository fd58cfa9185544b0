"""A feature index made by hand: what stands in it is known, and it is read as any other."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from models.artifacts import Manifest
from workbench.features import FeatureIndex
from workbench.features.index.tables import write_feature_rows

WORDS = ["<bos>", " self", "self", "def", " Straße", ".", "\n", " re", "turn", '"', ""]


def made_index(
    path: Path, features: pd.DataFrame, names: pd.DataFrame, tokens: np.ndarray, fires: list[list[int]], seq_length: int
) -> FeatureIndex:
    """An index of these features on these tokens.

    Args:
        path: the folder.
        features: its table.
        names: its table of names.
        tokens: of each recorded row, the token's place in `WORDS`.
        fires: for each feature the rows where it fires; its examples are all of them, the last ones strongest.
        seq_length: rows of each sequence.
    """
    path.mkdir(parents=True)
    rows = np.concatenate([np.asarray(r, np.int32) for r in fires])
    values = rows / 8 + 1
    codes = {
        "indptr": torch.tensor(np.concatenate([[0], np.cumsum([len(r) for r in fires])])),
        "position": torch.tensor(rows),
        "value": torch.tensor(values).half(),
    }
    save_file(codes, path / "codes.safetensors")
    n = np.arange(len(tokens))
    columns = {"seq": n // seq_length, "pos": 1 + n % seq_length, "token": tokens, "doc": n * 0}
    save_file({k: torch.tensor(v.astype(np.int32)) for k, v in columns.items()}, path / "rows.safetensors")
    examples = [
        [feature, "top" if rank < 2 else "band", -1 if rank < 2 else 0, rank, row, row / 8 + 1]
        for feature, own in enumerate(fires)
        for rank, row in enumerate(sorted(own, reverse=True))
    ]
    examples += [[feature, "near_miss", -1, 0, 0, 0.5] for feature in range(len(fires))]
    columns_of = ["feature", "kind", "band", "rank", "row", "value"]
    write_feature_rows(pd.DataFrame(examples, columns=columns_of), path / "examples.parquet")
    write_feature_rows(names, path / "names.parquet")
    for name in ("logits", "neighbours"):
        write_feature_rows(pd.DataFrame({"feature": pd.Series([], dtype="int32")}), path / f"{name}.parquet")
    features.to_parquet(path / "features.parquet", index=False)
    pd.DataFrame({"token": WORDS}).to_parquet(path / "vocabulary.parquet", index=False)
    documents = pd.DataFrame({"name": ["one.py"], "split": ["train"], "rows": [len(tokens)]})
    documents.to_parquet(path / "documents.parquet", index=False)
    return FeatureIndex(path, Manifest("features", config={"hook_name": "blocks.0.hook_out"}))
