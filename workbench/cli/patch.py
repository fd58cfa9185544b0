"""`workbench patch`: where a subject holds what two prompts differ in, and what each part of it says of the answer."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli import patch_rotation
from workbench.cli.console import add_run, finish, number, run_path, say, table
from workbench.cli.offered import ABLATIONS, METHODS, PARTS, SWAPPED_AT
from workbench.cli.prompt_options import AskedPrompts, add_prompts
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    from workbench.experiments import Patching
    from workbench.interventions.hook_parts import Part
    from workbench.interventions.stand_ins import Ablation

# Lines of the table a person reads: the places with the largest effects.
SHOWN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    add_prompts(parser)
    parser.add_argument(
        "--hooks", nargs="+", metavar="HOOK", help="where (default: the residual stream, heads' outputs, or states)"
    )
    parser.add_argument(
        "--by",
        nargs="*",
        choices=PARTS,
        help="what is taken one at a time, what is not named all at once; nothing: whole hooks (default: position)",
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="patching",
        help="patching: what the clean prompt has there is put into the corrupt one; attribution: the same, estimated "
        "from gradients, all places in a few runs; ablation: something that means nothing is put into the clean one; "
        "rotation: directions are learned along which a swap for the corrupt prompt's values turns the clean one's "
        "answer, and scored on pairs that were held out (default: patching)",
    )
    parser.add_argument(
        "--steps",
        type=number,
        metavar="N",
        help="of --method attribution: gradients are taken at N points between the prompts (default: 1, the corrupt); "
        f"of --method rotation: steps of each search (default: {patch_rotation.STEPS})",
    )
    parser.add_argument(
        "--directions",
        nargs="+",
        type=number,
        metavar="K",
        help="of --method rotation: how many directions, a search for each number (default: 1)",
    )
    parser.add_argument(
        "--at",
        choices=SWAPPED_AT,
        help="of --method rotation: where they are swapped: last, where the answer is asked; differ, wherever the "
        "prompts differ up to there (default: last)",
    )
    parser.add_argument(
        "--ablation", choices=ABLATIONS, help="of --method ablation: what is put there instead (default: mean)"
    )
    parser.add_argument(
        "--set",
        action="append",
        dest="sets",
        metavar="NAME=PLACE,…",
        help="of --method ablation, again for each set: places that are taken out together, in place of --hooks and "
        "--by: heads as LAYER.HEAD, or hooks, such as both=1.0,1.1",
    )
    parser.add_argument(
        "--controls",
        type=number,
        metavar="N",
        help=f"random directions for each place (default: 1, of --method rotation {patch_rotation.CONTROLS}); "
        "attribution to logits always has 40 random answers",
    )
    parser.add_argument("--batch-size", type=number, default=64, metavar="N", help="prompts a pass (default: 64)")
    parser.add_argument("--name", help="the result's name (default: patch, of --method rotation: rotation)")
    parser.add_argument("--seed", type=int, default=0, help="of pairs, controls and intervals")
    parser.add_argument("--replace", action="store_true", help="make it anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench patch` does and prints."""
    from workbench.experiments import read_patching

    refuse_foreign(args)
    if args.method == "rotation":
        patch_rotation.run(args)
        return
    made = make_patching(
        Run.open(run_path(args.run)),
        AskedPrompts.of(args),
        args.name or "patch",
        hooks=args.hooks,
        by=args.by,
        method=args.method,
        ablation=args.ablation,
        steps=args.steps,
        sets=args.sets,
        n_controls=1 if args.controls is None else args.controls,
        batch_size=args.batch_size,
        seed=args.seed,
        replace=args.replace,
    )
    found = read_patching(made.path)
    told = made.manifest.config["results"]
    some = "" if told["mapped"] == told["pairs"] else f" (the map: {told['mapped']:,} that are aligned word by word)"
    many = "s" if told["pairs"] != 1 else ""
    say(args, f"{made.path}: {told['pairs']:,} pair{many} of prompts{some}")
    say(args, f"metric: {told['clean']:+.3f} clean, {told['corrupt']:+.3f} corrupt")
    first = found.pairs[found.pairs["pair"] == found.first].iloc[0]
    if first["answer"]:
        said = "the answer" if told["pairs"] == 1 else "the answer of the first"
        say(args, f"{said}: {first['answer']!r}, not {first['wrong']!r}")
    if found.profile is not None:
        say(args, profile_table(found))
    if found.profile is None or set(made.manifest.config["by"]) != {"position"}:
        say(args, effects_table(found))
    if found.crossing:
        say(args, f"the effect crosses to the last token at {found.crossing}.")
    if found.is_everywhere:
        say(args, "these states are all that is kept, and so any of them restores all: --by position unit, or gates as")
        say(args, "--hooks, say which part of them does.")
    say(args, f"next: workbench explore --run {args.run}")
    result = {"path": str(made.path), "id": made.id, "pairs": told["pairs"], "crosses_at": found.crossing}
    finish(args, result | {"clean": told["clean"], "corrupt": told["corrupt"]})


