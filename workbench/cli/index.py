"""`workbench index`: every feature of a dictionary gets its page, and a name that is measured."""

import argparse
from typing import TYPE_CHECKING

from workbench.cli.console import add_run, finish, run_path, say, table
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    import pandas as pd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument("--sae", metavar="NAME", help="the dictionary to index (default: the newest)")
    parser.add_argument("--name", help="the index's name (default: the dictionary's)")
    parser.add_argument("--seed", type=int, default=0, help="which examples are drawn from each band")
    parser.add_argument("--replace", action="store_true", help="build anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench index` does and prints."""
    made = make_index(Run.open(run_path(args.run)), args.sae, args.name, seed=args.seed, replace=args.replace)

    from workbench.features import FeatureIndex  # a run that is not there has been refused by now

    index = FeatureIndex.open(made.path)
    say(args, str(made.path))
    say(args, naming_table(index.naming))
    say(args, f"next: workbench explore --run {args.run}")
    finish(args, {"path": str(made.path), "id": made.id, "naming": index.naming.to_dict("records")})


def make_index(
    run: Run, dictionary: str | None = None, name: str | None = None, *, seed: int = 0, replace: bool = False
) -> Artifact:
    """The feature index of a dictionary: the one that is there, or one built now."""
    from models.checked_input import whole_number
    from workbench.activations import ActivationStore
    from workbench.features import build_index
    from workbench.sae import load_sae

    whole_number(seed, "seed")
    source = run.current("sae", dictionary)  # and so the recording it was trained on is there
    recording = next(a for a in run.artifacts() if a.kind == "activations" and a.id in source.manifest.inputs.values())
    name = name or source.name
    inputs = run.inputs(recording, source, run.current("model"), run.current("dataset"))
    if standing(run, "features", name, inputs, {"seed": seed}, replace=replace) is None:
        store = ActivationStore.open(recording.path)
        path = run.path_of("features", name)
        dataset = run.dataset(with_labels=False)
        build_index(load_sae(source.path), store, run.model(), path, dataset, inputs=inputs, seed=seed)
        run = run.refresh()
    return run.find("features", name)


def naming_table(naming: "pd.DataFrame") -> str:
    """How many live features have a name at held-out F1 ≥ .5, for the dictionary and its controls."""
    rows = [
        [r.dictionary, r.kind, int(r.live), int(r.named), float(r.share), float(r.median_f1)]
        for r in naming.itertuples()
    ]
    return table(["dictionary", "names by", "live", "F1 ≥ .5", "share", "median F1"], rows)
