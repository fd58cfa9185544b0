"""The corpus as a dataset: sequences, splits and labels that belong to their tokens."""

import sysconfig
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE

from models.corpus.build import CorpusReport, build_corpus
from models.corpus.documents import Document
from models.corpus.label_columns import LANGUAGES
from models.corpus.labelling import DocumentLabels, label_documents
from models.corpus.near_duplicates import near_duplicate_groups, split_by_group
from models.corpus.packing import label_table, pack_tokens
from models.corpus.tokenizer import token_bytes
from models.dataset import Dataset

STDLIB = Path(sysconfig.get_path("stdlib"))
SOURCES = ("heapq.py", "bisect.py", "textwrap.py", "string.py", "fractions.py", "queue.py", "shlex.py", "sched.py",
           "json/decoder.py", "json/encoder.py", "keyword.py", "copy.py")  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Python source: a dozen modules of the library, a near copy of one, and one that does not parse."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        (folder / name.replace("/", "_")).write_bytes((STDLIB / name).read_bytes())
    copy = (STDLIB / "heapq.py").read_text("utf8").replace("heappop", "heap_pop")
    (folder / "heapq_copy.py").write_text(copy, "utf8")
    (folder / "broken.py").write_text("print 'old'\n" * 20)
    (folder / "empty.py").write_text("")
    return folder


@pytest.fixture(scope="module")
def corpus(source: Path) -> tuple[Dataset, CorpusReport]:
    return build_corpus(source, n_ctx=32, vocab_size=512)


def texts_of(source: Path, dataset: Dataset) -> list[str]:
    return [(source / name).read_text("utf8") for name in dataset.doc_table["name"].to_pylist()]


def test_every_sequence_starts_with_bos_and_is_padded_at_its_end(corpus: tuple[Dataset, CorpusReport]) -> None:
    dataset, _ = corpus
    assert (dataset.tokens[:, 0] == dataset.bos).all()
    assert (dataset.tokens[:, 1:][dataset.mask[:, 1:]] != dataset.bos).all()
    assert (dataset.tokens[~dataset.mask] == 0).all()
    assert (dataset.mask[:, 1:] <= dataset.mask[:, :-1]).all()
    assert dataset.mask[:, 1].all()


def test_a_document_s_sequences_are_the_document(source: Path, corpus: tuple[Dataset, CorpusReport]) -> None:
    dataset, _ = corpus
    assert (dataset.docs[1:] >= dataset.docs[:-1]).all()
    for i, text in enumerate(texts_of(source, dataset)):
        rows = dataset.docs == i
        ids = dataset.tokens[rows][:, 1:][dataset.mask[rows][:, 1:]]
        assert dataset.tokenizer.decode(ids.tolist(), skip_special_tokens=False) == text


def test_labels_stand_beside_their_tokens(source: Path, corpus: tuple[Dataset, CorpusReport]) -> None:
    """`line` and `keyword` are told again from the text, token by token, in bytes."""
    dataset, _ = corpus
    lines, keywords = dataset.labels["line"].to_pylist(), dataset.labels["keyword"].to_pylist()
    depths = dataset.labels["bracket_depth"].to_pylist()
    row = 0
    texts = [text.encode() for text in texts_of(source, dataset)]
    pieces = token_bytes(dataset.tokenizer)
    before: dict[int, int] = {}
    for tokens, mask, doc in zip(dataset.tokens.tolist(), dataset.mask.tolist(), dataset.docs.tolist(), strict=True):
        for token, real in zip(tokens, mask, strict=True):
            if not real:
                continue
            if token == dataset.bos:
                assert (lines[row], keywords[row], depths[row]) == (None, None, None)
            else:
                piece = pieces[token]
                start = before.get(doc, 0)
                first = start + len(piece) - len(piece.lstrip()) if piece.strip() else start
                assert texts[doc].startswith(piece, start)
                assert lines[row] == texts[doc].count(b"\n", 0, first) + 1
                assert keywords[row] is None or piece.strip() in keywords[row].encode()
                assert depths[row] is not None
                before[doc] = start + len(piece)
            row += 1
    assert row == dataset.labels.num_rows


def test_labels_have_the_columns_and_types_that_are_declared(corpus: tuple[Dataset, CorpusReport]) -> None:
    dataset, report = corpus
    types = {column.name: column.kind for column in LANGUAGES["python"]}
    assert dataset.labels.column_names == ["line", *types]
    assert report.n_labels == len(types)
    for name, kind in types.items():
        found = str(dataset.labels.schema.field(name).type)
        assert found.startswith({"bool": "bool", "int": "int16", "category": "dictionary<values=string"}[kind])


