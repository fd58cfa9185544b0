"""The exported site: whole, harmless, linked to itself alone, and with the numbers of the run."""

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tiny_run import WICKED
from typechecker import unchecked

from apps.export import patterns, picture, site
from apps.export.__main__ import main
from apps.export.chosen import best
from apps.export.pages import Pages, anchor
from apps.text import number, percent, signed
from models.artifacts import Manifest
from workbench.cli.circuit import make_circuit
from workbench.cli.prompt_options import AskedPrompts
from workbench.experiments import read_circuit
from workbench.features import dictionary_id
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.notes.notes import Notes
from workbench.runs import Run

FEATURES = (3, 0, 17)
_VOID = {"meta", "link", "img", "br", "input"}


class _Read(HTMLParser):
    """A page as a browser would have it: elements with their attributes, and what is not in any script."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self.data = "", ""
        self._open: list[str] = []
        self.feed(page.read_text("utf8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.data += data
        else:
            self.text += data

    def values(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def export(run: Path, folder: Path, *more: str) -> Path:
    with unchecked():
        assert main(["--run", str(run), "--static", str(folder), "--json", *more]) == 0
    return folder


@pytest.fixture(scope="module")
def exported(runs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the run `tiny` with three features."""
    folder = tmp_path_factory.mktemp("export") / "site"
    return export(runs_root / "tiny", folder, "--features", *map(str, FEATURES))


