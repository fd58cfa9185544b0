"""Python source as documents; above all the standard library's own, which is on every user's machine."""

import io
import os
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

from models.corpus.documents import Document, Documents, decode

# Not library code: tests, tables made by machine, other people's packages, a grammar kept for Python 2.
LEFT_OUT_FOLDERS = frozenset(
    (
        "test",
        "tests",
        "idle_test",
        "encodings",
        "pydoc_data",
        "lib2to3",
        "site-packages",
        "dist-packages",
        "__pycache__",
    )
)


def standard_library() -> Path:
    """Where the running Python keeps its standard library's source."""
    return Path(sysconfig.get_path("stdlib"))


def standard_library_files(root: Path) -> Iterator[Path]:
    """The `.py` files under a folder in a fixed order, without those in `LEFT_OUT_FOLDERS`."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - LEFT_OUT_FOLDERS)
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


def read_standard_library(root: Path | None = None) -> Documents:
    """The standard library's files as documents; whether they parse is told when they are labelled.

    Raises:
        FileNotFoundError: the running Python comes without its library's source.
    """
    root = root or standard_library()
    files = list(standard_library_files(root))
    if not files:
        raise FileNotFoundError(f"{root} holds no Python source: give a text of your own with --corpus PATH.")
    documents, left_out = [], []
    for path in files:
        name = path.relative_to(root).as_posix()
        document = python_document(name, path.read_bytes())
        if document is None:
            left_out.append(name)
        else:
            documents.append(document)
    return Documents([d for d in documents if not d.is_blank], "python", len(files), left_out)


def python_document(name: str, data: bytes) -> Document | None:
    """The document of a Python file's bytes in the encoding the file declares; None if they are not in it."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return Document.of(name, decode(data, name, encoding))
    except (SyntaxError, ValueError):
        return None
