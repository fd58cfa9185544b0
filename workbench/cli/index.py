"""`workbench index`: every latent of a dictionary, unit, head or probe gets its page, and a name that is measured."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.cli.console import add_run, finish, run_path, say, table
from workbench.cli.index_effects import affected
from workbench.cli.index_map import mapped
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    import pandas as pd

    from workbench.activations import ActivationStore
    from workbench.features import FeatureIndex
    from workbench.features.columns import Columns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument("--sae", metavar="NAME", help="the dictionary to index (default: the newest)")
    parser.add_argument(
        "--units", metavar="HOOK", help="the units of a recorded hook instead: neurons, hidden units, gates"
    )
    parser.add_argument("--heads", metavar="HOOK", help="how much each head writes instead; HOOK is a hook_z")
    parser.add_argument("--probes", metavar="NAME", help="the directions of a table of probes instead")
    parser.add_argument(
        "--hook", help="with --probes: where (default: where its labels are read best beyond the word, on average)"
    )
    parser.add_argument(
        "--activations", metavar="NAME", help="with --units or --heads: which recording (default: that with most rows)"
    )
    parser.add_argument("--name", help="the index's name (default: the dictionary's, or what is indexed)")
    parser.add_argument("--seed", type=int, default=0, help="which examples are drawn from each band")
    parser.add_argument("--map", action="store_true", help="also lay the features out in the plane, as a map")
    parser.add_argument(
        "--effects", type=int, metavar="N", help="also measure what taking out each of the N best named features does"
    )
    parser.add_argument("--replace", action="store_true", help="build anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench index` does and prints."""
    asked = AskedColumns(args.units, args.heads, args.probes, args.hook, args.activations)
    asked.refuse_mixed(args.sae)
    if args.map and asked.any:
        raise ValueError("--map lays a dictionary's directions out: leave it out for units, heads and probes.")
    if args.effects is not None and (args.effects < 1 or args.heads is not None):
        raise ValueError(
            "--effects is how many features are taken out, 1 or more; heads have no direction to take out."
        )
    opened = Run.open(run_path(args.run))
    if asked.any:
        made = make_column_index(opened, asked, args.name, seed=args.seed, replace=args.replace)
    else:
        made = make_index(opened, args.sae, args.name, seed=args.seed, replace=args.replace)

    from workbench.features import FeatureIndex  # a run that is not there has been refused by now

    index = FeatureIndex.open(made.path)
    say(args, str(made.path))
    if "about" in index.config:
        say(args, index.config["about"])
    say(args, naming_table(index.naming, index.config.get("columns")))
    say(args, live_sentence(index))
    result = {"path": str(made.path), "id": made.id, "naming": index.naming.to_dict("records")}
    if args.map:
        result |= mapped(args, made)
    if args.effects is not None:
        result |= affected(args, made)
    say(args, f"next: workbench explore --run {args.run}")
    finish(args, result)


@dataclass(frozen=True)
class AskedColumns:
    """What is to be indexed besides a dictionary, as the options say it.

    Attributes:
        units: the hook whose units are.
        heads: the hook whose heads are.
        probes: the table whose probes are.
        hook: of the probes.
        activations: the recording that is read.
    """

    units: str | None = None
    heads: str | None = None
    probes: str | None = None
    hook: str | None = None
    activations: str | None = None

    @property
    def any(self) -> bool:
        """Whether anything but a dictionary is asked for."""
        return any(value is not None for value in (self.units, self.heads, self.probes))

    def refuse_mixed(self, dictionary: str | None) -> None:
        """`ValueError` for options that do not go together."""
        given = {"--sae": dictionary, "--units": self.units, "--heads": self.heads, "--probes": self.probes}
        named = [option for option, value in given.items() if value is not None]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} are different things to index: give one of them.")
        if self.hook is not None and self.probes is None:
            raise ValueError("--hook says where the probes of --probes read: give that, or leave --hook out.")
        if self.activations is not None and self.units is None and self.heads is None:
            raise ValueError(
                "--activations goes with --units or --heads: dictionaries and probes know their recording."
            )


def make_index(
    run: Run, dictionary: str | None = None, name: str | None = None, *, seed: int = 0, replace: bool = False
) -> Artifact:
    """The feature index of a dictionary: the one that is there, or one built now."""
    from models.checked_input import whole_number
    from workbench.activations import ActivationStore
    from workbench.features import build_index
    from workbench.sae import load_sae

    whole_number(seed, "seed")
    source = run.current("sae", dictionary)
    recording = run.made_from(source, "activations")
    name = name or source.name
    inputs = run.inputs(recording, source, run.current("model"), run.current("dataset"))
    if standing(run, "features", name, inputs, {"seed": seed}, replace=replace) is None:
        store = ActivationStore.open(recording.path)
        path = run.path_of("features", name)
        dataset = run.dataset(with_labels=False)
        build_index(load_sae(source.path), store, run.model(), path, dataset, inputs=inputs, seed=seed)
        run = run.refresh()
    return run.find("features", name)


