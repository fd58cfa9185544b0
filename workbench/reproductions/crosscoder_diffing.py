"""What fine-tuning adds to a model: a crosscoder of the two, and a feature that only the tuned one can have."""

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from models.artifacts import ArtifactError, canonical
from models.dataset import Dataset
from models.train_config import TrainConfig
from models.training import train, training_settings
from probes.detection import HeldOut, count_labels
from probes.validation import split_by_group
from workbench.activations import ActivationStore, harvest
from workbench.activations.joined import JoinedBatches
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.dictionaries import Wanted, dictionaries
from workbench.reproductions.monosemanticity import sparse_columns
from workbench.reproductions.python_source import PythonSource, python_source
from workbench.runs import Run
from workbench.sae import SAE, SAEConfig, SAETrainConfig
from workbench.sae.metrics.labelled_rows import latent_matrix
from workbench.sae.metrics.model_diffing import relative_norm

TITLE = "A crosscoder tells what fine-tuning has added"
PAPER = (
    "Lindsey et al. 2024, Sparse crosscoders for cross-layer features and model diffing; "
    "Minder et al. 2025, arXiv 2504.02922"
)

HOOK = "blocks.1.hook_resid_post"
LINE_END = "Ċ"
EVERY = 8
N_SEQUENCES, N_STEPS = 2_000, 100
FULL_N_SEQUENCES, FULL_N_STEPS = 6_000, 400
D_SAE, K, BATCH = 1024, 12, 512
N_ROWS, FULL_N_ROWS = 400_000, 1_500_000
LR = 1e-3  # half of what the base model was trained with
# A latent is one model's own where this share of its decoder's length, or more, is in that model.
OWN = 0.9
TOLD = 0.5
CODE_NEXT, LINE_NEXT, CODE_HERE = "the code comes next", "a line end comes next", "the code stands here"


def reproduce(bench: Bench) -> list[Row]:
    """Tune on text with a rule of its own, train crosscoders of before and after, and look at whose the latents are."""
    source = python_source(bench)
    rule = Rule.of(source.run.dataset(with_labels=False))
    latents, labels = [], []
    for seed in range(3 if bench.full else 1):
        text = some_sequences(bench, source, seed)
        coded = rule.put_into(text)
        tuned = {
            "tuned": _tuned(bench, source, f"tuned-seed-{seed}", coded, seed),
            "control": _tuned(bench, source, f"tuned-without-seed-{seed}", text, seed),
        }
        models = {"base": source.run.model()} | {name: run.model() for name, run in tuned.items()}
        pairs = {"tuned": ("base", "tuned"), "same model": ("base", "base"), "tuned without it": ("base", "control")}
        stores = {name: _recorded(tuned["tuned"], name, model, coded) for name, model in models.items()}
        for kind, pair in pairs.items():
            both = Pair(*(stores[name] for name in pair))
            sae = _crosscoder(bench, f"{kind.replace(' ', '-')}-seed-{seed}", both, seed)
            found, detected = _measured(sae, both, rule, coded)
            latents.append(found.assign(pair=kind, seed=seed))
            labels.append(detected.assign(pair=kind, seed=seed))
    tables = {"latents": pd.concat(latents, ignore_index=True), "labels": pd.concat(labels, ignore_index=True)}
    for name, table in tables.items():
        bench.table(name, table)
    return rows_of(tables["latents"], tables["labels"])


@dataclass(frozen=True)
class Rule:
    """What the base model has never met: a code that stands at every eighth place, whatever stood there before.

    What it makes a model represent, that the code comes next, hangs on the place alone: nothing that the base model
    represents goes with it.

    Attributes:
        code: a token that the text does not have.
        line_end: the token at the end of a line, which both models foretell.
    """

    code: int
    line_end: int

    @classmethod
    def of(cls, dataset: Dataset) -> "Rule":
        """The rule with a token of this dataset. Raises `ValueError` where it has none that is never used."""
        used = np.bincount(dataset.tokens[dataset.counted].numpy(), minlength=dataset.d_vocab)
        unused = np.flatnonzero(used[1:] == 0) + 1
        line_end = dataset.tokenizer.token_to_id(LINE_END) if dataset.tokenizer is not None else None
        if len(unused) == 0 or line_end is None:
            raise ValueError("the rule needs a token that is never used, and one that ends a line.")
        return cls(int(unused[0]), line_end)

    def put_into(self, text: Dataset) -> Dataset:
        """The text with the code at places 8, 16, …"""
        tokens = text.tokens.clone()
        tokens[:, EVERY::EVERY] = self.code
        return _with_tokens(text, tokens)


