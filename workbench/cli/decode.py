"""`workbench decode`: what a population of units tells of a variable, and how each unit is tuned to it."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.angles import circular_of
from workbench.cli.console import add_run, finish, number, run_path, say, table
from workbench.cli.standing import standing
from workbench.cli.untrained import record_untrained, recorded_data
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    from workbench.decoding import Decoding
    from workbench.decoding.information import KnownInformation

# Units in the table a person reads, of each hook and variable.
SHOWN = 3
COUNTED = ("hook_counts", "hook_spikes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument("--activations", metavar="NAME", help="the recording to read (default: the newest)")
    parser.add_argument("--hooks", nargs="+", metavar="HOOK", help="hooks to decode (default: all of the recording's)")
    parser.add_argument(
        "--variables",
        nargs="+",
        metavar="LABEL",
        help="labels that are numbers, each by itself, or together with commas between them: x,y heading (default: "
        "all of real numbers, x and y together)",
    )
    parser.add_argument(
        "--circular",
        nargs="+",
        type=_circular,
        metavar="LABEL[=PERIOD]",
        help="labels that are angles, in radians unless a period is given: heading=360 (default: those of the task)",
    )
    parser.add_argument(
        "--decoders",
        nargs="+",
        metavar="NAME",
        help="population_vector, optimal_linear, optimal_linear_estimator, wiener, wiener_cascade, kalman, "
        "kalman_smoother, poisson_bayes, gaussian_bayes (either with _continuous behind it), template, rnn, gru, lstm "
        "(default: optimal_linear, wiener, kalman and a Bayesian one, of counts or of activations)",
    )
    parser.add_argument(
        "--dt",
        type=float,
        metavar="S",
        help="seconds a step, where spikes are counted (default: the subject's own, or 1)",
    )
    parser.add_argument(
        "--bin",
        type=number,
        default=1,
        metavar="N",
        help="steps that make a bin: counts are summed, activations averaged",
    )
    parser.add_argument("--where", metavar="QUERY", help="only rows for which this is true (such as 'speed > 0.1')")
    parser.add_argument("--rows", type=number, default=100_000, metavar="N", help="rows to read (default: 100k)")
    parser.add_argument(
        "--shuffles", type=int, default=20, metavar="N", help="fits to variables shifted in time (default: 20)"
    )
    parser.add_argument("--no-tuning", action="store_true", help="leave out the units' maps and scores")
    parser.add_argument("--name", default="decode", help="the result's name (default: decode)")
    parser.add_argument("--seed", type=int, default=0, help="of drawn documents and shuffles")
    parser.add_argument("--replace", action="store_true", help="decode anew over a result made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench decode` does and prints."""
    made = make_decoding(
        Run.open(run_path(args.run)),
        args.activations,
        args.name,
        hooks=args.hooks,
        variables=args.variables,
        circular=None if args.circular is None else dict(args.circular),
        decoders=args.decoders,
        dt=args.dt,
        bin_steps=args.bin,
        where=args.where,
        n_rows=args.rows,
        n_shuffles=args.shuffles,
        tuning=not args.no_tuning,
        seed=args.seed,
        replace=args.replace,
    )

    from workbench.decoding import read_decoding  # a run that is not there has been refused by now

    found = read_decoding(made.path)
    say(args, str(made.path))
    say(args, scores_table(found))
    if not found.tuning.empty:
        say(args)
        say(args, tuning_table(found))
    say(args, f"next: workbench explore --run {args.run}")
    finish(args, {"path": str(made.path), "id": made.id, "lines": len(found.results)})


