"""What verbs left in a run, read once by the library and shared between pages; kept by id like all of `apps.serve`."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import streamlit as st
from safetensors import SafetensorError

from models.artifacts import ArtifactError
from models.metrics_log import read_log
from workbench.runs import Artifact

T = TypeVar("T")


def opened(artifact: Artifact, read: Callable[[Path], T]) -> T:
    """What a reader gives of an artifact's folder, read once. All pages and sessions share it: none writes into it.

    Raises `ArtifactError` where a file of it is not as it was written.
    """
    return _opened(artifact.id, f"{read.__module__}.{read.__qualname__}", artifact.path, read)


def result_table(folder: Path) -> pd.DataFrame:
    """The tidy table of an analysis; `opened` reads with it."""
    return pd.read_parquet(folder / "result.parquet")


def training_log(folder: Path) -> pd.DataFrame | None:
    """The lines of a training's log; None where none was kept. `opened` reads with it."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return None
    with _named(path):
        lines = read_log(path)
        return pd.DataFrame(lines) if lines else None


def dictionary_metrics(folder: Path) -> list[dict[str, Any]] | None:
    """A dictionary's numbers and its controls', one row each; None where there are none. `opened` reads with it."""
    path = folder / "metrics.json"
    if not path.exists():
        return None
    with _named(path):
        rows = json.loads(path.read_text("utf8"))
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("it is no list of rows.")
        return rows


@st.cache_resource(max_entries=32, show_spinner="Opening the result …")
def _opened(artifact_id: str, reader: str, _path: Path, _read: Callable[[Path], Any]) -> Any:
    with _named(_path):
        return _read(_path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever a reader stumbles over in a file that is not as it was written is that folder's damage."""
    try:
        yield
    except ArtifactError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        named = str(path) in str(error)
        raise ArtifactError(str(error) if named else f"{path} is damaged: {error}") from error
