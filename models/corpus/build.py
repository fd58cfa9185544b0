"""From a source of text to a `Dataset`: read, split, tokenize, label, pack."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from models.corpus.characters import Characters
from models.corpus.documents import Documents
from models.corpus.labelling import label_documents
from models.corpus.near_duplicates import near_duplicate_groups, split_by_group
from models.corpus.packing import label_table, pack_tokens
from models.corpus.python_source import read_standard_library
from models.corpus.text_files import MIN_CHARACTERS, read_text
from models.corpus.tokenizer import (
    BOS_ID,
    MIN_VOCAB,
    encode,
    encode_with_edges,
    token_bytes,
    token_spans,
    train_tokenizer,
)
from models.dataset import Dataset

MIN_SEQUENCES = 10


@dataclass
class CorpusReport:
    """What a corpus was made of, and how long each step took.

    Attributes:
        source: `the Python standard library`, or the path.
        language: `python` or `text`: which labels the tokens have.
        n_files: files looked at.
        left_out: names of files that do not parse or are no text.
        n_test_tokens: tokens held out; tokens are counted without BOS.
        n_groups: groups of near-duplicates, a document alone being one.
        n_labels: label columns, `line` not counted.
        seconds: the time of each step.
    """

    source: str
    language: str = "text"
    n_files: int = 0
    left_out: list[str] = field(default_factory=list)
    n_documents: int = 0
    n_characters: int = 0
    n_tokens: int = 0
    n_test_tokens: int = 0
    n_sequences: int = 0
    n_groups: int = 0
    n_labels: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Adds the time the block takes as `seconds[step]`."""
        start = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - start


def build_corpus(
    source: Path | None = None,
    *,
    n_ctx: int = 128,
    vocab_size: int = 2048,
    tokenizer: Tokenizer | None = None,
    bos: int = BOS_ID,
    test: float = 0.1,
    seed: int = 0,
    to_train: bool = True,
) -> tuple[Dataset, CorpusReport]:
    """A corpus as a dataset with labels, and a report of it. The same source and arguments give the same dataset.

    Args:
        source: a text file, a folder, or JSONL or Parquet with a `text` column; the running Python's standard library
            where there is none.
        n_ctx: positions in a sequence, BOS included.
        vocab_size: ids of the tokenizer that is trained on the training documents, BOS included.
        tokenizer: a tokenizer that somebody else trained, which takes its place.
        bos: that tokenizer's token for the start of a sequence.
        test: the share of the text that is held out, by groups of near-duplicate documents.
        seed: draws the documents that are held out.
        to_train: a model shall learn from it, so that it must be long enough and in parts. To be read by a model that
            has learnt, a single token is enough; a single document is then of the split `train`.

    Raises:
        FileNotFoundError: there is nothing at `source`.
        ValueError: the text is unfit (empty, binary, one endless line, too short, …) or an argument is.
    """
    if n_ctx < 2:
        raise ValueError(f"n_ctx {n_ctx} is too small: a sequence is BOS and at least one token.")
    if vocab_size < MIN_VOCAB:
        raise ValueError(f"vocab_size {vocab_size} is too small: BOS and the 256 bytes need {MIN_VOCAB}.")
    if not 0 < test < 1:
        raise ValueError(f"test {test} is no share between 0 and 1.")
    report = CorpusReport("the Python standard library" if source is None else str(source))
    with report.timed("read"):
        least = MIN_CHARACTERS if to_train else 1
        found = read_standard_library() if source is None else read_text(Path(source), least)
    with report.timed("split"):
        texts = [document.text for document in found.documents]
        groups = near_duplicate_groups(texts)
        if to_train or len(set(groups.tolist())) > 1:
            split = split_by_group(groups, np.array([len(text) for text in texts]), test=test, seed=seed)
        else:
            split = ["train"] * len(texts)
    if tokenizer is None:
        with report.timed("tokenizer"):
            training = (text for text, where in zip(texts, split, strict=True) if where == "train")
            tokenizer = train_tokenizer(training, vocab_size)
        with report.timed("encode"):
            ids = encode(tokenizer, texts)
            sizes = np.array([len(piece) for piece in token_bytes(tokenizer)])
            spans = [token_spans(Characters(text), tokens, sizes) for text, tokens in zip(texts, ids, strict=True)]
            edges = [np.stack([span.starts, span.ends]).astype(np.int32) for span in spans]
    else:
        with report.timed("encode"):
            ids, edges = encode_with_edges(tokenizer, texts)
    _check_length(ids, n_ctx, to_train)
    with report.timed("label"):
        labels = list(label_documents(found.documents, ids, edges, found.language, n_ctx - 1))
    with report.timed("pack"):
        kept = [i for i, labelled in enumerate(labels) if labelled is not None]
        _check_kept(kept, split, report.source, to_train)
        tokens, mask, docs = pack_tokens([ids[i] for i in kept], n_ctx, bos)
        table = label_table([labelled for labelled in labels if labelled is not None], found.language, n_ctx)
        documents = _document_table(found, kept, split, groups)
        dataset = Dataset(tokens, mask, docs, labels=table, doc_table=documents, tokenizer=tokenizer, bos=bos)
    report.language, report.n_files = found.language, found.n_files
    unread = {i for i, labelled in enumerate(labels) if labelled is None}
    report.left_out = sorted([*found.left_out, *(found.documents[i].name for i in unread)])
    report.n_documents, report.n_sequences, report.n_tokens = len(kept), len(dataset), dataset.n_tokens
    report.n_characters = sum(len(texts[i]) for i in kept)
    report.n_test_tokens = sum(len(ids[i]) for i in kept if split[i] == "test")
    report.n_groups = len(set(groups[kept].tolist()))
    report.n_labels = table.num_columns - 1
    return dataset, report


def _check_length(ids: list[np.ndarray], n_ctx: int, to_train: bool) -> None:
    n_tokens = sum(len(tokens) for tokens in ids)
    if not n_tokens:
        raise ValueError("the tokenizer makes no token of the text: it does not know these characters.")
    if to_train and n_tokens < MIN_SEQUENCES * n_ctx:
        raise ValueError(
            f"the corpus has {n_tokens:,} tokens, too few to train on: at least {MIN_SEQUENCES} times n_ctx "
            f"({n_ctx:,}) are wanted; give more text or a smaller n_ctx."
        )


def _check_kept(kept: list[int], split: list[str], source: str, to_train: bool) -> None:
    if to_train and {split[i] for i in kept} != {"train", "test"}:
        raise ValueError(f"too few of the files at {source} are source of the running Python to train and test on.")
    if not kept:
        raise ValueError(f"none of the files at {source} is source of the running Python.")


def _document_table(found: Documents, kept: list[int], split: list[str], groups: np.ndarray) -> pa.Table:
    documents = [found.documents[i] for i in kept]
    return pa.table(
        {
            "name": [document.name for document in documents],
            "split": [split[i] for i in kept],
            "group": pa.array(groups[kept].astype(np.int32)),
            "n_chars": pa.array([len(document.text) for document in documents], pa.int32()),
        }
    )
