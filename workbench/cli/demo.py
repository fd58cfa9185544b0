"""`workbench demo`: every verb in order, with a time budget a stage, ending at the explorer's address."""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.cli import dictionaries, dynamics, explore, harvest, heads, index, patch, probe, reading, sae, train
from workbench.cli.console import add_run, finish, run_path, say, table
from workbench.cli.prompt_options import AskedPrompts
from workbench.runs import Artifact, Run

# Seconds on two cores without an accelerator; set-up (100 s) comes before, by `make`.
BUDGET = {"corpus": 25, "training": 150, "probing": 40, "recording": 20, "dictionary": 60, "index": 45}
BUDGET |= {"heads": 20, "patching": 10, "recurrent": 55, "units": 40}
# Rows that are recorded, rows that the dictionary is trained on, and its latents.
N_ROWS, N_TRAIN_ROWS, D_SAE, K = 600_000, 1_000_000, 2048, 12
# Rows that probes read of every layer; labels of two classes are asked for.
N_PROBE_ROWS = 10_000
# Held-out tokens that heads are looked at on, and pairs of prompts that are patched.
N_HEAD_TOKENS, N_PAIRS = 4_000, 32
HEADS, PATCH = "demo-heads", "demo-patch"  # the verbs' own names are left for what a person asks of them
RECURRENT_RECIPE = "python-gru"
# Of the recurrent subject: rows recorded, starts of the search for fixed points, what its units are held against.
N_STATE_ROWS, N_STARTS, N_UNIT_TOKENS = 60_000, 16, 6_000
UNIT_LABELS = ("inside_string", "quote_state", "inside_docstring", "inside_comment")
GAINS = (0.1, 0.2)
TOLD_BY_TOKEN = 0.8
LOOKED_AT = {
    "matching_bracket": "the bracket that is about to be closed",
    "previous_token": "the token before",
    "induction": "what followed the same token before",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument("--corpus", type=Path, metavar="PATH", help="your own text instead of the standard library")
    parser.add_argument("--steps", type=int, metavar="N", help="training steps, instead of the recipe's")
    explore.add_port(parser)
    parser.add_argument("--replace", action="store_true", help="make anew what was made with other settings")
    parser.add_argument("--no-explore", action="store_true", help="stop before the explorer")


def run(args: argparse.Namespace) -> None:
    """What `workbench demo` does and prints."""
    from models import recipes

    recipe = recipes.get(train.DEFAULT_RECIPE).with_changes(n_steps=args.steps)
    target = Run.create(run_path(args.run))
    stages = _Stages(args)
    with stages("corpus", "Text becomes tokens, each with exact labels."):
        train.make_data(target, recipe, args.corpus, replace=args.replace, tell=stages.tell)
    with stages("training", "A transformer of two layers learns to predict the next token."):
        train.make_model(target.refresh(), recipe, replace=args.replace)
        stages.tell(_about_training(target.path))
    with stages("probing", "Linear probes ask every layer for every label, each score beside its controls."):
        stages.tell(_about_probes(_probes(target.refresh())))
    with stages("recording", "It reads documents again, and the neurons of its first MLP are written down."):
        recording = harvest.make_recording(target.refresh(), [harvest.DEFAULT_HOOK], n_tokens=N_ROWS)
        stages.tell(f"{sum(recording.manifest.config['n_rows'].values()):,} tokens recorded")
    with stages("dictionary", f"A sparse autoencoder explains each recording by {K} of {D_SAE:,} features."):
        dictionary = _dictionary(target.refresh(), recording.name)
        stages.tell(sae.metrics_table(dictionaries.read_metrics(dictionary)))
    with stages("index", "Each feature gets its examples, and the name of what it detects on held-out documents."):
        features = index.make_index(target.refresh(), dictionary.name)
        story = _about_features(features.path)
        stages.tell(story["text"])
    with stages("heads", "What does each attention head look at, and what does it cost to lose it?"):
        stages.tell(_about_heads(heads.make_heads(target.refresh(), HEADS, n_tokens=N_HEAD_TOKENS)))
    with stages("patching", "Which layer holds the bracket that is to be closed, at which word?"):
        stages.tell(_about_patching(args, target.refresh(), "bracket"))
    with stages("recurrent", "A recurrent network learns from the same text, for the page of its states."):
        recurrent = _recurrent_subject(args, target.refresh())
        stages.tell(_about_training(recurrent.path))
        stages.tell(_about_patching(args, recurrent, "quote"))
    with stages("units", "Which of its units tell strings and comments, and where do its states lead?"):
        stages.tell(_about_units(recurrent))
    say(args, f"\nEverything together took {stages.total:.0f} s, of {sum(BUDGET.values())} s budgeted.")
    explorer = None if args.no_explore else _explorer(args, target)
    result = {
        "run": str(target.path),
        "recurrent": str(recurrent.path),
        "seconds": stages.seconds,
        "budget": BUDGET,
        "explorer": explorer,
    }
    finish(args, result | train.last_metrics(target.path) | {"concepts": story["counts"]})


def _dictionary(target: Run, recording: str) -> Artifact:
    read = reading.read(target, recording)
    wanted = dictionaries.wanted(read, d_sae=D_SAE, k=K, training={"n_tokens": N_TRAIN_ROWS})
    return dictionaries.make([wanted])[0]


def _probes(target: Run) -> Artifact:
    from workbench.probing import layer_hooks

    layers = harvest.make_recording(target, layer_hooks(target.model()), harvest.LAYERS, n_tokens=N_PROBE_ROWS)
    return probe.make_probes(target.refresh(), layers.name, n_rows=N_PROBE_ROWS, max_classes=2)


def _about_heads(made: Artifact) -> str:
    """The head that looks most at each of a few places, beside the untrained heads, and what it costs to lose it."""
    from workbench.experiments.heads_results import read_heads

    found = read_heads(made.path)
    lines = []
    for score, told in LOOKED_AT.items():
        if not len(by_head := found.by_head(score, "real")):
            continue
        best = by_head.iloc[0]
        lines.append(
            f"head {best['layer']}.{best['head']} looks most at {told}: {best['value']:.2f} of its attention, "
            f"untrained heads {best['control']:.2f}; without it the loss rises by {best['cost']:.3f}, "
            f"under as large a change elsewhere by {best['random_cost']:.3f}"
        )
    return "\n".join(lines)


def _about_patching(args: argparse.Namespace, target: Run, pairs: str) -> str:
    from workbench.experiments import read_patching

    if args.corpus is not None:
        return (
            f"pairs are of Python source; of your own: workbench patch --run {target.path} --clean TEXT --corrupt TEXT"
        )
    return patch.profile_table(
        read_patching(patch.make_patching(target, AskedPrompts(pairs=pairs, n=N_PAIRS), PATCH).path)
    )


def _recurrent_subject(args: argparse.Namespace, source: Run) -> Run:
    """A run beside the demo's, with the same text and a recurrent subject."""
    from models import recipes

    recipe = recipes.get(RECURRENT_RECIPE).with_changes(n_steps=args.steps)
    target = Run.create(source.path.with_name(f"{source.path.name}-gru"))
    train.share_data(source, target, replace=args.replace)
    train.make_model(target.refresh(), recipe, replace=args.replace)
    return target.refresh()


def _about_units(run: Run) -> str:
    """Its states recorded, their fixed points, and its units held against strings where the text has such labels."""
    from workbench.dynamics import read_dynamics
    from workbench.dynamics.trajectories import state_hooks

    harvest.make_recording(run, state_hooks(run.model()), n_tokens=N_STATE_ROWS)
    known = run.dataset().labels.column_names
    labels = [name for name in UNIT_LABELS if name in known]
    made = dynamics.make_dynamics(
        run.refresh(), n_starts=N_STARTS, n_tokens=N_UNIT_TOKENS, labels=labels or None, units=bool(labels)
    )
    found = read_dynamics(made.path)
    return dynamics.points_table(found) if found.units is None else dynamics.units_table(found)


class _Stages:
    """Tells of each stage: what happens, how long it may take, how long it took."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.number = args, 0
        self.seconds: dict[str, float] = {}
        self.tell: Callable[[str], None] = lambda text: say(args, _indent(text))

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @contextmanager
    def __call__(self, name: str, summary: str) -> Iterator[None]:
        self.number += 1
        say(self.args, f"\n[{self.number}/{len(BUDGET)}] {name}: {summary} (budget {BUDGET[name]} s)")
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        late = "" if self.seconds[name] <= BUDGET[name] else ", over its budget"
        self.tell(f"{name} took {self.seconds[name]:.1f} s of {BUDGET[name]} s{late}")


def _about_training(run: Path) -> str:
    metrics = train.last_metrics(run)
    return (
        f"held-out loss {metrics['heldout_loss']:.2f} nats a token; "
        f"counting words gives {metrics['unigram_loss']:.2f}, counting pairs {metrics['bigram_loss']:.2f}"
    )


def _about_probes(made: Artifact) -> str:
    from workbench.probing import read_results

    found = read_results(made.path)
    n_labels, n_hooks = found["label"].nunique(), found["hook"].nunique()
    return f"{n_labels} labels × {n_hooks} hooks; those that are read best beyond the word:\n" + probe.best_table(found)


def _about_features(path: Path) -> dict[str, Any]:
    """What the names show, trained beside PCA, random and neurons; and the concepts that features win."""
    from workbench.features import FeatureIndex

    features = FeatureIndex.open(path)
    concepts = features.concepts.sort_values("gain", ascending=False)
    concepts = concepts[(concepts["kind"] == "single") & (concepts["gain_low"] > 0)]  # pairs were chosen by features
    beyond = concepts[concepts["token_f1"] < TOLD_BY_TOKEN]
    counts = {
        which: {f"gain ≥ {gain}": int((chosen["gain"] >= gain).sum()) for gain in GAINS}
        for which, chosen in (("all", concepts), ("not told by the token alone", beyond))
    }
    columns = ["concept", "feature", "feature_f1", "neuron_f1", "pca_f1", "random_f1", "token_f1", "gain"]
    headings = ["concept", "feature", "F1", "best neuron", "PCA", "random", "token alone", "gain"]
    text = "\n".join(
        [
            index.naming_table(features.naming),
            index.live_sentence(features),
            "",
            "Labels that one feature detects better than the best single neuron: held-out F1 higher by",
            *(f"    {_by(found)} ({which})" for which, found in counts.items()),
            "",
            f"The first of those where knowing the token gives F1 < {TOLD_BY_TOKEN}:",
            table(headings, beyond.head(8)[columns].to_numpy().tolist()),
        ]
    )
    return {"text": text, "counts": counts}


def _by(counts: dict[str, int]) -> str:
    return ", ".join(f"{gain.removeprefix('gain ≥ ')}: {n:,}" for gain, n in counts.items())


def _explorer(args: argparse.Namespace, target: Run) -> dict[str, Any] | None:
    """In a terminal the explorer stays until Ctrl-C. A script gets it in the background, and the command ends."""
    if sys.stdin.isatty() and not args.json:
        subprocess.call(explore.command(target.path, args.port))
        return None
    address, process = explore.start_in_background(target.path, args.port)
    say(args, f"\nThe explorer is at {address}; `kill {process}` stops it.")
    return {"address": address, "process": process}


def _indent(text: str) -> str:
    return "\n".join("    " + line if line else "" for line in text.splitlines())
