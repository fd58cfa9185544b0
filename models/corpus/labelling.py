"""Labels every document of a corpus, several processes at once."""

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import joblib
import numpy as np
from jaxtyping import Int, Int16, Int32, UInt8
from joblib.externals.loky import get_reusable_executor

from models.corpus.characters import Characters, TokenSpans
from models.corpus.documents import Document
from models.corpus.label_columns import LANGUAGES
from models.corpus.labels_python import label_python
from models.corpus.labels_repetition import label_repetition
from models.corpus.labels_text import label_shared, label_text
from models.corpus.python_document import NotPythonError
from models.progress import progress

# Below this many characters, starting processes takes longer than the work.
_WORTH_PROCESSES = 400_000
_CHARACTERS_A_TASK = 60_000


@dataclass(frozen=True)
class DocumentLabels:
    """The labels of a document's tokens, one row a column, in the order of the language's columns.

    Attributes:
        codes: flags (0, 1) and categories (0: does not apply).
        counts: the integer columns.
        lines: the line each token is on, from 1.
    """

    codes: UInt8[np.ndarray, "coded token"]
    counts: Int16[np.ndarray, "counted token"]
    lines: Int32[np.ndarray, " token"]


def label_document(
    text: str, ids: Int[np.ndarray, " token"], edges: Int[np.ndarray, "2 token"], language: str, tokens_a_sequence: int
) -> DocumentLabels | None:
    """The labels of one document's tokens; None if it is to be Python and the running Python does not read it.

    Args:
        edges: where each token starts and ends, in characters.
        tokens_a_sequence: how many of the document's tokens the model sees at once.
    """
    characters = Characters(text)
    spans = TokenSpans.of(characters, ids, edges[0], edges[1])
    row = characters.lines_at(spans.first)
    labels = label_shared(characters, spans)
    labels |= label_repetition(ids.astype(np.int64), row, np.arange(len(ids)) // tokens_a_sequence)
    try:
        labels |= label_python(characters, spans) if language == "python" else label_text(characters, spans)
    except NotPythonError:
        return None
    columns = LANGUAGES[language]
    return DocumentLabels(
        np.stack([labels[column.name].astype(np.uint8) for column in columns if column.kind != "int"]),
        np.stack([labels[column.name].astype(np.int16) for column in columns if column.kind == "int"]),
        (row + 1).astype(np.int32),
    )


def label_documents(
    documents: Sequence[Document],
    ids: Sequence[Int[np.ndarray, " _"]],
    edges: Sequence[Int[np.ndarray, "2 _"]],
    language: str,
    tokens_a_sequence: int,
) -> Iterator[DocumentLabels | None]:
    """The labels of each document, in order, worked out by as many processes as there are cores.

    The processes are joblib's, started afresh: forking this one would copy locks that PyTorch's, Arrow's and the
    tokenizer's threads may hold, and the standard library's own pools would run the user's script a second time where
    it has no `if __name__ == "__main__"`. They end with the work.
    """
    n_characters = sum(len(document.text) for document in documents)
    n_processes = joblib.cpu_count() if n_characters >= _WORTH_PROCESSES else 1
    tasks = _tasks([len(document.text) for document in documents])
    work = (
        joblib.delayed(_label_task)([(documents[i].text, ids[i], edges[i]) for i in task], language, tokens_a_sequence)
        for task in tasks
    )
    done = joblib.Parallel(n_processes, return_as="generator", batch_size=1, pre_dispatch="3*n_jobs")(work)
    try:
        with progress(desc="labelling", total=n_characters, unit="char") as bar:
            for task, labels in zip(tasks, done, strict=True):
                yield from labels
                bar.update(sum(len(documents[i].text) for i in task))
    finally:
        if n_processes > 1:
            get_reusable_executor().shutdown(wait=True)


def _tasks(sizes: Sequence[int]) -> list[list[int]]:
    """Neighbouring documents in parcels of about `_CHARACTERS_A_TASK` characters."""
    parcels = np.cumsum([0, *sizes[:-1]]) // _CHARACTERS_A_TASK
    return [np.flatnonzero(parcels == parcel).tolist() for parcel in np.unique(parcels)]


def _label_task(
    parcel: list[tuple[str, np.ndarray, np.ndarray]], language: str, tokens_a_sequence: int
) -> list[DocumentLabels | None]:
    # Labelling makes a million small objects and no cycles; looking for cycles among them takes a third of the time.
    gc.disable()
    try:
        return [label_document(text, ids, edges, language, tokens_a_sequence) for text, ids, edges in parcel]
    finally:
        gc.enable()