def make_column_index(
    run: Run, asked: AskedColumns, name: str | None = None, *, seed: int = 0, replace: bool = False
) -> Artifact:
    """The index of a hook's units or heads, or of a table's probes: the one that is there, or one built now."""
    from models.checked_input import whole_number
    from workbench.activations import ActivationStore
    from workbench.cli.harvest import default_name
    from workbench.features import build_index

    whole_number(seed, "seed")
    hook, recording, probes = _sources(run, asked)
    kind = "units" if asked.units else "heads" if asked.heads else "probes"
    name = name or "-".join([*([probes.name] if probes else []), default_name([hook]), kind])
    sources = [recording, *([probes] if probes else []), run.current("model"), run.current("dataset")]
    inputs = run.inputs(*sources)
    wanted = {"seed": seed, "columns": kind, "hook_name": hook}
    if standing(run, "features", name, inputs, wanted, replace=replace) is None:
        store, model = ActivationStore.open(recording.path), run.model()
        columns = _columns(kind, store, hook, model, probes, seed)
        dataset = run.dataset(with_labels=False)
        build_index(columns, store, model, run.path_of("features", name), dataset, inputs=inputs, seed=seed)
        run = run.refresh()
    return run.find("features", name)


def _sources(run: Run, asked: AskedColumns) -> tuple[str, Artifact, Artifact | None]:
    """The hook, the recording of it, and the table of probes where there is one."""
    if asked.probes is not None:
        from workbench.probing import read_results
        from workbench.probing.table_probes import hook_of, linear_lines

        probes = run.current("probes", asked.probes)
        recording = run.made_from(probes, "activations")
        lines = linear_lines(read_results(probes.path), probes.manifest.config)
        return hook_of(lines, asked.hook), recording, probes
    hook = asked.units or asked.heads
    assert hook is not None
    return hook, _recording_of(run, hook, asked.activations), None


def _recording_of(run: Run, hook: str, name: str | None) -> Artifact:
    """The recording that is named, or else that of a hook with most rows. `ValueError` where there is none."""
    found = [run.current("activations", name)] if name else [a for a in run.artifacts() if a.kind == "activations"]
    able = [a for a in found if not a.stale and hook in a.manifest.config["hooks"]]
    if not able:
        known = list(dict.fromkeys(known for a in found for known in a.manifest.config["hooks"]))
        where = f"recording {name}" if name else f"run {run.path}"
        there = f"recorded are {', '.join(known)}; " if known else ""
        raise ValueError(
            f"{where} has no current recording of {hook}: {there}`workbench harvest --run {run.path} --hooks {hook}` "
            "makes one."
        )
    return max(able, key=lambda a: sum(a.manifest.config["n_rows"].values()))


def _columns(
    kind: str, store: "ActivationStore", hook: str, model: Any, probes: Artifact | None, seed: int
) -> "Columns":
    from workbench.features.columns import head_columns, probe_columns, unit_columns

    if kind == "units":
        return unit_columns(store, hook, seed=seed)
    if kind == "heads":
        return head_columns(store, hook, model, seed=seed)
    assert probes is not None
    from workbench.probing import read_results
    from workbench.probing.table_directions import table_directions

    found = table_directions(read_results(probes.path), probes.manifest.config, store, hook)
    return probe_columns(store, hook, found, seed=seed)


def live_sentence(index: "FeatureIndex") -> str:
    """How many columns fire at all, beside how many of them where names are chosen."""
    live = int((~index.table["dead"].astype(bool)).sum())
    n_fit = index.config["results"]["n_fit_rows"]
    return (
        f"{live:,} of {index.n_features:,} fire on any of the {index.n_rows:,} recorded tokens; live where named: on "
        f"any of the {n_fit:,} training tokens that names are chosen on."
    )


def naming_table(naming: "pd.DataFrame", columns: str | None = None) -> str:
    """How many live features have a name at held-out F1 ≥ .5, for the dictionary and its controls."""
    rows = [
        [
            columns if columns and r.dictionary == "trained" else r.dictionary,
            r.kind,
            int(r.live),
            int(r.named),
            float(r.share),
            float(r.median_f1),
        ]
        for r in naming.itertuples()
    ]
    return table(["dictionary", "names by", "live where named", "F1 ≥ .5", "share", "median F1"], rows)
