"""`workbench patch --method rotation`: the directions along which a swap turns a clean prompt's answer."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.console import begin, finish, run_path, say, table
from workbench.cli.prompt_options import AskedPrompts
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    from workbench.experiments import Rotations

STEPS, CONTROLS = 300, 5


def run(args: argparse.Namespace) -> None:
    """What the verb does and prints."""
    begin()
    from workbench.experiments import read_rotations

    made = make_rotation(
        Run.open(run_path(args.run)),
        AskedPrompts.of(args),
        args.name or "rotation",
        hooks=args.hooks,
        k=args.directions,
        at=args.at or "last",
        steps=STEPS if args.steps is None else args.steps,
        n_controls=CONTROLS if args.controls is None else args.controls,
        batch_size=args.batch_size,
        seed=args.seed,
        replace=args.replace,
    )
    found, told = read_rotations(made.path), made.manifest.config["results"]
    where = "where the answer is asked" if found.place == "last" else "where the prompts differ"
    say(args, f"{made.path}: {told['fitted']:,} pairs of prompts fitted, {told['held_out']:,} held out")
    say(args, f"metric: {told['clean']:+.3f} clean, {told['corrupt']:+.3f} corrupt; swapped {where}")
    say(args, scores_table(found, "said", "share of held-out pairs in which the corrupt prompt's answer is said"))
    say(args, scores_table(found, "effect", "share of the way from the clean runs' metric to the corrupt runs'"))
    say(args, f"next: workbench explore --run {args.run}")
    own = found.table[found.table["variant"] == "learned"][["hook", "k", "said", "effect"]]
    finish(args, {"path": str(made.path), "id": made.id, **told, "learned": own.to_dict("records")})


def make_rotation(
    run: Run,
    asked: AskedPrompts,
    name: str = "rotation",
    *,
    hooks: list[str] | None = None,
    k: list[int] | None = None,
    at: str = "last",
    steps: int = STEPS,
    n_controls: int = CONTROLS,
    batch_size: int = 64,
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """Directions learned on pairs of prompts: those that are there, or made now."""
    from models.artifacts import publishing
    from models.checked_input import whole_number
    from models.saving import checkpoint_steps
    from workbench.experiments import Search, rotate_prompts
    from workbench.experiments.rotation import PARTS
    from workbench.experiments.rotation_results import VERB

    if asked.is_typed:
        raise ValueError(
            "one pair of prompts cannot be split into fitted and held-out ones: --method rotation wants --pairs or "
            "--examples."
        )
    k = [1] if k is None else k
    for value, what in (
        (asked.count, "the number of pairs"),
        *((number, "the number of directions") for number in k),
        (steps, "the number of steps"),
        (n_controls, "the number of controls"),
        (batch_size, "the number of prompts a pass"),
    ):
        whole_number(value, what, least=1)
    whole_number(seed, "seed")
    config: dict[str, Any] = {"verb": VERB, **asked.config, "hooks": hooks, "k": k, "at": at, "steps": steps}
    config |= {"n_controls": n_controls, "seed": seed}
    inputs = run.inputs(run.current("model"), run.current("dataset"))
    if standing(run, "analysis", name, inputs, config, replace=replace) is None:
        model = run.model()
        prompts = asked.read(run, model, seed)
        chosen = default_hooks(model, at) if hooks is None else model.match_hooks(hooks)
        search = Search(chosen, k, at, steps, n_controls, batch_size, seed)
        untrained = run.model(step=0) if 0 in checkpoint_steps(run.path) else None
        with publishing(run.path_of("analysis", name), "analysis", inputs=inputs, config=config, seed=seed) as draft:
            draft.scratch = {PARTS}
            draft.results |= rotate_prompts(model, untrained, prompts, Path(draft.path), search)
        run = run.refresh()
    return run.find("analysis", name)


def default_hooks(model: Any, at: str) -> list[str]:
    """A recurrent subject's states; else the stream, but for the end of it at which nothing could be swapped.

    Before the first layer the last token has nothing of what came before; after the last nothing reads other positions.
    """
    from models import Recurrent, Transformer
    from workbench.dynamics.trajectories import state_hooks
    from workbench.interventions.reading_out import read_out_of

    if isinstance(model, Recurrent):
        return state_hooks(model)
    if not isinstance(model, Transformer):
        raise ValueError(f"where a {type(model).__name__} may hold an answer is not known beforehand: name --hooks.")
    stream = read_out_of(model).hooks
    return list(stream[1:] if at == "last" else stream[:-1])


def scores_table(found: "Rotations", score: str, title: str) -> str:
    """Hook and number of directions by variant; of random frames the mean."""
    from workbench.experiments.rotation_results import VARIANTS

    means = found.table.pivot_table(score, ["hook", "k"], "variant", sort=False, dropna=False)
    means = means[[name for name in VARIANTS if name in means]].dropna(axis=1, how="all")
    rows = [[hook, int(k), *map(float, line)] for (hook, k), line in zip(means.index, means.to_numpy(), strict=True)]
    return f"{title}\n" + table(["hook", "k", *means.columns], rows)
