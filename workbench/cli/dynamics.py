"""`workbench dynamics`: where a recurrent subject's states lead: fixed points, portrait, gates and units."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.angles import circular_of
from workbench.cli.console import add_run, finish, number, run_path, say, table
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    from workbench.dynamics.results import Dynamics

N_STARTS, TOLERANCE, SLOW_TOLERANCE, NOISE, N_TOKENS = 1024, 1e-20, 1e-6, 0.5, 50_000
# Lines of the table of units: the labels that are told best.
SHOWN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument(
        "--input",
        default="zeros",
        metavar="WHAT",
        help="read at every step: zeros, mean, a token or its id, or numbers such as 0,0,1 (default: zeros)",
    )
    parser.add_argument("--starts", type=number, default=N_STARTS, metavar="N", help=f"(default: {N_STARTS})")
    parser.add_argument(
        "--noise", type=float, default=NOISE, metavar="S", help=f"on starts, in their spread (default: {NOISE})"
    )
    parser.add_argument(
        "--tolerance", type=float, default=TOLERANCE, metavar="Q", help=f"½‖x − F(x)‖² of a fixed point ({TOLERANCE})"
    )
    parser.add_argument(
        "--slow-tolerance", type=float, default=SLOW_TOLERANCE, metavar="Q", help=f"of a slow one ({SLOW_TOLERANCE})"
    )
    parser.add_argument(
        "--hook", metavar="HOOK", help="whose units are held against labels (default: the last layer's memory)"
    )
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="which (default: all that a unit can tell)")
    parser.add_argument("--no-units", action="store_true", help="leave out the units")
    parser.add_argument(
        "--tokens", type=number, default=N_TOKENS, metavar="N", help="steps of sequences to read (default: 50k)"
    )
    parser.add_argument("--name", default="dynamics", help="the result's name (default: dynamics)")
    parser.add_argument("--seed", type=int, default=0, help="of the sequences, starts, noise and controls")
    parser.add_argument("--replace", action="store_true", help="make it anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench dynamics` does and prints."""
    made = make_dynamics(
        Run.open(run_path(args.run)),
        args.name,
        input=args.input,
        n_starts=args.starts,
        noise=args.noise,
        tolerance=args.tolerance,
        slow_tolerance=args.slow_tolerance,
        hook=args.hook,
        labels=args.labels,
        units=not args.no_units,
        n_tokens=args.tokens,
        seed=args.seed,
        replace=args.replace,
    )

    from workbench.dynamics.results import read_dynamics  # a run that is not there has been refused by now

    found = read_dynamics(made.path)
    say(args, f"{made.path}: {len(found.points)} points from {len(found.points.starts):,} starts")
    say(args, points_table(found))
    if found.units is not None:
        say(args)
        say(args, units_table(found))
    elif not args.no_units:
        say(args, "units: no label can be judged on these sequences.")
    say(args, f"next: workbench explore --run {args.run}")
    counts = found.table[found.table["variant"] == "trained"]["kind"].value_counts().to_dict()
    finish(args, {"path": str(made.path), "id": made.id, "points": counts})


