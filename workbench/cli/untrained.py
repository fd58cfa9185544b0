"""The same rows of the subject before its training, which what was read from the trained one is held against."""

from pathlib import Path
from typing import TYPE_CHECKING

from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    from models.dataset import Dataset
    from workbench.activations import ActivationStore


def record_untrained(run: Run, source: Artifact, hooks: list[str], out: Path) -> "ActivationStore | None":
    """Record what `source` holds of the subject at step 0.

    None where that was not kept, as of a model of the hub, or where nothing was learned after it.
    """
    from models.saving import checkpoint_steps
    from workbench.activations import ActivationStore, harvest

    if 0 not in checkpoint_steps(run.path) or not run.find("model").manifest.config["training"]["n_steps"]:
        return None
    if (out / "manifest.json").exists():  # a killed sweep goes on
        return ActivationStore.open(out)
    config = source.manifest.config
    return harvest(
        run.model(step=0), recorded_data(run, source), hooks, out, dtype=config["dtype"], positions=config["positions"]
    )


def recorded_data(run: Run, source: Artifact) -> "Dataset":
    """The sequences that a recording is of."""
    dataset: Dataset = run.dataset(with_labels=False)
    if sample := source.manifest.config.get("sample"):
        dataset = dataset.sample(sample["n_tokens"], test_share=sample["test_share"], seed=sample["seed"])
    return dataset
