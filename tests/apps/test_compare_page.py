"""The compare page: every comparison opens from its link, and stands beside what chance gives."""

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import apps
from workbench.activations import ActivationStore
from workbench.features import FeatureIndex
from workbench.features.comparing.label_sets import labels_with_values, question, values_of
from workbench.features.comparing.siblings import overlap
from workbench.runs import Run

ENTRY = Path(apps.__file__).parent / "explorer.py"

pytestmark = pytest.mark.usefixtures("explorer_environment")


def opened(**parameters: str) -> AppTest:
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    app.switch_page("views/compare.py")
    app.query_params |= parameters
    app.run()
    assert not app.exception
    return app


def said(app: AppTest) -> str:
    elements = [*app.title, *app.subheader, *app.caption, *app.markdown, *app.warning, *app.info]
    return "\n".join(e.value for e in elements).replace("\\", "").replace("\u2060", "")


def components(app: AppTest, name: str) -> list[dict[str, Any]]:
    return [json.loads(c.proto.json) for c in app.get("bidi_component") if c.proto.component_name == name]


def facts(app: AppTest) -> dict[str, str]:
    return {fact["label"]: fact["value"] for fact in components(app, "facts")[0]["facts"]}


@pytest.fixture
def index(runs_root: Path) -> FeatureIndex:
    return FeatureIndex.open(Run.open(runs_root / "tiny").find("features").path)


def test_two_features_overlap_beside_chance(index: FeatureIndex) -> None:
    a, b = (int(f) for f in index.table["density"].nlargest(2).index)
    app = opened(what="Features", a=str(a), b=str(b))
    found = overlap(index, a, index, b)
    assert facts(app)["Jaccard"] == f"{found['jaccard']:.3f}"
    assert facts(app)["By chance"] == f"{found['chance']:.5f}"
    strips = [s["strips"][0]["title"] for s in components(app, "token_strip")]
    assert len(strips) == 2


def test_a_feature_that_is_not_there_is_one_sentence(index: FeatureIndex) -> None:
    assert "There is no feature '9999'" in said(opened(what="Features", a="9999"))
    assert "There is no feature '<script>'" in said(opened(what="Features", b="<script>"))


def test_sets_of_rows_are_told_apart_beside_shuffled_labels(index: FeatureIndex) -> None:
    app = opened(what="Sets of rows", first="in_comment == True")
    told = facts(app)
    assert {"First set", "Second set", "Best feature's AUROC", "By chance", "Beyond chance"} <= set(told)
    table = components(app, "link_table")[0]
    assert all("feature=" in row[0]["href"] for row in table["rows"])
    assert "all numbers but that one are of the other half" in said(app)


def test_rows_are_chosen_by_a_label_and_its_values(index: FeatureIndex) -> None:
    app = opened(what="Sets of rows")
    boxes = {box.label: box for box in app.selectbox}
    store = ActivationStore.open(Run.open(index.path.parents[1]).find("activations").path)
    label = labels_with_values(store)[0]
    assert boxes["Label"].options == [name.replace("_", " ") for name in labels_with_values(store)]
    values = values_of(store, label)
    assert boxes["First set: rows where it is"].options == [str(value) for value in values]
    n = len(store.where(question(label, values[0])))
    assert 0 < float(facts(app)["First set"].replace(",", "")) < n, "those that are held out"
    assert boxes["Second set"].options == ["all other rows", *map(str, values[1:])]


@pytest.mark.parametrize("asked", ["__import__('os')", "pos <", "no_such_label == 1", "pos < 0"])
def test_a_question_that_cannot_be_answered_is_one_sentence(asked: str) -> None:
    app = opened(what="Sets of rows", first=asked)
    assert len(app.warning) == 1


def test_two_documents(index: FeatureIndex) -> None:
    app = opened(what="Sets of rows", sets="Two documents")
    assert len(app.selectbox(key="doc_a").options) == (index.documents["rows"] > 0).sum()


def test_runs_stand_side_by_side(runs_root: Path) -> None:
    app = opened(what="Runs", beside="gru")
    assert "How they learned" in said(app)
    (line,) = [row for row in components(app, "link_table")[0]["rows"] if row[0]["text"] == "parameters"]
    for cell, name in zip(line[1:3], ("tiny", "gru"), strict=True):
        n = sum(p.numel() for p in Run.open(runs_root / name).model().parameters())
        assert cell["text"] == f"{n:,}"
    both = opened(what="Runs", beside="gru", same_text="true")
    losses = next(t for t in components(both, "link_table") if "loss, nats a token" in json.dumps(t))
    assert [row[0]["text"] for row in losses["rows"]] == ["tiny", "gru"]


def test_runs_without_a_common_text_say_why() -> None:
    app = opened(what="Runs", beside="flip-flop")
    assert "does not predict the next token" in said(app) or "reads vectors" in said(app)


def test_dictionaries_stand_beside_their_controls_and_one_alone_has_nothing_to_be_compared_with() -> None:
    app = opened(what="Dictionaries")
    assert "it takes two to compare" in said(app)