def test_splits_are_by_document_and_near_duplicates_stay_together(corpus: tuple[Dataset, CorpusReport]) -> None:
    dataset, report = corpus
    table = dataset.doc_table.to_pydict()
    group_of = dict(zip(table["name"], table["group"], strict=True))
    assert group_of["heapq.py"] == group_of["heapq_copy.py"]
    assert len(set(table["group"])) == len(SOURCES) == report.n_groups
    train, test = dataset.split("train"), dataset.split("test")
    assert not set(train.docs.tolist()) & set(test.docs.tolist())
    assert train.n_tokens + test.n_tokens == dataset.n_tokens == report.n_tokens
    assert test.n_tokens == report.n_test_tokens > 0
    splits_of_group = {(group, split) for group, split in zip(table["group"], table["split"], strict=True)}
    assert len(splits_of_group) == len(set(table["group"]))


def test_files_that_do_not_parse_are_left_out_and_counted(corpus: tuple[Dataset, CorpusReport]) -> None:
    dataset, report = corpus
    assert report.left_out == ["broken.py"]
    assert report.n_files == len(SOURCES) + 3
    assert report.n_documents == dataset.doc_table.num_rows == len(SOURCES) + 1
    assert set(report.seconds) == {"read", "split", "tokenizer", "encode", "label", "pack"}


def test_the_same_source_gives_the_same_dataset(source: Path, corpus: tuple[Dataset, CorpusReport]) -> None:
    dataset, _ = corpus
    again, _ = build_corpus(source, n_ctx=32, vocab_size=512)
    assert (again.tokens == dataset.tokens).all()
    assert again.labels.equals(dataset.labels)
    assert again.doc_table.equals(dataset.doc_table)
    assert again.tokenizer.to_str() == dataset.tokenizer.to_str()


def test_another_seed_holds_other_documents_out(source: Path) -> None:
    held_out = set()
    for seed in range(6):
        splits = split_by_group(np.arange(30), np.ones(30, dtype=np.int64), seed=seed)
        assert splits.count("test") == 3
        held_out.add(tuple(splits))
    assert len(held_out) > 1


def test_text_gets_the_labels_of_text(tmp_path: Path) -> None:
    lines = [f"Line {i} has the number {i * i}, (twice) {i * i}.\n\n" for i in range(900)]
    (tmp_path / "a.txt").write_text("".join(lines))
    dataset, report = build_corpus(tmp_path / "a.txt", n_ctx=64, vocab_size=400)
    assert report.language == "text"
    assert dataset.labels.column_names == ["line", *(column.name for column in LANGUAGES["text"])]
    assert set(dataset.labels["bracket_kind"].combine_chunks().to_pylist()) == {None, "round"}


