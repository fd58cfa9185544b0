"""`workbench sae`: dictionaries are trained on a recording and measured beside their controls."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli import dictionaries, frontier
from workbench.cli.console import add_run, finish, number, run_path, say, table
from workbench.cli.reading import Reading, read
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    from workbench.cli.dictionaries import OpenLog, Wanted

ARCHITECTURES = ("topk", "batchtopk", "matryoshka_batchtopk", "jumprelu", "gated", "standard")
SHOWN = {
    "l0": "L0",
    "explained_variance": "explained variance",
    "dead_fraction": "dead",
    "loss_recovered_zero": "loss recovered (zero)",
    "loss_recovered_mean": "(mean)",
}
# What a sweep varies where nobody says what: k, as multiples of the usual one.
SWEPT = (0.5, 1, 2, 4)
# Options that take several values in a sweep.
# An L0 that is this share off what was asked for is told of.
MISSED = 0.25
LISTED = ("hook", "architecture", "width", "k", "target_l0", "sparsity", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    what = parser.add_argument_group("what is read")
    what.add_argument("--activations", metavar="NAME", help="the recording to read (default: the newest)")
    what.add_argument("--hook", nargs="+", metavar="HOOK", help="the hook to read (default: the recording's first)")
    what.add_argument("--out-hook", metavar="HOOK", help="train a transcoder, from --hook to this hook")
    what.add_argument("--skip", action="store_true", help="give the transcoder a linear map beside its latents")
    what.add_argument(
        "--hooks", nargs="+", metavar="HOOK", help="train a crosscoder: these hooks, of one width, through one code"
    )
    what.add_argument(
        "--with",
        dest="other",
        metavar="RUN",
        help="train a crosscoder of two subjects: this run's recording, or RUN/activations/NAME, beside ours; "
        "both must hold the same rows",
    )
    shape = parser.add_argument_group("what is trained (in a sweep, several values each)")
    shape.add_argument("--name", help="the dictionary's name, or the sweep's (default: from hook, architecture, …)")
    shape.add_argument(
        "--architecture",
        nargs="+",
        default=[dictionaries.ARCHITECTURE],
        metavar="NAME",
        help=f"{', '.join(ARCHITECTURES[:-1])} or {ARCHITECTURES[-1]} (default: {dictionaries.ARCHITECTURE})",
    )
    shape.add_argument(
        "--width", type=int, nargs="+", metavar="N", help="latents (default: four a dimension, at most 2048)"
    )
    shape.add_argument(
        "--k",
        type=int,
        nargs="+",
        metavar="N",
        help="latents active at once (default: one for eight dimensions, at most 12)",
    )
    shape.add_argument(
        "--target-l0",
        type=float,
        nargs="+",
        metavar="L0",
        help="jumprelu, gated, standard: latents active on average, for which the sparsity coefficient is searched "
        "while training (default: k)",
    )
    shape.add_argument(
        "--sparsity", type=float, nargs="+", metavar="X", help="jumprelu, gated, standard: that coefficient, fixed"
    )
    shape.add_argument("--seed", type=int, nargs="+", default=[0], metavar="N", help="of the weights (default: 0)")
    how = parser.add_argument_group("how it is trained")
    how.add_argument("--tokens", type=number, default=2_000_000, metavar="N", help="rows to train on (default: 2M)")
    how.add_argument("--batch-size", type=int, metavar="N", help="rows a step (default: 2048, or all where fewer)")
    how.add_argument("--lr", type=float, metavar="X", help="peak learning rate of Adam (default: 0.003)")
    how.add_argument("--revive", metavar="HOW", help="dead latents: aux, resample or none (default: by architecture)")
    how.add_argument(
        "--product", metavar="DTYPE", help="number format of the encoder's product: float32 (default) or bfloat16"
    )
    how.add_argument("--device", default="auto", help="cpu, cuda or cuda:N (default: a GPU where there is one)")
    how.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="log to TensorBoard too")
    how.add_argument("--wandb", metavar="PROJECT", help="log to Weights & Biases too")
    parser.add_argument(
        "--sweep",
        action="store_true",
        help="train one of each combination of the values given, all on one reading of the rows, and compare them "
        "(default: k at half, one, two and four times its usual value)",
    )
    parser.add_argument("--replace", action="store_true", help="train anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench sae` does and prints."""
    if not args.sweep:
        _refuse_several(args)
    if args.hooks and args.hook:
        raise ValueError("--hooks names all the hooks that one code reads, and --hook a single one: leave one out.")
    reading = read(
        Run.open(run_path(args.run)),
        args.activations,
        hooks=args.hooks or args.hook or (),
        out_hook=args.out_hook,
        skip=args.skip,
        together=bool(args.hooks),
        other=args.other,
    )
    wanted = _wanted(args, reading)
    if args.sweep:
        _sweep(args, reading, wanted)
    else:
        _one(args, wanted[0])


def _one(args: argparse.Namespace, wanted: "Wanted") -> None:
    (made,) = dictionaries.make([wanted], device=args.device, logs=_logs(args), replace=args.replace)
    metrics = dictionaries.read_metrics(made)
    say(args, str(made.path))
    say(args, metrics_table(metrics))
    say_missed(args, made)
    if wanted.reading.kind == "sae":
        say(args, f"next: workbench index --run {args.run} --sae {made.name}")
    finish(args, {"path": str(made.path), "id": made.id, "metrics": metrics})


