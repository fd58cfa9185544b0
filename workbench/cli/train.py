"""`workbench train`: a corpus or a task becomes a run's `data/`, and a subject trained on it its `model/`."""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.metrics_log import read_log
from workbench.cli.console import add_run, finish, run_path, say, table
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

DEFAULT_RECIPE = "python-transformer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument("--recipe", default=DEFAULT_RECIPE, help=f"what to train (default: {DEFAULT_RECIPE})")
    parser.add_argument("--list", action="store_true", help="list the recipes, and what each is known to reach")
    parser.add_argument(
        "--corpus",
        type=Path,
        metavar="PATH",
        help="a text file, a folder of them, or JSONL or Parquet with a column `text` "
        "(default: the Python standard library's own source)",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="optimiser steps, instead of the recipe's")
    parser.add_argument("--seed", type=int, help="seed of the weights and of the order of the data")
    parser.add_argument("--replace", action="store_true", help="train anew over a model made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench train` does and prints."""
    from models import recipes

    if args.list:
        rows = [[r.name, r.summary, r.accuracy] for r in recipes.RECIPES.values()]
        say(args, table(["recipe", "what it is", "held-out accuracy"], rows))
        finish(args, {"recipes": [r.name for r in recipes.RECIPES.values()]})
        return
    recipe = recipes.get(args.recipe).with_changes(n_steps=args.steps, seed=args.seed)
    if recipe.task is not None and args.corpus is not None:
        raise ValueError(f"the recipe {recipe.name} learns a task of its own: leave --corpus out.")
    target = Run.create(run_path(args.run))
    data = make_data(target, recipe, args.corpus, replace=args.replace, tell=lambda text: say(args, text))
    model = make_model(target.refresh(), recipe, replace=args.replace)
    result = {"run": str(target.path), "data": data.id, "model": model.id} | last_metrics(target.path)
    shown = SHOWN if recipe.task is None else SHOWN_OF_TASKS
    say(args, table(list(shown.values()), [[result[k] for k in shown]]))
    say(args, f"next: workbench harvest --run {args.run}")
    finish(args, result)


SHOWN = {
    "heldout_loss": "held-out loss",
    "unigram_loss": "unigrams",
    "bigram_loss": "bigrams",
    "step": "steps",
}
SHOWN_OF_TASKS = {"heldout_loss": "held-out loss", "heldout_accuracy": "held-out accuracy", "step": "steps"}


def make_data(
    run: Run, recipe: Any, corpus: Path | None, *, replace: bool = False, tell: Callable[[str], None]
) -> Artifact:
    """The run's dataset: the one that is there, or a task's examples, or a corpus read, tokenized and labelled."""
    if recipe.task is not None:
        return _make_examples(run, recipe, replace=replace, tell=tell)
    from models.corpus.build import build_corpus

    config = {
        "corpus": "the Python standard library" if corpus is None else str(corpus.absolute()),
        "vocab_size": recipe.vocab_size,
        "n_ctx": recipe.n_ctx,
    }
    if standing(run, "dataset", "data", {}, config, replace=replace) is None:
        dataset, report = build_corpus(corpus, n_ctx=recipe.n_ctx, vocab_size=recipe.vocab_size)
        made_of = {k: v for k, v in asdict(report).items() if k != "seconds"}  # times would change the id
        dataset.save(run.path, config=config | {"report": made_of})
        run = run.refresh()
    found = run.find("dataset")
    tell(describe_data(found))
    return found


def share_data(source: Run, target: Run, *, replace: bool = False) -> None:
    """Give a run the very data of another; nothing happens where it has it."""
    config = source.find("dataset").manifest.config
    if standing(target, "dataset", "data", {}, config, replace=replace) is None:
        source.dataset().save(target.path, config=config)


def _make_examples(run: Run, recipe: Any, *, replace: bool, tell: Callable[[str], None]) -> Artifact:
    config = recipe.data_config()
    if standing(run, "dataset", "data", {}, config, replace=replace) is None:
        recipe.data().save(run.path, config=config)
        run = run.refresh()
    found = run.find("dataset")
    tell(f"{found.manifest.config['n_seq']:,} examples of {recipe.task.name}")
    return found


def describe_data(data: Artifact) -> str:
    """One line about a corpus."""
    report = data.manifest.config["report"]
    left_out = f", {len(report['left_out'])} left out that do not parse" if report["left_out"] else ""
    return (
        f"{report['n_documents']:,} documents{left_out}; {report['n_characters'] / 1e6:.1f} M characters; "
        f"{data.manifest.config['n_tokens'] / 1e6:.2f} M tokens; {report['n_labels']} label columns"
    )


def make_model(run: Run, recipe: Any, *, replace: bool = False) -> Artifact:
    """The run's subject: the one that is there, or one trained now."""
    from models.training import train, training_settings

    dataset = run.dataset(with_labels=False)
    subject = recipe.build(dataset)
    config = training_settings(subject, recipe.training, recipe.task)
    inputs = run.inputs(run.find("dataset"))
    if standing(run, "model", "model", inputs, config, replace=replace) is None:
        train(subject, dataset, recipe.training, run=run.path, task=recipe.task)
        run = run.refresh()
    return run.find("model")


def last_metrics(run: Path) -> dict[str, Any]:
    """The last line of a run's metrics, with the baselines of the first."""
    lines = read_log(run / "model" / "metrics.jsonl")
    baselines = {k: lines[0].get(k) for k in ("unigram_loss", "bigram_loss")}
    at_the_end = ("step", "tokens", "train_loss", "heldout_loss", "heldout_accuracy")
    return {k: lines[-1].get(k) for k in at_the_end} | baselines
