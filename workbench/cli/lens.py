"""`workbench lens`: what a subject's read-out says of each layer, on held-out sequences and of a text."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.console import add_run, begin, finish, number, run_path, say, table
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    import pandas as pd

    from workbench.experiments import LensReading, PromptLens

N_TOKENS, N_STEPS = 20_000, 250
# What is told of every layer, in words; the other measures are in the table that is kept.
MEASURES = {"loss": "loss, nats", "kl": "KL to its own, nats", "rank": "rank", "probability": "probability"}
# Parts of a subject in the table a person reads.
SHOWN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument(
        "--tuned",
        action="store_true",
        help="fit a tuned lens on training sequences too, and one to shuffled answers as its control",
    )
    parser.add_argument("--steps", type=number, metavar="N", help=f"of each such fit (default: {N_STEPS})")
    parser.add_argument(
        "--tokens", type=number, default=N_TOKENS, metavar="N", help="of held-out sequences to read (default: 20k)"
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", help="what each layer would say of this text, and what adds to its next token"
    )
    parser.add_argument(
        "--hooks", nargs="+", metavar="HOOK", help="where (default: the stream, or what recurrent layers hand up)"
    )
    parser.add_argument("--batch-size", type=number, default=64, metavar="N", help="sequences a pass (default: 64)")
    parser.add_argument("--name", default="lens", help="the result's name (default: lens)")
    parser.add_argument("--seed", type=int, default=0, help="of the sequences, fits, controls and intervals")
    parser.add_argument("--replace", action="store_true", help="make it anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench lens` does and prints."""
    begin()
    from workbench.experiments import read_lens

    made = make_lens(
        Run.open(run_path(args.run)),
        args.name,
        tuned=args.tuned,
        n_steps=args.steps,
        n_tokens=args.tokens,
        prompt=args.prompt,
        hooks=args.hooks,
        batch_size=args.batch_size,
        seed=args.seed,
        replace=args.replace,
    )
    found = read_lens(made.path)
    result: dict[str, Any] = {"path": str(made.path), "id": made.id}
    result |= {"sequences": made.manifest.config["results"]["sequences"]}
    say(args, f"{made.path}: read on {result['sequences']:,} held-out sequences")
    say(args, layers_table(found))
    if counted := counted_losses(found):
        said = ", ".join(f"{loss:.3f} of {name}s" for name, loss in counted.items())
        say(args, f"loss of counting alone: {said}")
    if found.tuned is not None:
        say(args, f"the tuned lens: TunedLens.load({str(found.tuned)!r})")
    if (prompt := found.prompt) is not None:
        result |= {"answer": prompt.answer, "probability": prompt.probability}
        say(args)
        say(args, f"next token: {prompt.answer!r}, probability {prompt.probability:.3f}; at the last position")
        say(args, words_table(prompt))
        if prompt.attribution is not None:
            say(args)
            say(args, parts_table(prompt.attribution))
    say(args, f"next: workbench explore --run {args.run}")
    finish(args, result)