def test_processes_label_as_one_process_does(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (STDLIB / "bisect.py").read_text("utf8")
    documents = [Document(f"{i}.py", text) for i in range(20)]
    monkeypatch.setattr("models.corpus.labelling._WORTH_PROCESSES", len(text))
    monkeypatch.setattr("models.corpus.labelling._CHARACTERS_A_TASK", 3 * len(text))
    starts = np.arange(0, len(text), 4)
    edges = np.stack([starts, np.append(starts[1:], len(text))]).astype(np.int32)
    ids = np.zeros(len(starts), dtype=np.int32)
    (alone,) = label_documents(documents[:1], [ids], [edges], "python", 31)
    for labels in label_documents(documents, [ids] * 20, [edges] * 20, "python", 31):
        assert np.array_equal(labels.codes, alone.codes)
        assert np.array_equal(labels.counts, alone.counts)
        assert np.array_equal(labels.lines, alone.lines)


class TestTextThatIsOnlyRead:
    """A text that nobody learns from may be short, and a single document."""

    @pytest.mark.parametrize("text", ["x", "Two lines.\nAnd no more.\n", "def f(x):\n    return x\n" * 40])
    def test_every_token_of_it_is_there(self, tmp_path, corpus, text):
        tokenizer = corpus[0].tokenizer
        (tmp_path / "a.txt").write_text(text)
        dataset, report = build_corpus(tmp_path / "a.txt", n_ctx=16, tokenizer=tokenizer, to_train=False)
        assert tokenizer.decode(dataset.tokens[dataset.counted].tolist()) == text
        assert dataset.doc_table["split"].to_pylist() == ["train"]
        assert report.n_tokens == dataset.n_tokens > 0
        with pytest.raises(ValueError, match="too few to train on: at least 20,000"):
            build_corpus(tmp_path / "a.txt", n_ctx=16, tokenizer=tokenizer)

    def test_several_documents_are_split_as_ever(self, tmp_path, corpus):
        for i in range(4):
            (tmp_path / f"{i}.txt").write_text(f"Number {i} is here.")
        dataset, _ = build_corpus(tmp_path, n_ctx=16, tokenizer=corpus[0].tokenizer, to_train=False)
        assert set(dataset.doc_table["split"].to_pylist()) == {"train", "test"}

    def test_a_text_without_a_token_is_said_so(self, tmp_path):
        (tmp_path / "a.txt").write_text("no word of it is known")
        with pytest.raises(ValueError, match="the tokenizer makes no token of the text"):
            build_corpus(tmp_path / "a.txt", tokenizer=Tokenizer(BPE()), to_train=False)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_ctx": 1}, "n_ctx 1 is too small"),
        ({"vocab_size": 99}, "vocab_size 99 is too small"),
        ({"test": 0.0}, "no share between 0 and 1"),
        ({"n_ctx": 100_000}, "too few to train on"),
    ],
)
def test_unfit_arguments_get_one_plain_sentence(source: Path, arguments: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build_corpus(source, **({"vocab_size": 300} | arguments))


def test_a_folder_of_another_language_called_python_is_refused(tmp_path: Path) -> None:
    for name in SOURCES[:5]:
        (tmp_path / name).write_bytes(b"print 'old'\n" + (STDLIB / name).read_bytes())
    with pytest.raises(ValueError, match="too few of the files at .* are source of the running Python"):
        build_corpus(tmp_path, vocab_size=300)


LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=6)


@given(LENGTHS, st.integers(2, 9))
def test_packing_keeps_every_token_with_its_label(lengths: list[int], n_ctx: int) -> None:
    ids = [np.arange(1, n + 1) + 100 * i for i, n in enumerate(lengths)]
    columns = LANGUAGES["text"]
    n_counts = sum(column.kind == "int" for column in columns)
    labels = [
        DocumentLabels(
            np.zeros((len(columns) - n_counts, len(tokens)), dtype=np.uint8),
            np.tile(tokens.astype(np.int16), (n_counts, 1)),
            tokens.astype(np.int32),
        )
        for tokens in ids
    ]
    tokens, mask, docs = pack_tokens(ids, n_ctx)
    table = label_table(labels, "text", n_ctx)
    real = tokens[mask].tolist()
    assert [token or None for token in real] == table["line"].to_pylist() == table["word_length"].to_pylist()
    for i, expected in enumerate(ids):
        assert [token for token in tokens[docs == i][mask[docs == i]].tolist() if token] == expected.tolist()


def test_near_duplicates_are_grouped_and_carried_on() -> None:
    lines = [f"line number {i}\n" for i in range(100)]
    near = ["".join(lines[start : start + 60]) for start in (0, 15, 30)]  # neighbours share 45 of 75, the ends 30 of 90
    other = "".join(lines[::7]) + "".join(f"something else {i}\n" for i in range(50))
    boilerplate = [f"# licence\nvalue_{i} = {i}\nname_{i} = {i}\n" for i in range(60)]
    groups = near_duplicate_groups([*near, other, other, *boilerplate])
    assert groups[:5].tolist() == [0, 0, 0, 1, 1]
    assert len(set(groups[5:].tolist())) == 60


@given(st.lists(st.integers(1, 500), min_size=2, max_size=40), st.data())
def test_a_split_takes_whole_groups_and_leaves_both_sides_some(sizes: list[int], data: st.DataObject) -> None:
    groups = np.array([data.draw(st.integers(0, i)) for i in range(len(sizes))])
    groups = np.unique(groups, return_inverse=True)[1]
    if groups.max() == 0:
        with pytest.raises(ValueError, match="no part of it can be held out"):
            split_by_group(groups, np.array(sizes))
        return
    split = np.array(split_by_group(groups, np.array(sizes)))
    assert set(split) == {"train", "test"}
    for group in set(groups.tolist()):
        assert len(set(split[groups == group])) == 1
