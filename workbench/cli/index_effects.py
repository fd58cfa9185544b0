"""`workbench index --effects N`: what taking features out of the stream does, of the N whose names hold best."""

import argparse
from typing import TYPE_CHECKING, Any

from workbench.cli.console import run_path, say, table
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    import pandas as pd


def affected(args: argparse.Namespace, index: Artifact) -> dict[str, Any]:
    """Measure and tell the effects of an index's features; what `--json` prints of them."""
    from workbench.features import FeatureIndex
    from workbench.features.columns import one_of
    from workbench.features.on_demand.ablation_effects_kept import best_named, keep_effects, kept_effects

    run, chosen = Run.open(run_path(args.run)), best_named(FeatureIndex.open(index.path), args.effects)
    if not chosen:
        raise ValueError(
            f"no {one_of(index.manifest.config)} of {index.name} fires: there is none whose effects could be measured."
        )

    def tell(done: int, of: int) -> None:
        say(args, f"{done:,} of {of:,} features measured")

    path = keep_effects(run, index, chosen, replace=args.replace, say=tell)
    found = kept_effects(run.refresh(), index)
    assert found is not None  # some were just measured, or had been
    told = effects_of_next(found[found["feature"].isin(chosen)])
    say(args, str(path))
    say(args, effects_table(told))
    return {"effects": {"path": str(path), "features": len(told)}}


def effects_of_next(found: "pd.DataFrame") -> "pd.DataFrame":
    """For each feature how the next token's loss changes where it fires: feature, change, error, random."""
    from workbench.features.on_demand.ablation_effects import FEATURE, FIRES, LOSS, RANDOM

    of_next = found[(found["measure"] == LOSS) & (found["where"] == FIRES) & (found["ahead"] == 1)]
    own, control = (of_next[of_next["variant"] == variant].set_index("feature") for variant in (FEATURE, RANDOM))
    return own[["change", "error"]].assign(random=control["change"]).reset_index()


def effects_table(told: "pd.DataFrame", most: int = 10) -> str:
    """The features without which the next token's loss rises most."""
    first = told.sort_values("change", ascending=False).head(most)
    rows = [[str(int(line.feature)), line.change, line.error, line.random] for line in first.itertuples()]
    return table(["feature", "loss without it (nats)", "±", "random direction"], rows)
