"""`rows_of_both`: a feature's value and a neuron's on the same recorded rows."""

import numpy as np
import pandas as pd

from workbench.activations import ActivationStore
from workbench.features.index.feature_index import FeatureIndex

N_FIRING, N_SILENT = 400, 800


def rows_of_both(
    index: FeatureIndex,
    store: ActivationStore,
    feature: int,
    neuron: int,
    *,
    n_firing: int = N_FIRING,
    n_silent: int = N_SILENT,
    seed: int = 0,
) -> pd.DataFrame:
    """Rows drawn at random from those where the feature fires, and from those where it does not.

    Args:
        index: the index of the feature.
        store: the recording that it was made from.
        feature: which feature.
        neuron: which column of the hook.
        n_firing, n_silent: at most so many rows of each kind.
        seed: of the draw.

    Returns:
        Columns row, token, feature (0 where it does not fire), neuron and fires, by row.

    Raises:
        ValueError: there is no such feature or neuron, or the recording is not the index's.
    """
    hook = index.hook_name
    store = store.on(store.axis_of(hook))
    if len(store) != index.n_rows:
        raise ValueError(f"the recording has {len(store):,} rows and the index {index.n_rows:,}: give its own.")
    if not 0 <= neuron < store.width(hook):
        raise ValueError(f"there is no neuron {neuron}: they are numbered 0 to {store.width(hook) - 1}.")
    rng = np.random.default_rng([seed, feature])
    fires, values = index.values(feature)
    some = np.sort(rng.choice(len(fires), min(n_firing, len(fires)), replace=False))
    # Drawn from all rows, and those where it fires taken out again: a list of all others would be as long as the data.
    drawn = rng.choice(index.n_rows, min(n_silent + len(fires), index.n_rows), replace=False)
    silent = drawn[~np.isin(drawn, fires)][:n_silent]
    rows = np.concatenate([fires[some], silent])
    table = pd.DataFrame(
        {
            "row": rows,
            "token": index.vocabulary[index.rows["token"][rows]],
            "feature": np.concatenate([values[some], np.zeros(len(silent), np.float32)]),
            "fires": np.arange(len(rows)) < len(some),
        }
    ).sort_values("row", ignore_index=True)
    table["neuron"] = store.read(hook, table["row"].to_numpy())[:, neuron].numpy()
    return table[["row", "token", "feature", "neuron", "fires"]]
