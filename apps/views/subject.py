"""The part of the runs page that is about the subject: its shape, its task, and the data that it learned."""

from typing import Any, cast

import pyarrow as pa

from apps import serve
from apps.components.facts import Fact, facts
from models.dataset import Dataset
from workbench.runs import Run

# What a config may have, in the order in which it is told: field, name, and a line under the number.
_SHAPE = [
    ("n_layers", "Layers", ""),
    ("d_model", "Width", "d_model"),
    ("n_heads", "Heads", ""),
    ("d_mlp", "MLP", "d_mlp"),
    ("d_in", "Input", "numbers a step"),
    ("d_vocab_source", "Source vocabulary", "tokens"),
    ("d_vocab", "Vocabulary", "tokens"),
]


def show(run: Run) -> None:
    """Draw the part."""
    facts(_shape(serve.model(run)), key="subject_facts")
    if (task := _task(run)) is not None:
        facts(_difficulty(task), key="task_facts")
    if any(artifact.kind == "dataset" for artifact in run.artifacts()):
        facts(_data(serve.dataset(run)), key="corpus_facts")


def _shape(subject: Any) -> list[Fact]:
    cfg = subject.cfg
    told = [Fact("Architecture", type(subject).__name__)]
    if hasattr(cfg, "cell"):
        told.append(Fact("Cell", _cell(cfg), "both ways" if getattr(cfg, "bidirectional", False) else ""))
    if hasattr(cfg, "attention"):
        told.append(Fact("Attention", str(cfg.attention)))
    for field, name, note in _SHAPE:
        value = getattr(cfg, field, None)
        if value is not None and not (field == "d_mlp" and getattr(cfg, "attn_only", False)):
            told.append(Fact(name, f"{value:,}", note))
    d_out, takes_vectors = getattr(cfg, "d_out", None), getattr(cfg, "d_in", None) is not None
    if d_out is not None and d_out != getattr(cfg, "d_vocab", None):
        told.append(Fact("Output", f"{d_out:,}", "numbers a step" if takes_vectors else "classes"))
    if hasattr(cfg, "n_ctx"):
        told.append(
            Fact(
                "Context",
                "any length" if cfg.n_ctx is None else f"{cfg.n_ctx:,}",
                "steps" if takes_vectors else "tokens",
            )
        )
    return [*told, Fact("Parameters", f"{sum(p.numel() for p in subject.parameters()):,}")]


def _cell(cfg: Any) -> str:
    """The cell with what tells it from others of its name."""
    convention = {"rnn": "nonlinearity", "gru": "gru_convention"}.get(cfg.cell)
    return f"{cfg.cell} ({getattr(cfg, convention)})" if convention else str(cfg.cell)


def _task(run: Run) -> dict[str, Any] | None:
    """The task that the subject was trained on, or the data drawn from, with its difficulty."""
    for artifact in run.artifacts():
        if artifact.kind in ("model", "dataset") and "task" in artifact.manifest.config:
            return dict(artifact.manifest.config["task"])
    return None


def _difficulty(task: dict[str, Any]) -> list[Fact]:
    told = [Fact("Task", str(task.pop("name")).replace("_", " "))]
    return told + [Fact(name.replace("_", " "), str(value)) for name, value in task.items() if value is not None]


def _data(data: Dataset) -> list[Fact]:
    splits = cast(pa.Table, data.doc_table)["split"].to_pylist()
    held_out = data.sequences("test")
    columns = data.labels.column_names if data.labels is not None else []
    labels = [name for name in columns if name != "line"]  # where a token is, not what it is
    vectors = data.tokens.is_floating_point()
    told = [
        Fact("Steps" if vectors else "Tokens", f"{data.n_tokens:,}", f"{int(data.counted[held_out].sum()):,} held out"),
        Fact("Sequences", f"{len(data):,}", f"{len(held_out):,} held out"),
        Fact("Labels", f"{len(labels):,}", f"of each {'step' if vectors else 'token'}"),
    ]
    if len(splits) == len(data):  # each sequence is a document of its own
        return told
    return [Fact("Documents", f"{len(splits):,}", f"{splits.count('test'):,} held out"), *told]