def make_lens(
    run: Run,
    name: str = "lens",
    *,
    tuned: bool = False,
    n_steps: int | None = None,
    n_tokens: int = N_TOKENS,
    prompt: str | None = None,
    hooks: list[str] | None = None,
    batch_size: int = 64,
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """What a subject's read-out says of its layers: what is there, or made now."""
    from models.artifacts import publishing
    from models.checked_input import whole_number
    from models.saving import checkpoint_steps
    from workbench.experiments.lens import LensSettings, ReadPrompt, check_layers, read_layers
    from workbench.experiments.lens_results import VERB

    if n_steps is not None and not tuned:
        raise ValueError("--steps is of a lens that is fitted: add --tuned.")
    n_steps = N_STEPS if n_steps is None else n_steps
    whole_number(n_tokens, "the number of tokens", least=1)
    whole_number(n_steps, "the number of steps", least=1)
    whole_number(batch_size, "the number of sequences a pass", least=1)
    whole_number(seed, "seed")
    inputs = run.inputs(run.current("model"), run.current("dataset"))
    config: dict[str, Any] = {"verb": VERB, "tuned": tuned, "n_steps": n_steps if tuned else None}
    config |= {"n_tokens": n_tokens, "prompt": prompt, "hooks": hooks, "seed": seed}
    if standing(run, "analysis", name, inputs, config, replace=replace) is None:
        model, dataset = run.model(), run.dataset(with_labels=False)
        if not len(dataset.sequences("test")):
            raise ValueError(f"{run.path} has no test documents: layers are read on sequences that were held out.")
        if tuned and not len(dataset.sequences("train")):
            raise ValueError(f"{run.path} has no train documents: a lens is fitted on what is not measured on later.")
        held_out = dataset.sample(n_tokens, test_share=1.0, seed=seed).split("test")
        chosen = None if hooks is None else model.match_hooks(hooks)
        settings = LensSettings(chosen, tuned, n_steps, batch_size, seed)
        check_layers(model, held_out, settings)
        text = None if prompt is None else ReadPrompt.of(model, prompt)
        untrained = run.model(step=0) if 0 in checkpoint_steps(run.path) else None
        train = dataset.split("train")
        with publishing(run.path_of("analysis", name), "analysis", inputs=inputs, config=config, seed=seed) as draft:
            draft.results |= read_layers(model, untrained, train, held_out, Path(draft.path), settings, text)
        run = run.refresh()
    return run.find("analysis", name)


def layers_table(found: "LensReading") -> str:
    """Each measure by hook, every lens and control beside the others; of several draws the mean."""
    read = found.table[found.table["hook"].notna()]
    variants, hooks = read["variant"].unique().tolist(), _short(read)
    means = read.pivot_table("value", ["measure", "hook"], "variant", sort=False)
    rows = [
        [title if first else "", hooks[hook], *means.loc[(measure, hook), variants].tolist()]
        for measure, title in MEASURES.items()
        for first, hook in zip([True, *[False] * (len(hooks) - 1)], hooks, strict=True)
    ]
    return table(["measure", "after", *variants], rows)


def counted_losses(found: "LensReading") -> dict[str, float]:
    """The losses of what was counted and not read off any layer."""
    counted = found.table[found.table["hook"].isna()]
    return dict(zip(counted["variant"], counted["value"].astype(float), strict=True))


def words_table(prompt: "PromptLens") -> str:
    """The likeliest token of every layer at the last position; with the tuned lens's and the controls' beside it."""
    last = prompt.tokens[(prompt.tokens["position"] == prompt.tokens["position"].max()) & (prompt.tokens["place"] == 1)]
    last = last.drop_duplicates(["hook", "variant"])  # of several rotations the first
    said = [f"{text!r} {share:.3f}" for text, share in zip(last["text"], last["probability"], strict=True)]
    wide = last.assign(said=said).pivot_table("said", "hook", "variant", aggfunc="first", sort=False)
    variants, short = last["variant"].unique().tolist(), _short(last)
    return table(["after", *variants], [[name, *wide.loc[hook, variants].tolist()] for hook, name in short.items()])


def parts_table(attribution: "pd.DataFrame") -> str:
    """The parts that add most to the likeliest token's logit, and what they add to random answers."""
    largest = attribution["value"].abs().nlargest(SHOWN).index
    most = attribution.loc[largest].sort_values("value", ascending=False, kind="stable")
    rows = most[["part", "value", "control_low", "control_high"]].to_numpy().tolist()
    logit = float(attribution["logit"].iloc[0])
    head = f"parts that add most to its logit, {logit:.3f}"
    return f"{head}\n" + table(["part", "adds", "random answers from", "to"], rows)


def _short(found: "pd.DataFrame") -> dict[str, str]:
    from workbench.figures.hook_names import short_hooks

    return short_hooks(found["hook"].unique().tolist())
