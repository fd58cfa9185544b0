"""`workbench sae`: a dictionary is trained on a recording and measured beside its controls."""

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.cli.console import add_run, finish, run_path, say, table
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

# Held-out tokens through the subject, four times for each dictionary.
N_LOSS_TOKENS = 30_000
MOST_LATENTS, MOST_ACTIVE = 2048, 12  # where nobody says how many
SHOWN = ("l0", "explained_variance", "dead_fraction", "loss_recovered_zero", "loss_recovered_mean")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument("--activations", metavar="NAME", help="the recording to read (default: the newest)")
    parser.add_argument("--hook", help="the hook to read, where the recording has several")
    parser.add_argument("--name", help="the dictionary's name (default: from its hook, width and k)")
    parser.add_argument("--architecture", default="topk", help="default: topk")
    parser.add_argument("--width", type=int, metavar="N", help="latents (default: four a dimension, at most 2048)")
    parser.add_argument("--k", type=int, help="latents active at once (default: one for eight dimensions, at most 12)")
    parser.add_argument("--tokens", type=int, default=2_000_000, metavar="N", help="rows to train on (default: 2M)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replace", action="store_true", help="train anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench sae` does and prints."""
    made = make_dictionary(
        Run.open(run_path(args.run)),
        args.activations,
        hook=args.hook,
        name=args.name,
        architecture=args.architecture,
        d_sae=args.width,
        k=args.k,
        n_tokens=args.tokens,
        seed=args.seed,
        replace=args.replace,
    )
    metrics = read_metrics(made)
    say(args, str(made.path))
    say(args, metrics_table(metrics))
    say(args, f"next: workbench index --run {args.run} --sae {made.name}")
    finish(args, {"path": str(made.path), "id": made.id, "metrics": metrics})


def make_dictionary(
    run: Run,
    activations: str | None = None,
    *,
    hook: str | None = None,
    name: str | None = None,
    architecture: str = "topk",
    d_sae: int | None = None,
    k: int | None = None,
    n_tokens: int = 2_000_000,
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """A dictionary of a recording: the one that is there, or one trained and measured now."""
    from models import ranks
    from workbench.activations import ActivationStore
    from workbench.sae import SAEConfig, SAETrainConfig, train_sae

    recording = run.current("activations", activations)
    store = ActivationStore.open(recording.path)
    hook = hook or store.hooks[0]
    d_in = store.width(hook)
    d_sae = d_sae if d_sae is not None else min(4 * d_in, MOST_LATENTS)
    k = k if k is not None else max(1, min(d_in // 8, MOST_ACTIVE))
    if k > 2 * d_in:
        raise ValueError(
            f"k is {k}, but {hook} has {d_in} dimensions: the controls, each dimension and its negative, have "
            f"{2 * d_in} latents, so k can be at most that."
        )
    cfg = SAEConfig(
        architecture=architecture,
        d_in=d_in,
        d_sae=d_sae,
        k=k,
        hook_name=hook,
        model_name=run.name,
        seed=seed,
    )
    # A small task has fewer rows than a batch usually does.
    batch_size = min(SAETrainConfig.batch_size, max(1, len(store.rows_of("train"))))
    train_cfg = SAETrainConfig(n_tokens=n_tokens, batch_size=batch_size)
    name = name or f"{hook.replace('hook_', '')}-{architecture}-{d_sae}-k{k}"
    inputs = run.inputs(recording, run.current("model"))
    config = {"sae": cfg.to_dict(), "training": asdict(train_cfg)}
    if standing(run, "sae", name, inputs, config, replace=replace) is None:
        path = run.path_of("sae", name)
        with ranks.publishing_together(path, "sae", inputs=inputs, config=config, seed=seed) as draft:
            batches = store.batches(hook, train_cfg.batch_size, seed=seed, split="train")
            sae = train_sae(cfg, batches, train_cfg, out=draft.path)
            if ranks.is_first():
                _measure(run, store, sae, draft.path)
        run = run.refresh()
    return run.find("sae", name)


def read_metrics(dictionary: Artifact) -> list[dict[str, Any]]:
    """A dictionary's numbers and its controls', one row each."""
    return json.loads((dictionary.path / "metrics.json").read_text("utf8"))


def metrics_table(metrics: list[dict[str, Any]]) -> str:
    """The numbers people compare dictionaries by; the controls stand below the trained one."""
    headings = ["dictionary", "L0", "explained variance", "dead", "loss recovered (zero)", "(mean)"]
    shown = table(headings, [[row["dictionary"], *(row[name] for name in SHOWN)] for row in metrics])
    if not (diverging := [row["dictionary"] for row in metrics if row.get("ce_sae", 0) is None]):
        return shown
    return (
        f"{shown}\nno loss recovered: what {' and '.join(diverging)} reconstructs, in the place of the activations, "
        "makes the subject's loss infinite (a recurrence goes on from it at every step)."
    )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _measure(run: Run, store: Any, sae: Any, folder: Path) -> None:
    """Held-out documents through the dictionary and its controls, into `metrics.json`."""
    from models.artifacts import write_json
    from workbench.sae import compare_dictionaries, control_dictionaries

    def reading(split: str) -> Any:
        size = min(4096, len(store.rows_of(split)))
        return store.batches(sae.cfg.hook_name, size, split=split, epochs=1)

    controls = control_dictionaries(sae, lambda: reading("train"))
    documents = run.dataset(with_labels=False).sample(N_LOSS_TOKENS, test_share=1.0)
    metrics = compare_dictionaries(
        {"trained": sae, **controls},
        lambda: reading("test"),
        run.model(),
        documents.split("test"),
    )
    rows = [{k: _finite(v) for k, v in row.items()} for row in metrics.to_dict("records")]
    write_json(folder / "metrics.json", rows)