def say_missed(args: argparse.Namespace, dictionary: Artifact) -> None:
    """Tell where a search for an L0 has not come near it."""
    asked = dictionary.manifest.config["training"].get("target_l0")
    found = dictionaries.read_metrics(dictionary)[0]["l0"]
    if asked and abs(found - asked) > MISSED * asked:
        say(
            args,
            f"{dictionary.name}: L0 is {found:.1f} where {asked:g} was asked. The search takes some hundred steps: "
            "give more rows (--tokens) or smaller batches (--batch-size).",
        )


def _sweep(args: argparse.Namespace, reading: Reading, wanted: Sequence["Wanted"]) -> None:
    name = args.name or f"sweep-{reading.stem}"
    frontier.refuse_other(reading.run, name, [w.name for w in wanted], replace=args.replace)
    say(args, f"{len(wanted)} dictionaries on one reading of {args.tokens:,} rows")
    made = dictionaries.make(wanted, device=args.device, logs=_logs(args), replace=args.replace)
    analysis, found = frontier.compare(reading.run, name, made)
    say(args, frontier.shown(found))
    for dictionary in made:
        say_missed(args, dictionary)
    say(args, f"{analysis.path}: {frontier.RESULT}, and the figure {frontier.FIGURE} (Vega-Lite)")
    finish(
        args,
        {
            "path": str(analysis.path),
            "id": analysis.id,
            "on_frontier": found.loc[found["on_frontier"], "name"].tolist(),
            "dictionaries": [{"path": str(m.path), "id": m.id, "metrics": dictionaries.read_metrics(m)} for m in made],
        },
    )


def _wanted(args: argparse.Namespace, reading: Reading) -> "list[Wanted]":
    """One for each combination of the values given."""
    training = {
        field: value
        for field, value in {
            "n_tokens": args.tokens,
            "batch_size": args.batch_size,
            "lr": args.lr,
            "revive": args.revive,
            "product": args.product,
        }.items()
        if value is not None
    }
    searched = args.target_l0 is not None or args.sparsity is not None
    fixed = [architecture for architecture in args.architecture if dictionaries.fixes_k(architecture)]
    if args.target_l0 is not None and args.sparsity is not None:
        raise ValueError("--target-l0 searches for the coefficient that --sparsity gives: leave one of them out.")
    if searched and args.k is not None and not fixed:
        given = "--target-l0" if args.target_l0 is not None else "--sparsity"
        raise ValueError(f"{args.architecture[0]} has no k, and {given} says how sparse it shall be: leave --k out.")
    if searched and len(fixed) == len(args.architecture):
        raise ValueError(f"{args.architecture[0]} has no sparsity coefficient: --k says how many latents are active.")

    return [
        dictionaries.wanted(
            one,
            name=None if args.sweep else args.name,
            family=(args.name or "") if args.sweep else "",
            architecture=architecture,
            d_sae=d_sae,
            seed=seed,
            training=training,
            **sparse,
        )
        for one in reading.each()
        for architecture in dict.fromkeys(args.architecture)
        for d_sae in dict.fromkeys(args.width or [None])
        for sparse in _sparse(args, one, architecture)
        for seed in dict.fromkeys(args.seed)
    ]


def _sparse(args: argparse.Namespace, reading: Reading, architecture: str) -> list[dict[str, Any]]:
    """How sparse: by k, or by what an architecture without one has in its place."""
    if not dictionaries.fixes_k(architecture):
        if args.sparsity is not None:
            return [{"sparsity": x} for x in dict.fromkeys(args.sparsity)]
        if args.target_l0 is not None:
            return [{"k": x} for x in dict.fromkeys(args.target_l0)]
    if args.k is None and args.sweep:
        usual = dictionaries.usual_k(reading.shape()["d_in"])
        return [{"k": k} for k in sorted({max(1, round(usual * share)) for share in SWEPT})]
    return [{"k": k} for k in dict.fromkeys(args.k or [None])]


def _refuse_several(args: argparse.Namespace) -> None:
    for option in LISTED:
        values = getattr(args, option) or ()
        if len(values) > 1:
            raise ValueError(
                f"--{option.replace('_', '-')} has {len(values)} values: add --sweep to train a dictionary of each."
            )


def _logs(args: argparse.Namespace) -> "list[OpenLog]":
    """What opens the logs that were asked for."""
    from workbench.sae.loggers import tensorboard_log, wandb_log

    found: list[OpenLog] = []
    if args.tensorboard is not None:
        found.append(lambda wanted: tensorboard_log(args.tensorboard / wanted.name))
    if args.wandb is not None:
        found.append(lambda wanted: wandb_log(args.wandb, wanted.name, wanted.config))
    return found


def metrics_table(metrics: list[dict[str, Any]]) -> str:
    """The numbers people compare dictionaries by; the controls stand below the trained one."""
    headings = ["dictionary", *SHOWN.values()]
    shown = table(headings, [[row["dictionary"], *(row.get(name) for name in SHOWN)] for row in metrics])
    if not (diverging := [row["dictionary"] for row in metrics if row.get("ce_sae", 0) is None]):
        return shown
    return (
        f"{shown}\nno loss recovered: what {' and '.join(diverging)} reconstructs, in the place of the activations, "
        "makes the subject's loss infinite (a recurrence goes on from it at every step)."
    )