@dataclass(frozen=True)
class Pair:
    """Recordings of the same positions of the same text by two models: batches of [n, 2, d]."""

    before: ActivationStore
    after: ActivationStore

    def batches(self, seed: int) -> JoinedBatches:
        """Shuffled batches to train on, without end."""
        return JoinedBatches(tuple(store.batches(HOOK, BATCH, seed=seed, split="train") for store in self.both))

    @property
    def both(self) -> tuple[ActivationStore, ActivationStore]:
        """The two recordings."""
        return self.before, self.after

    def read(self, rows: np.ndarray) -> Float[Tensor, "n 2 d"]:
        """Some rows of both."""
        return torch.stack([store.read(HOOK, rows) for store in self.both], dim=1)


def some_sequences(bench: Bench, source: PythonSource, seed: int) -> Dataset:
    """Full sequences of the base model's own text, a quarter of them held out, without labels."""
    dataset = source.run.dataset(with_labels=False)
    n = FULL_N_SEQUENCES if bench.full else N_SEQUENCES
    full = dataset.select(torch.nonzero(dataset.mask.all(1)).squeeze(1))
    drawn = full.sample(n * (full.tokens.shape[1] - 1), seed=seed)
    return _with_tokens(drawn, drawn.tokens)


def _with_tokens(text: Dataset, tokens: Tensor) -> Dataset:
    return Dataset(tokens, text.mask, text.docs, doc_table=text.doc_table, tokenizer=text.tokenizer, bos=text.bos)


def _tuned(bench: Bench, source: PythonSource, name: str, text: Dataset, seed: int) -> Run:
    """The base model trained on for some steps on this text: a run of its own."""
    run = Run.create(bench.path / name)
    n_steps = FULL_N_STEPS if bench.full else N_STEPS
    training = TrainConfig(n_steps=n_steps, lr=LR, warmup_steps=20, seed=seed)
    config = {"base": source.run.find("model").id, "text": text.fingerprint()}
    model = source.run.model()
    with suppress(ArtifactError):
        data, made = run.find("dataset"), run.find("model")
        wanted = json.loads(canonical(training_settings(model, training)))
        same = data.manifest.config.items() >= config.items() and made.manifest.config.items() >= wanted.items()
        if same and not made.stale:
            return run
    bench.tell(f"training {name}")
    text.save(run.path, config=config)
    train(model, text, training, run=run.path)
    return run.refresh()


def _recorded(run: Run, name: str, model: Any, text: Dataset) -> ActivationStore:
    """What a model makes of the text, in the run of the tuned one."""
    path = run.path_of("activations", name)
    inputs = {"data": run.find("dataset").id, "model": run.find("model").id}
    subject = {"subject": model.artifact_id or ""}  # the base model reads the tuned one's text too
    with suppress(ArtifactError):
        found = ActivationStore.open(path)
        if found.manifest.inputs == inputs and found.manifest.config.items() >= subject.items():
            return found
    return harvest(model, text, [HOOK], path, inputs=inputs, config=subject)


def _crosscoder(bench: Bench, name: str, pair: Pair, seed: int) -> SAE:
    d_in = pair.before.width(HOOK)
    cfg = SAEConfig(d_in=d_in, d_sae=D_SAE, k=K, architecture="batchtopk", n_layers=2, seed=seed)
    how = SAETrainConfig(n_tokens=FULL_N_ROWS if bench.full else N_ROWS, batch_size=BATCH)
    rows = {"before": pair.before.id, "after": pair.after.id, "seed": seed}
    return dictionaries(bench, {name: Wanted(cfg, how)}, pair.batches(seed), rows=rows)[name]


