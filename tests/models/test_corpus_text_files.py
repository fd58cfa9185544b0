"""Anybody's text: what is read, how it is cut, and the one sentence for each kind of bad input."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.corpus.documents import Document, decode
from models.corpus.text_files import cut, read_text

PROSE = "One sentence follows another here.\nAnd a line ends.\n\n" * 500


def names(path: Path) -> list[str]:
    return [document.name for document in read_text(path).documents]


def test_one_file_is_cut_into_documents_that_make_it_up(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(PROSE)
    found = read_text(tmp_path / "book.txt")
    assert found.language == "text"
    assert len(found.documents) >= 5
    assert "".join(document.text for document in found.documents) == PROSE
    assert all(document.text.endswith("\n\n") for document in found.documents)


@given(st.text(alphabet="ab \n", min_size=1), st.integers(0, 200))
def test_cut_pieces_make_up_the_text(text: str, times: int) -> None:
    whole = text * times
    pieces = [piece.text for piece in cut(Document("d", whole))]
    assert "".join(pieces) == whole
    assert all(len(piece) <= 4_000 for piece in pieces)


def test_a_folder_is_read_in_order_without_hidden_files(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"part{i:02}").mkdir()
        (tmp_path / f"part{i:02}" / "a.txt").write_text(f"{i} " + PROSE[:3000])
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text(PROSE)
    (tmp_path / ".hidden.txt").write_text(PROSE)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0\0")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 100)
    found = read_text(tmp_path)
    assert [document.name for document in found.documents] == [f"part{i:02}/a.txt" for i in range(12)]
    assert found.left_out == ["image.png", "latin.txt"]
    assert found.n_files == 14


def test_a_folder_of_python_is_python_and_of_anything_else_is_text(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"m{i}.py").write_text(f"x{i} = 1  # {'y' * 9000}\n")
    assert read_text(tmp_path).language == "python"
    (tmp_path / "README.md").write_text("About.\n")
    assert read_text(tmp_path).language == "text"


@pytest.mark.parametrize("key", ["name", "id"])
def test_jsonl_gives_a_document_a_line(tmp_path: Path, key: str) -> None:
    path = tmp_path / "d.jsonl"
    lines = [json.dumps({"text": f"{i}\r\n{PROSE[:2500]}\u2028\ud800", key: f"doc {i}"}) for i in range(12)]
    path.write_text("\n".join([*lines, "", json.dumps({"text": PROSE})]))
    documents = read_text(path).documents
    assert [document.name for document in documents] == [*(f"doc {i}" for i in range(12)), "d.jsonl:14"]
    assert documents[3].text == f"3\n{PROSE[:2500]}\u2028\ufffd"


def test_parquet_gives_a_document_a_row(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"text": [*([PROSE[:2500]] * 12), None], "id": range(13)}), path)
    assert names(path) == [str(i) for i in range(12)]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b" \n\n ", "is empty"),
        ("a.txt", b"ab\0cd" * 9999, "is binary"),
        ("a.txt", b"\xff\xfe\xff" * 9999, "no text in UTF-16"),
        ("a.txt", b"caf\xe9 " * 9999, "no text in UTF-8"),
        ("a.txt", b"x" * 1_000_002, "one endless line"),
        ("a.txt", b"short\n" * 100, "too few to train on"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "line 2 of a.jsonl is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n\n{"body": "b"}\n', 'line 3 of a.jsonl has no "text"'),
        ("a.jsonl", b'{"text": 3}\n', 'line 1 of a.jsonl has no "text"'),
        ("a.jsonl", b"[1, 2]\n", 'line 1 of a.jsonl has no "text"'),
        ("a.parquet", b"PAR0" * 99, "is not a Parquet file"),
    ],
)
def test_unfit_files_get_one_plain_sentence(tmp_path: Path, name: str, data: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=sentence) as error:
        read_text(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_parquet_file_without_text_says_what_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["a"], "id": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no text column of strings: its columns are body, id"):
        read_text(tmp_path / "a.parquet")


def test_missing_and_empty_paths_get_one_plain_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no corpus at"):
        read_text(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is empty"):
        read_text(tmp_path)
    (tmp_path / "a.png").write_bytes(b"\0")
    with pytest.raises(ValueError, match="none of the 1 files"):
        read_text(tmp_path)


def test_a_byte_order_mark_tells_the_encoding() -> None:
    assert Document.of("a", decode("\ufeffé\r\n漢\r".encode(), "a")).text == "é\n漢\n"
    assert Document.of("a", decode("é\n漢".encode("utf-16"), "a")).text == "é\n漢"
