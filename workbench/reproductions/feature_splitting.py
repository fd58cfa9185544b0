"""Features of a small dictionary come apart in a larger one of the same activations."""

from itertools import pairwise

import pandas as pd

from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.dictionaries import Wanted, dictionaries
from workbench.reproductions.python_source import BATCH, HOOK, PythonSource, python_source
from workbench.sae import SAE, SAEConfig, SAETrainConfig, control_dictionaries, evaluate_sae
from workbench.sae.metrics import splitting, splitting_summary

TITLE = "Features split in larger dictionaries"
PAPER = "Bricken et al. 2023, Towards Monosemanticity"

K = 12
WIDTHS, N_ROWS = (128, 512, 2048), 500_000
FULL_WIDTHS, FULL_N_ROWS = (256, 1024, 4096), 2_000_000
# Added to a seed for the second dictionary of the same width: what comes apart there is chance, not width.
OTHER_SEED = 100


def reproduce(bench: Bench) -> list[Row]:
    """Train three widths, and another seed of each but the largest, and see what becomes of every latent."""
    source = python_source(bench)
    tables = [_measured(bench, source, seed) for seed in range(3 if bench.full else 1)]
    found = pd.concat(tables, ignore_index=True)
    bench.table("splitting", found)
    return rows_of(found)


def _measured(bench: Bench, source: PythonSource, seed: int) -> pd.DataFrame:
    widths, n_rows = (FULL_WIDTHS, FULL_N_ROWS) if bench.full else (WIDTHS, N_ROWS)
    seeds = {(width, s) for width in widths for s in (seed, seed + OTHER_SEED)} - {(widths[-1], seed + OTHER_SEED)}
    names = {(width, s): f"width-{width}-seed-{s}" for width, s in sorted(seeds)}
    d_in, how = source.store.width(HOOK), SAETrainConfig(n_tokens=n_rows, batch_size=BATCH)
    wanted = {
        name: Wanted(SAEConfig(d_in=d_in, d_sae=width, k=K, hook_name=HOOK, seed=s), how)
        for (width, s), name in names.items()
    }
    inputs, rows = source.inputs(bench), {"split": "train", "seed": seed}
    trained = dictionaries(bench, wanted, source.training(seed), inputs=inputs, rows=rows)
    saes = {key: trained[name] for key, name in names.items()}
    lines = []
    for small, large in pairwise(widths):
        others = {
            "larger": saes[large, seed],
            "another seed": saes[small, seed + OTHER_SEED],
            "random": control_dictionaries(saes[large, seed], lambda: source.once("train"))["random"],
        }
        lines += [
            {"seed": seed, "width": small, "other_width": other.cfg.d_sae, "other": kind}
            | became(saes[small, seed], other, source)
            for kind, other in others.items()
        ]
    return pd.DataFrame(lines)


def became(small: SAE, other: SAE, source: PythonSource) -> dict[str, float]:
    """`splitting_summary` on held-out rows, and what the other dictionary is worth there."""
    worth = evaluate_sae(other, source.once("test"))
    kept = {f"other_{name}": worth[name] for name in ("explained_variance", "dead_fraction")}
    return splitting_summary(splitting(small, other, source.once("test"))) | kept


def rows_of(found: pd.DataFrame) -> list[Row]:
    """The table: what became of the latents of each width, beside a second seed and random directions."""
    rows = []
    for width in sorted(found["width"].unique()):
        here = found[found["width"] == width]

        def of(kind: str, column: str, here: pd.DataFrame = here) -> list[float]:
            return here.loc[here["other"] == kind, column].tolist()

        wider = int(here.loc[here["other"] == "larger", "other_width"].iloc[0])
        ours, chance = of("larger", "split"), of("another seed", "split")
        rows += [
            Row(
                f"latents of {width} split in {wider}; {len(ours)} seed(s)",
                "features split",
                f"{spread(ours)}; in another {width} {spread(chance)}, in {wider} random directions "
                f"{spread(of('random', 'split'))}",
                f"more than in another {width}, in every seed",
                all(a > b for a, b in zip(ours, chance, strict=True)),
            ),
            Row(
                "the same: kept as one, lost; parts a latent has",
                "",
                f"{spread(of('larger', 'kept'))}, {spread(of('larger', 'lost'))}; {spread(of('larger', 'parts'), 2)}, "
                f"in another {width} {spread(of('another seed', 'parts'), 2)}",
            ),
        ]
    return rows
