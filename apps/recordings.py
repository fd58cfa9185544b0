"""The recording that an index was made from, opened once; and the dictionaries of a hook, wherever they are."""

from apps.serve_results import opened
from workbench.activations import ActivationStore
from workbench.features.index.feature_index import FeatureIndex
from workbench.runs import Artifact, Run


def recording_of(run: Run, index: FeatureIndex) -> ActivationStore:
    """The recording of an index, by the rows of its hook. Raises `ArtifactError` where it is gone or was replaced."""
    artifact = run.made_from(index, "activations")
    store = opened(artifact, ActivationStore.open)
    return store.on(store.axis_of(index.hook_name))


def dictionaries_of(run: Run, hook: str) -> list[tuple[Artifact, Artifact | None]]:
    """The dictionaries of a run that write a hook's rows, each with an index of it, if there is one."""
    found = [a for a in run.artifacts() if a.kind == "sae" and _hook(a) == hook]
    indexes = [a for a in run.artifacts() if a.kind == "features"]
    return [(a, next((i for i in indexes if a.id in i.manifest.inputs.values()), None)) for a in found]


def _hook(dictionary: Artifact) -> str:
    """Of a crosscoder, none: its rows are those of several hooks."""
    cfg = dictionary.manifest.config.get("sae", {})
    return "" if cfg.get("n_layers") else str(cfg.get("hook_name_out") or cfg.get("hook_name", ""))