def make_patching(
    run: Run,
    asked: AskedPrompts,
    name: str = "patch",
    *,
    hooks: list[str] | None = None,
    by: list[str] | None = None,
    method: str = "patching",
    ablation: "Ablation | None" = None,
    steps: int | None = None,
    sets: list[str] | None = None,
    n_controls: int = 1,
    batch_size: int = 64,
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """Interventions on pairs of prompts: those that are there, or made now."""
    from models.artifacts import publishing
    from models.checked_input import whole_number
    from models.saving import checkpoint_steps
    from workbench.experiments import PatchingSettings, patch_prompts
    from workbench.experiments.patching_results import VERB
    from workbench.interventions.stand_ins import refuse_unknown

    if sets is not None and (hooks is not None or by is not None):
        raise ValueError("--set names what is taken out together: leave out --hooks and --by.")
    steps = 1 if steps is None else steps
    ablation = "mean" if ablation is None else ablation
    for value, what in (
        (asked.count, "the number of pairs"),
        (steps, "the number of steps"),
        (n_controls, "the number of controls"),
        (batch_size, "the number of prompts a pass"),
    ):
        whole_number(value, what, least=1)
    whole_number(seed, "seed")
    refuse_unknown(ablation)
    by = by if by is not None else [] if sets is not None else ["position"]
    config: dict[str, Any] = {"verb": VERB, **asked.config, "hooks": hooks, "by": by, "method": method}
    config |= {"ablation": ablation if method == "ablation" else None, "steps": steps, "n_controls": n_controls}
    config |= {"sets": sets, "seed": seed}
    inputs = run.inputs(run.current("model"), run.current("dataset"))
    if standing(run, "analysis", name, inputs, config, replace=replace) is None:
        model = run.model()
        prompts = asked.read(run, model, seed)
        together = None if sets is None else read_sets(model, sets)
        if together is not None:
            chosen = list(dict.fromkeys(part.hook for places in together.values() for part in places))
        else:
            chosen = default_hooks(model, by) if hooks is None else model.match_hooks(hooks)
        settings = PatchingSettings(method, chosen, by, ablation, steps, n_controls, batch_size, seed, together)
        untrained = run.model(step=0) if 0 in checkpoint_steps(run.path) else None
        with publishing(run.path_of("analysis", name), "analysis", inputs=inputs, config=config, seed=seed) as draft:
            draft.results |= patch_prompts(model, untrained, prompts, Path(draft.path), settings)
        run = run.refresh()
    return run.find("analysis", name)


def refuse_foreign(args: argparse.Namespace) -> None:
    """`ValueError` for an option of another method than the one that is asked for."""
    for option, given, methods in (
        ("ablation", args.ablation, ("ablation",)),
        ("set", args.sets, ("ablation",)),
        ("steps", args.steps, ("attribution", "rotation")),
        ("directions", args.directions, ("rotation",)),
        ("at", args.at, ("rotation",)),
        ("by", args.by, ("patching", "attribution", "ablation")),
    ):
        if given is not None and args.method not in methods:
            raise ValueError(f"--{option} is of --method {' or '.join(methods)}: this one is {args.method}.")


def read_sets(model: Any, given: list[str]) -> "dict[str, list[Part]]":
    """Sets of places as the command line names them: `NAME=PLACE,…`, a place `LAYER.HEAD` or a hook.

    Raises:
        ValueError: a set has no name or one of another's, or a place is not there.
    """
    from workbench.interventions.hook_parts import Part

    found: dict[str, list[Part]] = {}
    for text in given:
        name, _, places = text.partition("=")
        if not name or not places or "" in places.split(","):
            raise ValueError(f"the set {text!r} is not NAME=PLACE,PLACE, such as both=1.0,1.1.")
        if name in found:
            raise ValueError(f"two sets are named {name!r}: give each a name of its own.")
        found[name] = [part for place in places.split(",") for part in _places(model, place)]
    return found


def _places(model: Any, place: str) -> "list[Part]":
    from workbench.interventions.hook_parts import Part

    numbers = re.fullmatch(r"(\d+)\.(\d+)", place)
    if numbers is None:
        return [Part(hook) for hook in model.match_hooks(place)]
    if (hook := f"blocks.{numbers[1]}.attn.hook_z") not in model.hook_dict:
        raise ValueError(f"there is no head {place}: this subject has no hook {hook}.")
    return [Part(hook, int(numbers[2]))]


def default_hooks(model: Any, by: list[str]) -> list[str]:
    """Heads' outputs where heads are taken apart; else a recurrent subject's states, or the stream of every layer."""
    from models import Recurrent
    from workbench.dynamics.trajectories import state_hooks
    from workbench.interventions.reading_out import read_out_of

    if "head" in by:
        found = [name for name in model.hook_dict if name.endswith("attn.hook_z")]
        if not found:
            raise ValueError(
                f"a {type(model).__name__} like this has no heads whose outputs could be taken: name --hooks."
            )
        return found
    if isinstance(model, Recurrent):
        return state_hooks(model)
    encoder = re.compile(r"encoder_blocks\.\d+\.(hook_out|hook_resid_post)")
    return [*filter(encoder.fullmatch, model.hook_dict), *read_out_of(model).hooks]


def profile_table(found: "Patching") -> str:
    """Hook by place, the control's mean beside each place that has one."""
    from workbench.experiments.patching_results import PLACES

    assert found.profile is not None
    means = found.profile.pivot_table("effect", "hook", ["place", "variant"], sort=False)
    columns = [(place, variant) for place in PLACES if place in means for variant in means[place].columns]
    heads = [place if variant == "patch" else "random" for place, variant in columns]
    rows = [[hook, *means.loc[hook, columns].tolist()] for hook in means.index]
    return "share of the effect restored\n" + table(["hook", *heads], rows)


def effects_table(found: "Patching") -> str:
    """The places of the largest effects, beside the control at the same place."""
    places = ["hook", "head", "position", "unit"]
    means = found.table.groupby([*places, "variant"], dropna=False, sort=False)["effect"].mean().unstack("variant")
    own, *controls = list(dict.fromkeys(found.table["variant"]))
    best = means.reindex(means[own].abs().sort_values(ascending=False, kind="stable").index).head(SHOWN).reset_index()
    there = [name for name in places if best[name].notna().any()]
    rows = best[[*there, own, *controls]].astype(object).to_numpy().tolist()
    effect = "effect on the metric" if found.method == "ablation" else "share restored"
    if "places" in found.table:  # of sets, each of which is a line
        of = found.table.drop_duplicates("hook").set_index("hook")["places"]
        rows, there = [[row[0], of[row[0]], *row[1:]] for row in rows], ["set", "places"]
    return f"largest effects ({effect})\n" + table([*there, own, *controls], rows)