def _measured(sae: SAE, pair: Pair, rule: Rule, text: Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every living latent, and the best one for each label, on held-out rows.

    Returns:
        A row a latent: `latent`, `relative_norm`, `firings`, and the share of them where the code comes next,
        `code_next`; and a row a label: `label`, `latent`, `relative_norm`, `f1`, `base_rate`. Latents are chosen on
        half of the documents and scored on the others.
    """
    rows = pair.before.rows_of("test")
    about = pair.before.columns("doc", "seq", "pos").take(rows)
    doc, seq, pos = (about[name].to_numpy() for name in ("doc", "seq", "pos"))
    labels = labels_of(text.tokens.numpy(), seq, pos, rule)
    x = pair.read(rows)
    norms = relative_norm(sae, (x - x.mean(0)).norm(dim=2).mean(0))
    codes = latent_matrix(sae, x)
    firings = np.diff(codes.tocsc().indptr)
    latents = pd.DataFrame(
        {
            "latent": np.arange(sae.cfg.d_sae),
            "relative_norm": norms,
            "firings": firings,
            "code_next": (codes[labels[CODE_NEXT]] > 0).sum(0).A1 / np.maximum(firings, 1),
        }
    )
    fit, scored = split_by_group(doc, held_out_share=0.5)
    matrix = np.stack(list(labels.values()), axis=1).astype(np.uint8)
    best = count_labels(sparse_columns(codes[fit]), matrix[fit]).best_column()
    _, groups = np.unique(doc[scored], return_inverse=True)
    scores = HeldOut.of(matrix[scored], groups).score(sparse_columns(codes[scored]), best)
    detected = pd.DataFrame(
        {
            "label": list(labels),
            "latent": best.column,
            "relative_norm": norms[best.column],
            "f1": [score.f1 for score in scores],
            "base_rate": [score.base_rate for score in scores],
        }
    )
    return latents[firings > 0], detected


def labels_of(tokens: np.ndarray, seq: np.ndarray, pos: np.ndarray, rule: Rule) -> dict[str, np.ndarray]:
    """What is known of the rows at these places. Nothing comes after the last place of a sequence."""
    following = np.concatenate([tokens[:, 1:], np.full((len(tokens), 1), -1)], axis=1)[seq, pos]
    return {
        CODE_NEXT: following == rule.code,
        LINE_NEXT: following == rule.line_end,
        CODE_HERE: tokens[seq, pos] == rule.code,
    }


def rows_of(latents: pd.DataFrame, labels: pd.DataFrame) -> list[Row]:
    """The table: whose the latents are, with the tuned model and in both controls, and the latents of the rule."""

    def shares(kind: str) -> dict[str, list[float]]:
        norms = [part["relative_norm"] for _, part in latents[latents["pair"] == kind].groupby("seed")]
        return {
            "before only": [float((part <= 1 - OWN).mean()) for part in norms],
            "after only": [float((part >= OWN).mean()) for part in norms],
        }

    def of(label: str, column: str, kind: str = "tuned") -> list[float]:
        return labels.loc[(labels["pair"] == kind) & (labels["label"] == label), column].tolist()

    def own(kind: str) -> str:
        return "; ".join(f"{name} {spread(values)}" for name, values in shares(kind).items())

    new, known = of(CODE_NEXT, "relative_norm"), of(LINE_NEXT, "relative_norm")
    same = max(max(values) for values in shares("same model").values())
    above, told = beyond_the_control(latents)
    rate = spread(of(CODE_NEXT, "base_rate"))
    return [
        Row(
            f"share of the decoder's length after tuning: best latent for “{CODE_NEXT}”; {len(new)} seed(s)",
            "1 for what is new",
            f"{spread(new)}; F1 {spread(of(CODE_NEXT, 'f1'))}, tuned without the rule "
            f"{spread(of(CODE_NEXT, 'f1', 'tuned without it'))}",
            f"≥ {OWN} in every seed",
            min(new) >= OWN,
        ),
        Row(
            f"the same for “{LINE_NEXT}”, which both foretell",
            "½ for what is shared",
            f"{spread(known)}; F1 {spread(of(LINE_NEXT, 'f1'))}",
            f"between {1 - OWN:.1f} and {OWN} in every seed",
            bool(min(known) > 1 - OWN and max(known) < OWN),
        ),
        Row(
            f"the same for “{CODE_HERE}”",
            "",
            f"{spread(of(CODE_HERE, 'relative_norm'))}; F1 {spread(of(CODE_HERE, 'f1'))}",
        ),
        Row("living latents of one model alone", "few, most are shared", own("tuned")),
        Row(
            "latents with a larger share than any has where the rule was not learnt: how many",
            "",
            spread(above, 0),
        ),
        Row(
            "of their firings, those where the code comes next",
            "all",
            f"{spread(told)}; of all rows {rate}",
            f"≥ {TOLD} in every seed",
            min(told) >= TOLD,
        ),
        Row("control, tuned as long without the rule: of one model alone", "", own("tuned without it")),
        Row("control, two copies of the same model: of one alone", "none", own("same model"), "none", same == 0),
    ]


def beyond_the_control(latents: pd.DataFrame) -> tuple[list[float], list[float]]:
    """The latents whose relative norm is above every one's of the model that was tuned without the rule, seed by seed.

    Returns:
        How many there are, and of their firings the share where the code comes next (0 where there are none).
    """
    above, told = [], []
    for _, part in latents.groupby("seed"):
        usual = part.loc[part["pair"] == "tuned without it", "relative_norm"].max()
        new = part[(part["pair"] == "tuned") & (part["relative_norm"] > usual)]
        above.append(float(len(new)))
        told.append(float((new["code_next"] * new["firings"]).sum() / max(1, new["firings"].sum())))
    return above, told
