"""`workbench patch`: where a subject holds what two prompts differ in, and what each part of it says of the answer."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.console import add_run, finish, number, run_path, say, table
from workbench.cli.offered import ABLATIONS, METHODS, PAIR_KINDS, PARTS
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    from workbench.interventions.stand_ins import Ablation
    from workbench.patching import Patching, Prompts

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
    parser.add_argument("--pairs", choices=PAIR_KINDS, help="minimal pairs of Python source instead")
    parser.add_argument(
        "--examples", action="store_true", help="pairs of the run's held-out examples instead, of a task"
    )
    parser.add_argument("--n", type=number, metavar="N", help=f"how many pairs or examples (default: {N_PAIRS})")
    parser.add_argument(
        "--hooks", nargs="+", metavar="HOOK", help="where (default: the residual stream, heads' outputs, or states)"
    )
    parser.add_argument(
        "--by",
        nargs="*",
        choices=PARTS,
        default=["position"],
        help="what is taken one at a time, what is not named all at once; nothing: whole hooks (default: position)",
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="patching",
        help="patching: what the clean prompt has there is put into the corrupt one; attribution: the same, estimated "
        "from gradients, all places in a few runs; ablation: something that means nothing is put into the clean one "
        "(default: patching)",
    )
    parser.add_argument(
        "--steps",
        type=number,
        metavar="N",
        help="of --method attribution: gradients are taken at N points between the prompts (default: 1, the corrupt)",
    )
    parser.add_argument(
        "--ablation", choices=ABLATIONS, help="of --method ablation: what is put there instead (default: mean)"
    )
    parser.add_argument(
        "--controls",
        type=number,
        default=1,
        metavar="N",
        help="random directions for each place (default: 1); attribution to logits always has 40 random answers",
    )
    parser.add_argument("--batch-size", type=number, default=64, metavar="N", help="prompts a pass (default: 64)")
    parser.add_argument("--name", default="patch", help="the result's name (default: patch)")
    parser.add_argument("--seed", type=int, default=0, help="of pairs, controls and intervals")
    parser.add_argument("--replace", action="store_true", help="make it anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench patch` does and prints."""
    from workbench.patching import read_patching

    made = make_patching(
        Run.open(run_path(args.run)),
        args.name,
        clean=args.clean,
        corrupt=args.corrupt,
        answer=args.answer,
        wrong=args.wrong,
        pairs=args.pairs,
        examples=args.examples,
        n=args.n,
        hooks=args.hooks,
        by=args.by,
        method=args.method,
        ablation=args.ablation,
        steps=args.steps,
        n_controls=args.controls,
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
    name: str = "patch",
    *,
    clean: str | None = None,
    corrupt: str | None = None,
    answer: str | None = None,
    wrong: str | None = None,
    pairs: str | None = None,
    examples: bool = False,
    n: int | None = None,
    hooks: list[str] | None = None,
    by: list[str] | None = None,
    method: str = "patching",
    ablation: "Ablation | None" = None,
    steps: int | None = None,
    n_controls: int = 1,
    batch_size: int = 64,
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """Interventions on pairs of prompts: those that are there, or made now. One of texts, `pairs` and `examples`."""
    from models.artifacts import publishing
    from models.checked_input import whole_number
    from models.saving import checkpoint_steps
    from workbench.interventions.stand_ins import refuse_unknown
    from workbench.patching import Settings, patch_prompts
    from workbench.patching.results import VERB

    typed = clean is not None or corrupt is not None
    if typed + (pairs is not None) + examples != 1:
        raise ValueError("prompts are wanted from one place: --clean with --corrupt, --pairs, or --examples.")
    if typed and (clean is None or corrupt is None):
        raise ValueError("patching wants two prompts: give both --clean and --corrupt.")
    if not typed and (answer is not None or wrong is not None):
        raise ValueError("--answer and --wrong are of typed prompts: pairs and examples have answers of their own.")
    if typed and n is not None:
        raise ValueError("--n is of --pairs and --examples: typed prompts are one pair.")
    for given, option, of in ((ablation, "ablation", "ablation"), (steps, "steps", "attribution")):
        if given is not None and method != of:
            raise ValueError(f"--{option} is of --method {of}: this one is {method}.")
    n = N_PAIRS if n is None else n
    steps = 1 if steps is None else steps
    ablation = "mean" if ablation is None else ablation
    for value, what in (
        (n, "the number of pairs"),
        (steps, "the number of steps"),
        (n_controls, "the number of controls"),
        (batch_size, "the number of prompts a pass"),
    ):
        whole_number(value, what, least=1)
    whole_number(seed, "seed")
    refuse_unknown(ablation)
    by = ["position"] if by is None else by
    config: dict[str, Any] = {"verb": VERB, "clean": clean, "corrupt": corrupt, "answer": answer, "wrong": wrong}
    config |= {"pairs": pairs, "examples": examples, "n": 1 if typed else n, "hooks": hooks, "by": by, "method": method}
    config |= {"ablation": ablation if method == "ablation" else None, "steps": steps, "n_controls": n_controls}
    config |= {"seed": seed}
    inputs = run.inputs(run.current("model"), run.current("dataset"))
    if standing(run, "analysis", name, inputs, config, replace=replace) is None:
        model = run.model()
        prompts = _prompts(run, model, config)
        chosen = default_hooks(model, by) if hooks is None else model.match_hooks(hooks)
        settings = Settings(method, chosen, by, ablation, steps, n_controls, batch_size, seed)
        untrained = run.model(step=0) if 0 in checkpoint_steps(run.path) else None
        with publishing(run.path_of("analysis", name), "analysis", inputs=inputs, config=config, seed=seed) as draft:
            draft.results |= patch_prompts(model, untrained, prompts, Path(draft.path), settings)
        run = run.refresh()
    return run.find("analysis", name)


def _prompts(run: Run, model: Any, config: dict[str, Any]) -> "Prompts":
    from workbench.patching import example_prompts, minimal_pair_prompts, typed_prompts

    if config["clean"] is not None:
        return typed_prompts(model, *(config[name] for name in ("clean", "corrupt", "answer", "wrong")))
    if config["pairs"] is not None:
        return minimal_pair_prompts(model, config["pairs"], config["n"], config["seed"])
    return example_prompts(run.dataset(with_labels=False), config["n"], config["seed"])


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
    from workbench.patching.results import PLACES

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
    return f"largest effects ({effect})\n" + table([*there, own, *controls], rows)
