"""What `workbench heads` leaves behind, and its reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load_file
from torch import Tensor

from models.artifacts import ArtifactError, Manifest
from models.table_files import read_table
from models.tensor_files import save_tensors
from workbench.interventions.ablation import ABLATED, DIRECTION

VERB = "heads"
SCORES, COPYING, COMPOSITION = "result.parquet", "copying.parquet", "composition.parquet"
IMPORTANCE, ALIGNMENTS, ALIGNED = "importance.parquet", "alignments.parquet", "alignment.parquet"
WEIGHTED, WORDS, PATTERNS = "weighted.parquet", "words.parquet", "patterns.safetensors"
_NEEDED = {
    SCORES: ("hook", "layer", "head", "text", "score", "value", "control", "control_low", "control_high"),
    COPYING: ("layer", "head", "value", "random_mean", "random_high", "percentile"),
    COMPOSITION: (
        *("kind", "from_layer", "from_head", "to_layer", "to_head"),
        *("value", "random_mean", "random_high", "percentile"),
    ),
    IMPORTANCE: ("hook", "layer", "head", "ablation", "variant", "effect", "effect_low", "effect_high"),
    WEIGHTED: ("text", "score", "ablation", "value", "unweighted", "control"),
    ALIGNMENTS: ("sequence", "hook", "head", "target", "source", "weight", "variant"),
    ALIGNED: ("hook", "head", "variant", "mass", "argmax", "argmax_low", "argmax_high"),
    WORDS: ("sequence", "axis", "position", "word"),
}


@dataclass(frozen=True)
class HeadSurvey:
    """All that was asked of a subject's heads; tables are those of the functions named.

    Attributes:
        scores: `head_scores`.
        copying: `copying_scores`; None where tokens are not what the subject says, or weights are not known.
        composition: `composition_scores`; None as for copying, and where there is one layer.
        importance: the rise of the loss as each head is ablated (`ablate`); None where there are no heads' outputs.
        weighted: `weighted_scores`; None as for importance, and where no ablation changed anything.
        alignments: of the sequences that are kept, what a decoder looks at in the source (`alignments`), the untrained
            subject's beside it; None where it looks at none.
        aligned: how often that is right (`alignment_accuracy`); None where the truth is not known.
        words: of the sequences that are kept, `sequence, axis` (`target`, `source`), `position, word`.
        patterns: by hook and sequence the attention, kept as whole 255ths.
        axes: by hook, whose positions queries and keys are.
    """

    scores: pd.DataFrame
    copying: pd.DataFrame | None
    composition: pd.DataFrame | None
    importance: pd.DataFrame | None
    weighted: pd.DataFrame | None
    alignments: pd.DataFrame | None
    aligned: pd.DataFrame | None
    words: pd.DataFrame
    patterns: dict[tuple[str, int], UInt8[Tensor, "head query key"]]
    axes: dict[str, tuple[str, str]]

    def pattern(self, hook: str, sequence: int) -> Float[Tensor, "head query key"]:
        """The attention of a hook's heads in one of the sequences that are kept."""
        return self.patterns[hook, sequence].float() / 255

    def costs(self) -> pd.DataFrame | None:
        """A line a head: `hook, layer, head, ablation`, and by how much the loss rises, `cost` and `random_cost`.

        That is by its ablation, and by as large a change along random directions, the mean over their draws.
        """
        if self.importance is None:
            return None
        places = ["hook", "layer", "head", "ablation"]
        by_variant = self.importance.pivot_table("effect", places, "variant", sort=False).rename_axis(columns=None)
        return by_variant.rename(columns={ABLATED: "cost", DIRECTION: "random_cost"}).reset_index()

    def by_head(self, score: str, text: str) -> pd.DataFrame:
        """A line a head, best first: its score of a text beside its control's, and what else is known of it.

        These are `copying` and `copying_percentile`, `cost` (the rise of the loss by its ablation) and `random_cost`
        (by random directions), as far as they were measured.
        """
        own = self.scores[(self.scores["score"] == score) & (self.scores["text"] == text)]
        lines = own.sort_values("value", ascending=False, kind="stable").assign(at=_stem(own))
        if self.copying is not None:
            named = self.copying.rename(columns={"value": "copying", "percentile": "copying_percentile"})
            columns = ["layer", "head", "copying", "copying_percentile"]
            lines = lines.merge(named[columns], on=["layer", "head"], how="left")
        if (costs := self.costs()) is not None:
            costs = costs.assign(at=_stem(costs))[["at", "head", "cost", "random_cost"]]
            lines = lines.merge(costs, on=["at", "head"], how="left")
        return lines.drop(columns="at")

    def words_of(self, sequence: int, axis: str = "target") -> list[str]:
        """A kept sequence in words."""
        own = self.words[(self.words["sequence"] == sequence) & (self.words["axis"] == axis)]
        return own.sort_values("position")["word"].tolist()


def _stem(table: pd.DataFrame) -> pd.Series:
    """The attention that a hook is of."""
    return table["hook"].str.replace(r"\.hook_\w+$", "", regex=True)


def write_patterns(folder: Path, patterns: Mapping[tuple[str, int], Float[Tensor, "head query key"]]) -> None:
    """Keep attention as one byte a weight."""
    tensors = {f"{hook}|{i}": (p.clamp(0, 1) * 255).round().to(torch.uint8) for (hook, i), p in patterns.items()}
    save_tensors(tensors, folder / PATTERNS)


def read_heads(path: str | Path) -> HeadSurvey:
    """What `workbench heads` left in a folder. Raises `ArtifactError` where nothing is, or it is damaged."""
    folder = Path(path)
    manifest = Manifest.read(folder)
    if manifest.config.get("verb") != VERB:
        raise ArtifactError(f"{folder} is no survey of heads: `workbench heads` makes one.")
    tables = {name: read_table(folder / name, needed) for name, needed in _NEEDED.items()}
    scores, words = tables[SCORES], tables[WORDS]
    if scores is None or words is None:
        raise ArtifactError(f"{folder} is damaged: it lacks {SCORES if scores is None else WORDS}.")
    axes = {hook: (of[0], of[1]) for hook, of in manifest.config["results"]["axes"].items()}
    return HeadSurvey(
        scores, tables[COPYING], tables[COMPOSITION], tables[IMPORTANCE], tables[WEIGHTED],
        tables[ALIGNMENTS], tables[ALIGNED], words, _read_patterns(folder / PATTERNS), axes,
    )  # fmt: skip


def _read_patterns(path: Path) -> dict[tuple[str, int], UInt8[Tensor, "head query key"]]:
    try:
        tensors = load_file(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path} is missing or damaged: {str(error).splitlines()[0]}") from error
    return {(name.rpartition("|")[0], int(name.rpartition("|")[2])): value for name, value in tensors.items()}
