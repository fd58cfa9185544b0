"""One feature's own page: what taking it out does, what its neuron does, who its siblings are."""

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from streamlit.testing.v1 import AppTest
from tiny_run import HOOK

import apps
from models.artifacts import publishing
from workbench.activations import ActivationStore
from workbench.features import FeatureIndex
from workbench.features.comparing.neuron_values import rows_of_both
from workbench.features.on_demand.ablation_effects import FEATURE, FIRES, LOSS
from workbench.features.on_demand.ablation_effects_kept import kept_effects
from workbench.runs import Run
from workbench.sae import SAEConfig, build_sae, save_sae

ENTRY = Path(apps.__file__).parent / "explorer.py"


@pytest.fixture(scope="module")
def run(runs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny run, to write in, with a second dictionary of the same hook."""
    path = tmp_path_factory.mktemp("own") / "tiny"
    shutil.copytree(runs_root / "tiny", path)
    found = Run.open(path)
    cfg = SAEConfig(architecture="topk", d_in=48, d_sae=32, k=4, hook_name=HOOK, seed=9)
    inputs = found.inputs(found.find("activations"), found.find("model"))
    with publishing(found.path_of("sae", "narrow"), "sae", inputs=inputs, config={"sae": cfg.to_dict()}) as draft:
        save_sae(build_sae(cfg).requires_grad_(False), draft.path)
    return found.refresh()


@pytest.fixture
def index(run: Run) -> FeatureIndex:
    return FeatureIndex.open(run.find("features").path)


@pytest.fixture(autouse=True)
def _started(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(run.path.parent))
    monkeypatch.setenv("WORKBENCH_EXPLORE_RUN", "tiny")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def opened(feature: int, **state: Any) -> AppTest:
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    app.switch_page("views/features.py")
    app.query_params["feature"] = str(feature)
    for key, value in state.items():
        app.session_state[key] = value
    app.run()
    assert not app.exception
    return app


def said(app: AppTest) -> str:
    elements = [*app.title, *app.subheader, *app.caption, *app.markdown, *app.warning, *app.info]
    return "\n".join(e.value for e in elements).replace("\\", "").replace("\u2060", "")


def component(app: AppTest, name: str, containing: str = "") -> dict[str, Any]:
    found = [c.proto for c in app.get("bidi_component") if c.proto.component_name == name]
    return json.loads(next(p.json for p in found if containing in p.json))


def lively(index: FeatureIndex) -> int:
    return int(index.table["density"].idxmax())


def test_what_it_does_is_measured_when_asked_and_is_there_at_once_afterwards(run: Run, index: FeatureIndex) -> None:
    feature = lively(index)
    app = opened(feature)
    assert kept_effects(run, run.find("features"), feature) is None, "nothing is measured unasked"
    app.button(key="measure_effects").click().run()
    assert not app.exception
    kept = kept_effects(run, run.find("features"), feature)
    assert kept is not None
    first = kept[(kept["variant"] == FEATURE) & (kept["where"] == FIRES) & (kept["measure"] == LOSS)].iloc[0]
    assert f"changes by {first['change']:+.3f}".replace("-", "−") in said(app)
    again = opened(feature)
    assert f"changes by {first['change']:+.3f}".replace("-", "−") in said(again)
    assert "measure_effects" not in [button.key for button in again.button]
    told = component(again, "link_table", "Rise without it")
    assert [column["label"] for column in told["columns"]] == ["token", "with it", "change", "random"]


def test_a_feature_leads_to_the_compare_page_and_to_steering(index: FeatureIndex) -> None:
    feature = lively(index)
    links = [
        json.loads(c.proto.json)
        for c in opened(feature).get("bidi_component")
        if c.proto.component_name == "session_link"
    ]
    assert any(f"a={feature}" in link["href"] and link["href"].startswith("compare?") for link in links)
    (steering,) = [link for link in links if link["label"].startswith("Steer")]
    assert steering["href"].startswith("interventions?")
    assert f"f={feature}&" in steering["href"]
    strongest = index.examples(feature, "top")[0]
    begun = dict(parse_qsl(urlsplit(steering["href"]).query))["prompt"]
    assert begun == "".join(strongest.tokens[: strongest.focus + 1]), "it writes on from where the feature fires most"


def test_what_is_costly_is_made_only_once_it_is_opened(index: FeatureIndex) -> None:
    app = opened(lively(index))
    assert "recorded rows" not in said(app)
    assert "trained on this subject" not in said(app)


def test_the_feature_and_its_neuron_stand_on_the_same_rows(run: Run, index: FeatureIndex) -> None:
    feature = lively(index)
    store = ActivationStore.open(run.find("activations").path)
    rows = rows_of_both(index, store, feature, 5, n_firing=40, n_silent=60)
    fires, values = index.values(feature)
    known = dict(zip(fires.tolist(), values.tolist(), strict=True))
    assert rows["fires"].sum() == min(40, len(fires))
    assert rows["feature"].tolist() == [known.get(row, 0.0) for row in rows["row"]]
    assert rows["neuron"].tolist() == store[HOOK][rows["row"].to_numpy()][:, 5].tolist()
    with pytest.raises(ValueError, match="there is no neuron 48"):
        rows_of_both(index, store, feature, 48)
