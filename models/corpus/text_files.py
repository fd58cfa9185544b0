"""Anybody's text as documents: a file, a folder, JSONL or Parquet with a `text` column.

- A folder is read recursively without hidden files. Files that are no text are left out and counted.
- If every file of a folder is Python source (`.py`, `.pyi`), the documents get the labels of Python; files that do not
  parse are then left out. Otherwise every document gets the labels of text.
- Splits are by document, so a corpus of fewer than `FEW_DOCUMENTS` texts is cut into pieces, at blank lines where
  there are any. Python source is never cut unless it is a single file, which is then read as text.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.corpus.documents import Document, Documents, decode
from models.corpus.python_source import python_document

JSONL_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_SUFFIXES = (".parquet", ".pq")
PYTHON_SUFFIXES = (".py", ".pyi")
FEW_DOCUMENTS = 10
MIN_CHARACTERS = 20_000
MAX_LINE = 100_000


def read_text(path: Path, least: int = MIN_CHARACTERS) -> Documents:
    """The documents at a path.

    Args:
        path: a text file, a folder, or JSONL or Parquet with a `text` column.
        least: how many characters there must be together.

    Raises:
        FileNotFoundError: there is nothing at the path.
        ValueError: it is empty, binary, one endless line or too short, or a record has no text.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no corpus at {path}: give a text file, a folder, or JSONL or Parquet.")
    found = _read_folder(path) if path.is_dir() else Documents(_read_file(path, path.name), "text", 1, [])
    documents = [document for document in found.documents if not document.is_blank]
    _check(documents, path, least)
    if len(documents) < FEW_DOCUMENTS and found.language == "text":
        documents = [piece for document in documents for piece in cut(document)]
    return Documents(documents, found.language, found.n_files, found.left_out)


def _check(documents: list[Document], path: Path, least: int) -> None:
    n_characters = sum(len(document.text) for document in documents)
    if not n_characters:
        raise ValueError(f"the corpus at {path} is empty: there is no text in it.")
    if all(len(line) > MAX_LINE for document in documents for line in document.text.split("\n") if line.strip()):
        raise ValueError(
            f"the corpus at {path} is one endless line (of more than {MAX_LINE:,} characters): "
            "text with line breaks is wanted."
        )
    if n_characters < least:
        raise ValueError(
            f"the corpus at {path} has {n_characters:,} characters, too few to train on: at least {least:,} are wanted."
        )


def _read_folder(folder: Path) -> Documents:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder)))
    if not paths:
        raise ValueError(f"the folder {folder} is empty: there is no text in it.")
    all_python = len(paths) > 1 and all(path.suffix in PYTHON_SUFFIXES for path in paths)
    documents: list[Document] = []
    left_out: list[str] = []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if all_python:
            source = python_document(name, path.read_bytes())
            documents += [source] if source else []
            left_out += [] if source else [name]
        elif path.suffix.lower() in JSONL_SUFFIXES + PARQUET_SUFFIXES:
            documents += _read_file(path, name)
        else:
            try:
                documents += _read_file(path, name)
            except ValueError:  # an image or an archive among texts is no reason to stop; the report counts it
                left_out.append(name)
    if not documents:
        raise ValueError(f"none of the {len(paths)} files in {folder} is a text file.")
    return Documents(documents, "python" if all_python else "text", len(paths), left_out)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _read_file(path: Path, name: str) -> list[Document]:
    if path.suffix.lower() in JSONL_SUFFIXES:
        return list(_read_jsonl(path, name))
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return list(_read_parquet(path, name))
    return [Document.of(name, decode(path.read_bytes(), name))]


def _read_jsonl(path: Path, name: str) -> Iterator[Document]:
    # Split at line feeds alone: JSON strings may hold the other characters that `splitlines` breaks at.
    for number, line in enumerate(decode(path.read_bytes(), name).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"line {number} of {name} is not JSON ({error.msg}): each line wants one object."
            ) from None
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise ValueError(f'line {number} of {name} has no "text" that is a string.')
        yield Document.of(_record_name(record, f"{name}:{number}"), record["text"])


def _read_parquet(path: Path, name: str) -> Iterator[Document]:
    try:
        schema = pq.read_schema(path)
    except pa.ArrowInvalid:
        raise ValueError(f"{name} is not a Parquet file.") from None
    types = {column.name: column.type for column in schema}
    if "text" not in types or not (pa.types.is_string(types["text"]) or pa.types.is_large_string(types["text"])):
        raise ValueError(f"{name} has no text column of strings: its columns are {', '.join(types) or 'none'}.")
    named = [column for column in ("name", "id") if column in types]
    for number, record in enumerate(pq.read_table(path, columns=["text", *named]).to_pylist()):
        if record["text"] is not None:
            yield Document.of(_record_name(record, f"{name}:{number}"), record["text"])


def _record_name(record: dict[str, Any], default: str) -> str:
    found = record.get("name") or record.get("id")
    return default if found is None else str(found)


def cut(document: Document) -> Iterator[Document]:
    """Pieces of 2 to 20 thousand characters, about fifty of them where the text is long enough.

    A piece ends at a blank line, else at a line break, else at a space, else anywhere.
    """
    text = document.text
    size = min(max(len(text) // 50, 2_000), 20_000)
    start, number = 0, 1
    while start < len(text):
        end = len(text)
        if end - start > 2 * size:
            window = text[start + size : start + 2 * size]
            cuts = (window.find(mark) + len(mark) for mark in ("\n\n", "\n", " ") if mark in window)
            end = start + size + next(cuts, size)
        yield Document(f"{document.name}#{number}", text[start:end])
        start, number = end, number + 1
