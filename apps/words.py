"""What the columns of an index are called on the pages: features of a dictionary, units, heads, probe directions."""

from dataclasses import dataclass
from typing import Any

from workbench.features.columns import HEADS, LATENTS, PROBES, UNITS, kind_of
from workbench.features.index.feature_index import FeatureIndex
from workbench.runs import Artifact


@dataclass(frozen=True)
class Words:
    """The words for one kind of column.

    Attributes:
        one: what a column is called.
        many: several of them.
        kind: what an index is of.
        rival: what a column is held against by itself.
        rival_f1: the column of the index's table with its F1.
        no_logits: why there is no direct path to the logits, where there never is one.
    """

    one: str
    many: str
    kind: str
    rival: str = "neuron"
    rival_f1: str = "neuron_f1"
    no_logits: str = "Its hook has no direct path to the logits."


_WORDS = {
    LATENTS: Words("feature", "features", "latents"),
    UNITS: Words("unit", "units", "units", rival="random direction", rival_f1="random_f1"),
    HEADS: Words(
        "head",
        "heads",
        "heads",
        no_logits="How much a head writes is a length, and no direction: it has no direct path to the logits.",
    ),
    PROBES: Words("direction", "directions", "probe directions"),
}


def words_of(config: dict[str, Any]) -> Words:
    """The words for an index's columns, by its manifest's config; those of a kind not known are features."""
    return _WORDS.get(kind_of(config), _WORDS[LATENTS])


def index_title(artifact: Artifact) -> str:
    """What an index is of, below the selector that has its name: `units of blocks.0.rnn.hook_h`."""
    config = artifact.manifest.config
    return f"{words_of(config).kind} of {config['hook_name']}"


def about(index: FeatureIndex) -> str:
    """What a value of the columns is, and where one fires; empty for latents, whose dictionary says so."""
    return str(index.config.get("about", ""))


def called(row: dict[str, Any], index: FeatureIndex) -> str:
    """What one column is called: `Feature 12`, or `Unit 12 high`."""
    named = titled(row, index)
    return named[:1].upper() + named[1:]


def short(index: FeatureIndex, feature: int) -> str:
    """What stands in a list's first column: `12`, or `unit 12 high`."""
    return str(index.table["title"].iloc[feature]) if "title" in index.table else f"{feature}"


def titled(row: dict[str, Any], index: FeatureIndex) -> str:
    """The same within a sentence: `feature 12`, or `unit 12 high`."""
    return str(row.get("title") or f"{words_of(index.config).one} {row['feature']:,}")