@pytest.fixture(scope="module", params=["tiny", "probed", "circuits", "aligned", "dynamics", "population", "result"])
def any_site(
    request: pytest.FixtureRequest, exported: Path, runs_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The site of every kind of run."""
    if request.param == "tiny":
        yield exported
        return
    yield export(runs_root / request.param, tmp_path_factory.mktemp("export") / "site")


@cache
def pages(folder: Path) -> dict[Path, _Read]:
    return {page: _Read(page) for page in sorted(folder.rglob("*.html"))}


def test_every_page_is_well_formed_and_every_link_leads_somewhere_in_the_site(any_site: Path):
    found = pages(any_site)
    assert any_site / "index.html" in found
    for page, read in found.items():
        ids = read.values("id")
        assert len(ids) == len(set(ids)), "an id stands twice"
        for target in read.values("href") + [src for src in read.values("src") if not src.startswith("data:")]:
            path, _, part = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            assert there.is_file(), f"{page.name} leads to {target}"
            assert there.is_relative_to(any_site.resolve())
            if part:
                assert part in found[there].values("id")
        for reference in re.findall(r"url\(#([^)]+)\)", page.read_text("utf8")):
            assert reference in ids


def test_what_the_run_says_is_text_and_nothing_else(any_site: Path):
    for page, read in pages(any_site).items():
        scripts = [attributes for tag, attributes in read.elements if tag == "script"]
        own = [attributes for attributes in scripts if "src" in attributes]
        assert [attributes["src"].rpartition("/")[2] for attributes in own] == ["site.js"]
        assert all(attributes.get("type") == "application/json" for attributes in scripts if "src" not in attributes)
        assert "<" not in read.data  # so that no token of a sequence ends the script that it is data of
        for tag, attributes in read.elements:
            assert not [name for name in attributes if name.startswith("on") or name == "style"], (page, tag)
            assert tag not in {"iframe", "object", "embed", "base", "form", "foreignobject"}
    everything = "".join(page.text + "".join(page.values("aria-label")) for page in pages(any_site).values())
    if any_site.parent.name != "aligned" and (any_site / "probes.html").exists():
        assert WICKED in everything


def test_the_wicked_document_is_shown_by_its_name(exported: Path, runs_root: Path):
    index = FeatureIndex.open(Run.open(runs_root / "tiny").find("features").path)
    wicked = next(f for f in range(index.n_features) if f"{WICKED}.py" in index.feature(f).documents["doc"].tolist())
    folder = export(runs_root / "tiny", exported.parent / "wicked", "--features", str(wicked), "--views", "features")
    read = _Read(folder / "features" / f"{wicked}.html")
    assert f"{WICKED}.py" in read.text


def test_nothing_is_fetched_and_no_path_of_this_machine_is_told(any_site: Path, runs_root: Path):
    for file in any_site.rglob("*"):
        if not file.is_file():
            continue
        text = file.read_text("utf8")
        for place in (runs_root, any_site.parent, Path.home(), Path.cwd()):
            assert str(place) not in text, f"{file.name} names {place}"
        if file.suffix in (".css", ".js"):
            assert "//" not in re.sub(r"^\s*//.*|/\*.*?\*/|\s//\s.*", "", text, flags=re.M | re.S)
    for read in pages(any_site).values():
        assert not [v for v in read.values("href") + read.values("src") if re.match(r"\w+:(?!image/png)|//", v)]
        policies = [a["content"] for tag, a in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
        assert len(policies) == 1
        assert "default-src 'none'" in policies[0]
        assert "unsafe" not in policies[0]
        assert "http" not in policies[0]


def test_a_feature_page_has_the_numbers_of_the_index(exported: Path, runs_root: Path):
    index = FeatureIndex.open(Run.open(runs_root / "tiny").find("features").path)
    for feature in FEATURES:
        row = index.feature(feature).row
        read = _Read(exported / "features" / f"{feature}.html")
        assert str(row["name"]) in read.text
        for name in ("f1", "precision", "recall", "neuron_f1", "max", "mean"):
            assert number(row[name]) in read.text
        assert percent(row["density"]) in read.text
        lit = [a for tag, a in read.elements if tag == "span" and "data-v" in a]
        shown = [e for kind in ("top", "band", "near_miss") for e in index.examples(feature, kind)]
        assert [a["data-v"] for a in lit]
        assert len(lit) == sum(v > 0 for e in shown for v in e.values)
        assert all(a["tabindex"] == "0" and a["aria-label"].endswith(f"activation {a['data-v']}") for a in lit)
    table = _Read(exported / "features.html")
    assert [h for h in table.values("href") if h.startswith("features/")][::2] == [
        f"features/{f}.html" for f in FEATURES
    ]


def test_the_pages_lead_on_and_back_in_the_order_that_was_asked_for(exported: Path):
    for at, feature in enumerate(FEATURES):
        read = _Read(exported / "features" / f"{feature}.html")
        leads = {a["rel"]: a["href"] for tag, a in read.elements if tag == "a" and "rel" in a}
        assert leads.get("next") == (f"{FEATURES[at + 1]}.html" if at < 2 else None)
        assert leads.get("prev") == (f"{FEATURES[at - 1]}.html" if at else None)


def test_what_was_left_out_is_said(exported: Path, runs_root: Path):
    index = FeatureIndex.open(Run.open(runs_root / "tiny").find("features").path)
    told = _Read(exported / "index.html").text
    assert f"{index.n_features - 3} of the {index.n_features} features" in told
    assert "named one by one" in told


def test_the_best_features_are_those_of_each_kind_of_name_with_the_largest_sure_gain():
    told = [("token", 0.9, 0.1), ("token", 1.0, 0.0), ("syntax", 0.6, 0.5), ("none", 0.0, 0.0), ("syntax", 0.5, 0.2)]
    table = pd.DataFrame(told, columns=["kind", "f1_low", "neuron_f1"]).assign(dead=False)
    dead = pd.DataFrame({"kind": ["token"], "f1_low": [1.0], "neuron_f1": [-1.0], "dead": [True]})
    table = pd.concat([table, dead], ignore_index=True)
    table["feature"] = range(len(table))
    assert best(table, 9) == (4, 1, 2, 0, 3)
    assert best(table, 2) == (4, 1)


def test_as_many_features_are_there_as_were_asked_for(tmp_path: Path, runs_root: Path):
    folder = export(runs_root / "tiny", tmp_path / "site", "--top", "2", "--views", "features")
    assert len(list((folder / "features").glob("*.html"))) == 2
    assert not (folder / "runs.html").exists()
    assert "was not asked for" in _Read(folder / "index.html").text


def test_a_circuit_is_shown_with_its_edges_sizes_paths_and_latents_beside_chance(tmp_path: Path, runs_root: Path):
    run = Run.open(shutil.copytree(runs_root / "tiny", tmp_path / "tiny"))
    asked = AskedPrompts(clean=f"# {WICKED}\ndef make_1(", corrupt=f"# {WICKED}\ndef make_2(", answer=",", wrong=")")
    with unchecked():
        made = make_circuit(run, asked, n_paths=3, features=["small"], n_controls=2)
    folder = export(run.path, tmp_path / "site", "--views", "interventions")
    read, circuit = _Read(folder / "interventions.html"), read_circuit(made.path)
    assert "Circuit by attribution: circuit" in read.text
    for line in (circuit.edge_means.iloc[0], circuit.feature_means.iloc[0]):
        assert signed(line["random"], 3) in read.text
    for _, line in circuit.path_means.iterrows():
        assert signed(line["effect"], 3) in read.text
        assert signed(line["random"], 3) in read.text
    written = [len(pd.read_csv(file)) for file in folder.rglob("*.csv")]
    assert len(written) == 5, "edges, sizes, paths; latents, and how many keep how much"
    assert {len(table) for table in (circuit.faithfulness, circuit.feature_faithfulness, circuit.paths)} <= set(written)


def test_a_list_of_notes_is_exported_with_its_words(tmp_path: Path, runs_root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKBENCH_NOTES", str(tmp_path / "notes.sqlite"))
    index = FeatureIndex.open(Run.open(runs_root / "tiny").find("features").path)
    notes, dictionary = Notes(author="me"), dictionary_id(index.manifest)
    notes.save(dictionary, 5, label=f"mine {WICKED}", note="seen often")
    notes.add_to("for the talk", dictionary, 5, 2)
    folder = export(runs_root / "tiny", tmp_path / "site", "--list", "for the talk", "--views", "features")
    read = _Read(folder / "features" / "5.html")
    assert f"mine {WICKED}" in read.text
    assert "seen often" in read.text
    assert (folder / "features" / "2.html").exists()
    notes.bookmark(dictionary, 7)
    chosen = export(runs_root / "tiny", tmp_path / "chosen", "--features", "9", "5", "--views", "features")
    assert sorted(page.stem for page in (chosen / "features").iterdir()) == ["5", "7", "9"]
    read = _Read(chosen / "features" / "5.html")
    assert f"mine {WICKED}" in read.text
    assert "seen often" not in read.text, "a note goes only where its list was asked for"
    assert "1 that you bookmarked or labelled" in _Read(chosen / "index.html").text
    with unchecked():
        assert main(["--run", str(runs_root / "tiny"), "--static", str(tmp_path / "other"), "--list", "none"]) == 2


@pytest.mark.parametrize(
    ("run", "asked", "said"),
    [
        ("tiny", ["--features", "64"], "no feature 64"),
        ("tiny", ["--top", "0"], "--top 0 is no number"),
        ("tiny", ["--views", "probes"], "nothing for the view probes"),
        ("tiny", ["--views", "runs", "--top", "3"], "not among --views"),
        ("tiny", ["--index", "other"], "no features 'other'"),
        ("nowhere", [], "there is no run"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_a_sentence(
    run: str, asked: list[str], said: str, runs_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["--run", str(runs_root / run), "--static", str(tmp_path / "site"), *asked]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_only_a_site_is_ever_replaced_and_only_if_asked(exported: Path, runs_root: Path, tmp_path: Path, capsys):
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.tex").write_text("years of work")
    ask = ["--run", str(runs_root / "tiny"), "--features", "1", "--views", "features", "--static"]
    assert main([*ask, str(foreign), "--replace"]) == 2
    assert (foreign / "chapter.tex").read_text() == "years of work"
    assert main([*ask, str(runs_root / "tiny" / "data"), "--replace"]) == 2
    again = tmp_path / "site"
    shutil.copytree(exported, again)
    before = Manifest.read(again).id
    assert main([*ask, str(again)]) == 2
    assert "add --replace" in capsys.readouterr().err
    assert Manifest.read(again).id == before
    export(runs_root / "tiny", again, "--features", "1", "--views", "features", "--replace")
    assert sorted(page.name for page in (again / "features").iterdir()) == ["1.html"]


def test_a_site_that_was_stopped_is_not_there_and_goes_on(
    runs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, written = tmp_path / "site", []
    page = Pages.page

    def stopped(self: Pages, which) -> None:
        if which.file == "features/2.html":
            raise KeyboardInterrupt
        page(self, which)

    def counted(self: Pages, which) -> None:
        written.append(which.file)
        page(self, which)

    ask = ["--run", str(runs_root / "tiny"), "--static", str(folder), "--features", "1", "2", "--views", "features"]
    monkeypatch.setattr(Pages, "page", stopped)
    with unchecked():
        assert main(ask) == 130
    assert not folder.exists()
    monkeypatch.setattr(Pages, "page", counted)
    export(runs_root / "tiny", folder, *ask[4:])
    assert "features/2.html" in written
    assert "features/1.html" not in written  # it stood in the draft
    assert (folder / "features" / "1.html").exists()
    assert not list(folder.rglob("*.part"))
    assert Manifest.read(folder).kind == site.KIND


def test_a_pattern_is_read_back_from_its_picture():
    weights = torch.rand(7, 5, generator=torch.Generator().manual_seed(0))
    weights[0, 0], weights[1, 1] = 0.0, 1.0
    png = patterns.head("layer 0, head 0", weights).png
    opacity = np.asarray(Image.open(io.BytesIO(base64.b64decode(png.partition(",")[2]))).convert("RGBA"))[..., 3]
    assert opacity.shape == (7, 5)
    read = (opacity / 255.0) ** 2
    np.testing.assert_allclose(read, weights.numpy(), atol=2 * 0.5 / 255 + 1e-6)  # d(a²) = 2a da, a ≤ 1
    assert opacity[0, 0] == 0
    assert opacity[1, 1] == 255


def test_a_figure_is_harmless_themed_and_keeps_its_words():
    table = pd.DataFrame({"word": [WICKED, '"><img src=x onerror=alert(1)>'], "n": [1, 2]})
    chart = alt.Chart(table).mark_bar().encode(x="n:Q", y="word:N", color=alt.Color("n:Q"))
    svg = str(picture.inline(chart, "first"))
    assert "<script" not in svg
    assert "<img" not in svg
    assert "&lt;script&gt;" in svg
    assert 'class="fill-soft"' in svg  # axis labels take the page's ink
    for sentinel in picture._CLASSES:
        assert sentinel not in svg
    assert set(re.findall(r' id="([^"]+)"', svg)) == set(re.findall(r"url\(#([^)]+)\)", svg))
    assert all(name.startswith("first-") for name in re.findall(r' id="([^"]+)"', svg))


def test_names_of_files_are_safe_and_apart():
    names = ["a b", "a/b", "../../etc/passwd", WICKED, "", "ä", "x" * 300, "A b"]
    found = [anchor(name) for name in names]
    assert all(re.fullmatch(r"[a-z0-9-]{1,70}", name) for name in found)
    assert len(set(found[:7])) == 7


def test_scripts_get_the_result_and_nothing_else(runs_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    export(runs_root / "tiny", tmp_path / "site", "--features", "1", "--views", "features")
    told = json.loads(capsys.readouterr().out)
    assert told["pages"] == 3
    assert told["features"] == [1]
    assert told["bytes"] == sum(f.stat().st_size for f in (tmp_path / "site").rglob("*") if f.is_file())