def make_dynamics(
    run: Run,
    name: str = "dynamics",
    *,
    input: str = "zeros",
    n_starts: int = N_STARTS,
    noise: float = NOISE,
    tolerance: float = TOLERANCE,
    slow_tolerance: float = SLOW_TOLERANCE,
    hook: str | None = None,
    labels: list[str] | None = None,
    units: bool = True,
    n_tokens: int = N_TOKENS,
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """The analysis of a subject's dynamics: the one that is there, or one made now."""
    from models.artifacts import publishing
    from models.checked_input import whole_number
    from models.saving import checkpoint_steps
    from workbench.dynamics.analysis import DynamicsSettings, analyse
    from workbench.dynamics.fixed_points import check_search
    from workbench.dynamics.step import read_input
    from workbench.dynamics.trajectories import state_hooks

    whole_number(n_tokens, "the number of tokens", least=1)
    whole_number(seed, "seed")
    search = {"n_starts": n_starts, "noise": noise, "tolerance": tolerance, "slow_tolerance": slow_tolerance}
    check_search(n_starts=n_starts, noise=noise, tolerance=tolerance, slow_tolerance=slow_tolerance)
    inputs = run.inputs(run.current("model"), run.current("dataset"))
    config: dict[str, Any] = {"verb": "dynamics", "input": input, "hook": hook, "labels": labels, "units": units}
    config |= search | {"n_tokens": n_tokens, "seed": seed}
    if standing(run, "analysis", name, inputs, config, replace=replace) is None:
        model, dataset = run.model(), run.dataset()
        hooks = state_hooks(model)
        known = [] if dataset.labels is None else dataset.labels.column_names
        if unknown := [label for label in labels or () if label not in known]:
            raise ValueError(f"there is no label {unknown[0]!r}: there are {', '.join(known) or 'none'}.")
        if hook not in (None, *hooks):
            raise ValueError(f"{hook} is no part of this subject's state: there are {', '.join(hooks)}.")
        data = dataset.sample(n_tokens, test_share=0.5, seed=seed)
        if not len(data.sequences("test")):
            raise ValueError(f"{run.path} has no test documents: a portrait is of sequences that were held out.")
        read = read_input(model, _asked(model, input), data.split("test"))
        settings = DynamicsSettings(
            read, search, (hook or hooks[-1]) if units else None, labels, circular_of(run), seed
        )
        with publishing(run.path_of("analysis", name), "analysis", inputs=inputs, config=config, seed=seed) as draft:
            untrained = run.model(step=0) if 0 in checkpoint_steps(run.path) else None
            draft.results["explained"] = analyse(model, untrained, data, Path(draft.path), settings)
        run = run.refresh()
    return run.find("analysis", name)


def points_table(found: "Dynamics") -> str:
    """For each kind of point, of the subject and the untrained one: how many, of how many starts, their modes."""
    rows = []
    for (variant, kind, n_unstable), own in found.table.groupby(["variant", "kind", "n_unstable"], sort=True):
        modulus, slowest = own["modulus"].median(), own["modulus"].max()
        rows.append([variant, kind, int(n_unstable), len(own), int(own["basin"].sum()), modulus, slowest])
    for variant, points in (("trained", found.points), ("untrained", found.untrained)):
        if points is not None and (gone := points.n_lost + points.n_far):
            rows.append([variant, "none, or too far", None, None, gone, None, None])
    return table(["subject", "kind", "unstable modes", "points", "starts", "median top |λ|", "largest |λ|"], rows)


def units_table(found: "Dynamics") -> str:
    """For the labels that are told best by one unit: by which, how well on held-out documents, and the controls.

    All scores are shown as above chance; the sign says whether the unit rises with the label or falls.
    """
    assert found.units is not None
    chosen = found.units[found.units["chosen"]]
    own = chosen[chosen["variant"] == "trained"].set_index("label")
    before = chosen[chosen["variant"] == "untrained"].set_index("label")["held_out"]
    chance = own["measure"].map({"auroc": 0.5, "spearman": 0.0})
    apart = (own["held_out"] - chance).abs()
    best = (apart / (1 - chance)).sort_values(ascending=False, kind="stable").index[:SHOWN]
    sign = own["held_out"].lt(chance).map({True: "−", False: "+"})
    early = chance + (before.reindex(own.index) - chance).abs()
    shown = own.assign(sign=sign, above=chance + apart, early=early.astype(object).where(early.notna(), None)).loc[best]
    columns = ["measure", "unit", "sign", "above", "shuffled", "early"]
    rows = [[label, *values] for label, values in zip(best, shown[columns].to_numpy().tolist(), strict=True)]
    return table(["label", "measure", "unit", "sign", "held out", "labels moved", "untrained"], rows)


def _asked(model: Any, text: str) -> Any:
    """What the option means: a name, a token or its id, or numbers."""
    if text in ("zeros", "mean"):
        return text
    if model.cfg.d_vocab is not None and "," not in text:
        token = model.tokenizer.token_to_id(text) if model.tokenizer is not None else None
        if token is None and not text.isdecimal():
            raise ValueError(f"there is no token {text!r}: give one of the vocabulary, its id, zeros or mean.")
        return int(text) if token is None else token
    parts = text.split(",")
    if not all(_is_number(part) for part in parts):
        raise ValueError(f"the input {text!r} is neither zeros nor mean, nor numbers such as 0,0,1.")
    return [float(part) for part in parts]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