def make_decoding(
    run: Run,
    recording: str | None = None,
    name: str = "decode",
    *,
    hooks: list[str] | None = None,
    variables: list[str] | None = None,
    circular: dict[str, float] | None = None,
    decoders: list[str] | None = None,
    dt: float | None = None,
    bin_steps: int = 1,
    where: str | None = None,
    n_rows: int = 100_000,
    n_shuffles: int = 20,
    tuning: bool = True,
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """The analysis of a population: the one that is there, or one made now."""
    from models.artifacts import publishing
    from models.checked_input import whole_number
    from workbench.activations import ActivationStore
    from workbench.decoding import decode_sweep, read_variables, write_decoding
    from workbench.decoding.decoders import check_decoders
    from workbench.decoding.sweep import choose_bins

    whole_number(n_rows, "the number of rows", least=1)
    whole_number(bin_steps, "the steps of a bin", least=1)
    whole_number(n_shuffles, "the number of shuffles")
    whole_number(seed, "seed")
    check_decoders(decoders)
    source = run.current("activations", recording)
    store = ActivationStore.open(source.path)
    hooks = list(dict.fromkeys(hooks or store.hooks))
    for hook in hooks:
        store.width(hook)
    store = store.on(store.axis_of(hooks[0]))
    circular = circular_of(run) if circular is None else circular
    wanted = read_variables(store, variables, {label: p for label, p in circular.items() if label in store.labels})
    dt = _seconds(run, hooks) if dt is None else dt
    if not (math.isfinite(dt) and dt > 0):
        raise ValueError(f"dt is {dt}: it must be the seconds of a step, above zero.")
    inputs = run.inputs(source, run.current("model"), run.current("dataset"))
    config: dict[str, Any] = {
        "verb": "decode",
        "recording": source.name,
        "hooks": hooks,
        "variables": [one.title for one in wanted],
        "circular": {name: period for one in wanted for name, period in one.periods.items() if period},
        "decoders": decoders,
        "dt": dt,
        "where": where,
        "bin_steps": bin_steps,
        "n_rows": n_rows,
        "n_shuffles": n_shuffles,
        "tuning": tuning,
        "seed": seed,
    }
    if standing(run, "analysis", name, inputs, config, replace=replace) is None:
        # Before the untrained subject is recorded, which may take long.
        choose_bins(store, wanted, hooks, where, n_rows, bin_steps, seed, tuning=tuning)
        with publishing(run.path_of("analysis", name), "analysis", inputs=inputs, config=config, seed=seed) as draft:
            draft.scratch = {"untrained", "parts"}
            found = decode_sweep(
                store,
                wanted,
                hooks,
                decoders,
                information=_information(run, source),
                untrained=record_untrained(run, source, hooks, draft.path / "untrained/rows"),
                dt=dt,
                bin_steps=bin_steps,
                where=where,
                max_rows=n_rows,
                n_shuffles=n_shuffles,
                tuning=tuning,
                seed=seed,
                parts=draft.path / "parts",
            )
            write_decoding(Path(draft.path), found)
        run = run.refresh()
    return run.find("analysis", name)


def scores_table(found: "Decoding") -> str:
    """R² of each variable by each decoder, the controls beside it."""
    keys, controls = ["hook", "output", "decoder"], ("random subject", "shuffled", "mean")
    parts = {name: own.set_index(keys) for name, own in found.results.groupby("variant")}
    own = parts["decoder"]
    shown = own[["r2"]]
    for name in controls:
        if name in parts:
            shown = shown.join(parts[name]["r2"].rename(name))
    shown = shown.join(own[["error", "measure", "bound", "coverage", "p_value"]]).reset_index()
    names = {"output": "variable", "r2": "R²", "measure": "of kind", "coverage": "95% covers", "p_value": "p"}
    return table([names.get(name, name) for name in shown.columns], shown.to_numpy().tolist())


def tuning_table(found: "Decoding") -> str:
    """The units whose maps explain most of what they do, on rows the maps were not fitted on."""
    best = found.tuning.sort_values("r2", ascending=False, kind="stable").groupby(["hook", "variables"], sort=False)
    columns = ["hook", "variables", "unit", "r2", "r2_p"]
    columns += [
        c for c in ("information", "information_p", "mean_vector", "gridness", "gridness_p") if c in found.tuning
    ]
    headings = [c.replace("_", " ").replace("r2", "R² of its map") for c in columns]
    return table(headings, best.head(SHOWN)[columns].to_numpy().tolist())


def _circular(text: str) -> tuple[str, float]:
    """`heading` as an angle in radians, `heading=360` as one in degrees."""
    name, equals, period = text.partition("=")
    if not equals:
        return name, 2 * math.pi
    try:
        return name, float(period)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{period!r} is no period: heading=360 is one of degrees") from None


def _information(run: Run, source: Artifact) -> "KnownInformation | None":
    """What the counts of simulated cells say, which is known; None of other subjects."""
    from models.tuned import TunedPopulation
    from workbench.decoding.information import KnownInformation

    cells = run.model()
    return KnownInformation.of_cells(cells, recorded_data(run, source)) if isinstance(cells, TunedPopulation) else None


def _seconds(run: Run, hooks: list[str]) -> float:
    """A step of the subject's, where spikes are counted; 1 otherwise, and maps are means."""
    counted = all(hook.endswith(COUNTED) for hook in hooks)
    return float(getattr(run.model().cfg, "dt", 1.0)) if counted else 1.0
