"""`workbench index --map`: the directions of a dictionary's features laid out in the plane."""

import argparse
from typing import TYPE_CHECKING, Any

from workbench.cli.console import run_path, say, table
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    import pandas as pd


def mapped(args: argparse.Namespace, index: Artifact) -> dict[str, Any]:
    """Make and tell the map of an index; what `--json` prints of it."""
    made = make_map(Run.open(run_path(args.run)), index, seed=args.seed, replace=args.replace)

    from workbench.features.on_demand.feature_map import read_feature_map

    points = read_feature_map(made.path)
    say(args, str(made.path))
    say(args, map_table(points))
    kept = points.groupby("variant", sort=False)["kept"].mean().to_dict()
    return {"map": {"path": str(made.path), "id": made.id, "neighbours_kept": kept}}


def make_map(run: Run, index: Artifact, *, seed: int = 0, replace: bool = False) -> Artifact:
    """The map of an index: the one that is there, or one made now."""
    from workbench.features.on_demand.feature_map_kept import keep_map, map_name, map_settings, mapped_dictionary

    name, inputs = map_name(index), run.inputs(index, mapped_dictionary(run, index))
    if standing(run, "analysis", name, inputs, map_settings(seed), replace=replace) is None:
        keep_map(run, index, seed=seed, replace=replace)
        run = run.refresh()
    return run.find("analysis", name)


def map_table(points: "pd.DataFrame") -> str:
    """How many of each direction's neighbours the map keeps, for the dictionary and for random directions."""
    kept = points.groupby("variant", sort=False)["kept"].agg(["size", "mean"])
    chance = 10 / max(1, int(kept["size"].max()) - 1)
    rows = [[name, int(n), float(share), min(1.0, chance)] for name, n, share in kept.itertuples()]
    return table(["directions", "laid out", "of 10 neighbours kept", "by chance"], rows)
