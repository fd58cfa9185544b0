"""`workbench probe`: what can be read from every hook of a recording, each score beside its controls."""

import argparse
from typing import TYPE_CHECKING, Any

from workbench.cli.console import add_run, finish, number, run_path, say, table
from workbench.cli.standing import standing
from workbench.cli.untrained import record_untrained
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    import pandas as pd

PROBES = ("logistic", "mass_mean", "lda", "sparse", "mlp")
# Lines of the table a person reads: the labels that are read best above what the word alone tells.
SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument("--activations", metavar="NAME", help="the recording to read (default: the newest)")
    parser.add_argument("--hooks", nargs="+", metavar="HOOK", help="hooks to probe (default: all of the recording's)")
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="labels to probe for (default: all that can be)")
    parser.add_argument(
        "--probes",
        nargs="+",
        choices=PROBES,
        default=["logistic"],
        metavar="PROBE",
        help=f"{', '.join(PROBES[:-1])} or {PROBES[-1]} (default: logistic)",
    )
    parser.add_argument(
        "--positions",
        nargs="+",
        type=_positions,
        metavar="A-B",
        help="probe ranges of positions apart (such as 1-15 16-127, or 5 alone; default: all together)",
    )
    parser.add_argument("--where", metavar="QUERY", help="only rows for which this is true (such as 'depth > 0')")
    parser.add_argument("--rows", type=number, default=200_000, metavar="N", help="rows to read (default: 200k)")
    parser.add_argument(
        "--max-classes", type=int, default=12, metavar="N", help="labels of more values are left out (default: 12)"
    )
    parser.add_argument(
        "--no-code-length", action="store_true", help="leave out description lengths, which take longest"
    )
    parser.add_argument("--name", help="the result's name (default: the recording's)")
    parser.add_argument("--seed", type=int, default=0, help="of drawn documents, controls and intervals")
    parser.add_argument("--replace", action="store_true", help="probe anew over a result made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench probe` does and prints."""
    made = make_probes(
        Run.open(run_path(args.run)),
        args.activations,
        args.name,
        hooks=args.hooks,
        labels=args.labels,
        probes=args.probes,
        positions=args.positions,
        where=args.where,
        n_rows=args.rows,
        max_classes=args.max_classes,
        code_length=not args.no_code_length,
        seed=args.seed,
        replace=args.replace,
    )

    from workbench.probing import read_results  # a run that is not there has been refused by now

    found = read_results(made.path)
    say(args, f"{made.path}: {found['label'].nunique()} labels × {found['hook'].nunique()} hooks")
    say(args, best_table(found))
    finish(args, {"path": str(made.path), "id": made.id, "lines": len(found)})


def make_probes(
    run: Run,
    recording: str | None = None,
    name: str | None = None,
    *,
    hooks: list[str] | None = None,
    labels: list[str] | None = None,
    probes: list[str] | None = None,
    positions: list[tuple[int, int]] | None = None,
    where: str | None = None,
    n_rows: int = 200_000,
    max_classes: int = 12,
    code_length: bool = True,
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """The table of a recording's probes: the one that is there, or one made now."""
    from models.artifacts import publishing
    from models.checked_input import whole_number
    from workbench.activations import ActivationStore
    from workbench.probing import probe_labels, probe_sweep
    from workbench.probing.estimators import estimator
    from workbench.probing.results import RESULT
    from workbench.probing.sweep import choose_rows

    whole_number(n_rows, "the number of rows", least=1)
    whole_number(max_classes, "the number of classes", least=2)
    whole_number(seed, "seed")
    source = run.current("activations", recording)
    store = ActivationStore.open(source.path)
    hooks = list(dict.fromkeys(hooks or store.hooks))
    for hook in hooks:
        store.width(hook)
    names = list(dict.fromkeys(probes or ["logistic"]))
    inputs = run.inputs(source, run.current("model"), run.current("dataset"))
    config: dict[str, Any] = {"hooks": hooks, "labels": labels, "probes": names, "where": where, "n_rows": n_rows}
    config |= {"positions": positions, "max_classes": max_classes, "code_length": code_length, "seed": seed}
    name = name or source.name
    if standing(run, "probes", name, inputs, config, replace=replace) is None:
        rows, _ = choose_rows(store.on(store.axis_of(hooks[0])), where, n_rows, seed)
        probe_labels(store, rows, labels, max_classes=max_classes)
        with publishing(run.path_of("probes", name), "probes", inputs=inputs, config=config, seed=seed) as draft:
            draft.scratch = {"untrained", "parts"}
            found = probe_sweep(
                store,
                hooks,
                labels,
                {chosen: estimator(chosen) for chosen in names},
                untrained=record_untrained(run, source, hooks, draft.path / "untrained/rows"),
                positions=positions,
                where=where,
                max_rows=n_rows,
                max_classes=max_classes,
                code_length=code_length,
                seed=seed,
                parts=draft.path / "parts",
            )
            found.to_parquet(draft.path / RESULT, index=False)
        run = run.refresh()
    return run.find("probes", name)


def best_table(found: "pd.DataFrame") -> str:
    """For the labels that are read best beyond the word alone: where, how well, and what stands beside it."""
    import pandas as pd

    from workbench.probing import best_beyond_word

    parts = []
    for (estimator, positions), own in found.groupby(["probe", "positions"], sort=False):
        parts.append(best_beyond_word(own).assign(estimator=estimator, positions=positions))
    best = pd.concat(parts).sort_values("beyond", ascending=False, kind="stable")
    best = best.groupby(["label", "positions"], sort=False).head(1)
    best = best[best["label"].isin(best["label"].unique()[:SHOWN])]
    columns = ["label", "hook", "estimator", "positions", "probe", "control task", "random subject", "type alone"]
    headings = [*columns[:4], "balanced accuracy", "control task", "random subject", "type alone"]
    return table(headings, best[columns].to_numpy().tolist())


def _positions(text: str) -> tuple[int, int]:
    """`1-15` as the first position and the one after the last."""
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
        raise argparse.ArgumentTypeError(f"{text!r} is no range of positions: 1-15 is one, and 5 the position 5 alone")
    return int(first), int(last or first) + 1
