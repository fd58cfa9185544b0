"""`workbench patch`: where a subject holds what two prompts differ in, and what each part of it says of the answer."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.console import add_run, finish, number, run_path, say, table
from workbench.cli.heads import ABLATIONS, checked_ablation
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    from workbench.cli.prompt_pairs import Prompts
    from workbench.interventions.results import Patching

KINDS = ("bracket", "quote", "name", "keyword")
METHODS = ("patching", "attribution", "ablation")
PARTS = ("position", "head", "unit")
N_PAIRS = 64
# Lines of the table a person reads: the places with the largest effects.
SHOWN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument("--clean", metavar="TEXT", help="a prompt")
    parser.add_argument("--corrupt", metavar="TEXT", help="the same but for a word or so, as many tokens long")
    parser.add_argument("--answer", metavar="TOKEN", help="after the clean prompt (default: the subject's likeliest)")
    parser.add_argument("--wrong", metavar="TOKEN", help="after the corrupt prompt (default: the subject's likeliest)")
    parser.add_argument("--pairs", choices=KINDS, help="minimal pairs of Python source instead")
    parser.add_argument("--examples", type=number, metavar="N", help="pairs of the run's held-out examples instead")
    parser.add_argument("--n", type=number, default=N_PAIRS, metavar="N", help="how many minimal pairs (default: 64)")
    parser.add_argument(
        "--hooks", nargs="+", metavar="HOOK", help="where (default: the residual stream, heads' outputs, or states)"
    )
    parser.add_argument(
        "--by",
        nargs="+",
        choices=PARTS,
        default=["position"],
        metavar="PART",
        help="what is taken one at a time: position, head, unit (default: position)",
    )
    parser.add_argument("--method", choices=METHODS, default="patching", help="(default: patching)")
    parser.add_argument("--ablation", choices=ABLATIONS, default="mean", help="of an ablation (default: mean)")
    parser.add_argument(
        "--controls", type=number, default=1, metavar="N", help="random directions for each (default: 1)"
    )
    parser.add_argument("--name", default="patch", help="the result's name (default: patch)")
    parser.add_argument("--seed", type=int, default=0, help="of pairs, controls and intervals")
    parser.add_argument("--replace", action="store_true", help="make it anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench patch` does and prints."""
    from workbench.interventions.results import read_patching

    made = make_patching(
        Run.open(run_path(args.run)),
        args.name,
        clean=args.clean,
        corrupt=args.corrupt,
        answer=args.answer,
        wrong=args.wrong,
        pairs=args.pairs,
        n=args.n,
        examples=args.examples,
        hooks=args.hooks,
        by=args.by,
        method=args.method,
        ablation=args.ablation,
        n_controls=args.controls,
        seed=args.seed,
        replace=args.replace,
    )
    found = read_patching(made.path)
    told = made.manifest.config["results"]
    some = "" if told["mapped"] == told["pairs"] else f" (the map: {told['mapped']:,} that are aligned word by word)"
    many = "s" if told["pairs"] != 1 else ""
    say(args, f"{made.path}: {told['pairs']:,} pair{many} of prompts{some}")
    say(args, f"metric: {told['clean']:+.3f} clean, {told['corrupt']:+.3f} corrupt")
    say(args, profile_table(found) or effects_table(found))
    if found.crossing:
        say(args, f"the effect crosses to the last token at {found.crossing}.")
    say(args, f"next: workbench explore --run {args.run}")
    result = {"path": str(made.path), "id": made.id, "pairs": told["pairs"], "crosses_at": found.crossing}
    finish(args, result | {"clean": told["clean"], "corrupt": told["corrupt"]})


def make_patching(
    run: Run,
    name: str = "patch",
    *,
    clean: str | None = None,
    corrupt: str | None = None,
    answer: str | None = None,
    wrong: str | None = None,
    pairs: str | None = None,
    n: int = N_PAIRS,
    examples: int | None = None,
    hooks: list[str] | None = None,
    by: list[str] | None = None,
    method: str = "patching",
    ablation: str = "mean",
    n_controls: int = 1,
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """Interventions on pairs of prompts: those that are there, or made now. One of texts, `pairs` and `examples`."""
    from models.artifacts import publishing
    from models.checked_input import whole_number
    from models.saving import checkpoint_steps
    from workbench.cli.patching import Settings, patch_prompts
    from workbench.interventions.results import VERB

    typed = clean is not None or corrupt is not None
    if typed + (pairs is not None) + (examples is not None) != 1:
        raise ValueError("prompts are wanted from one place: --clean with --corrupt, --pairs, or --examples.")
    if typed and (clean is None or corrupt is None):
        raise ValueError("patching wants two prompts: give both --clean and --corrupt.")
    if not typed and (answer is not None or wrong is not None):
        raise ValueError("--answer and --wrong are of typed prompts: pairs and examples have answers of their own.")
    for value, what in ((n, "the number of pairs"), (n_controls, "the number of controls")):
        whole_number(value, what, least=1)
    whole_number(seed, "seed")
    by = ["position"] if by is None else by
    config: dict[str, Any] = {"verb": VERB, "clean": clean, "corrupt": corrupt, "answer": answer, "wrong": wrong}
    config |= {"pairs": pairs, "n": n, "examples": examples, "hooks": hooks, "by": by, "method": method}
    stand_in = checked_ablation(ablation)
    config |= {"ablation": ablation if method == "ablation" else None, "n_controls": n_controls, "seed": seed}
    inputs = run.inputs(run.current("model"), run.current("dataset"))
    if standing(run, "analysis", name, inputs, config, replace=replace) is None:
        model = run.model()
        prompts = _prompts(run, model, config)
        chosen = default_hooks(model, by) if hooks is None else model.match_hooks(hooks)
        settings = Settings(method, chosen, by, stand_in, n_controls, seed)
        untrained = run.model(step=0) if 0 in checkpoint_steps(run.path) else None
        with publishing(run.path_of("analysis", name), "analysis", inputs=inputs, config=config, seed=seed) as draft:
            draft.results |= patch_prompts(model, untrained, prompts, Path(draft.path), settings)
        run = run.refresh()
    return run.find("analysis", name)


def _prompts(run: Run, model: Any, config: dict[str, Any]) -> "Prompts":
    from workbench.cli.prompt_pairs import example_prompts, minimal_pair_prompts, typed_prompts

    if config["clean"] is not None:
        return typed_prompts(model, *(config[name] for name in ("clean", "corrupt", "answer", "wrong")))
    if config["pairs"] is not None:
        return minimal_pair_prompts(model, config["pairs"], config["n"], config["seed"])
    return example_prompts(run.dataset(with_labels=False), config["examples"], config["seed"])


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
    from workbench.interventions.results import PLACES

    if found.profile is None:
        return ""
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
    return f"largest effects ({effect})\n" + table([*there, own, *controls], rows)
