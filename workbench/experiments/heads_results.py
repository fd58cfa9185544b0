"""What `workbench heads` leaves behind, and its reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float16, UInt8
from safetensors.torch import load_file
from torch import Tensor

from models.artifacts import ArtifactError, Manifest
from models.table_files import read_table
from models.tensor_files import save_tensors
from workbench.attention.head_scores import DISTANCE, ENTROPY
from workbench.interventions.ablation import ABLATED, DIRECTION

VERB = "heads"
SCORES, COPYING, COMPOSITION = "result.parquet", "copying.parquet", "composition.parquet"
IMPORTANCE, ALIGNMENTS, ALIGNED = "importance.parquet", "alignments.parquet", "alignment.parquet"
WEIGHTED, WORDS, PATTERNS = "weighted.parquet", "words.parquet", "patterns.safetensors"
PAIRS, DIRECTIONS, SINGULAR = "token_pairs.parquet", "directions.parquet", "singular_values.parquet"
VIRTUAL, SPECTRUM, PROFILES = "virtual_heads.parquet", "position_spectrum.parquet", "position_profiles.parquet"
ROTARY, MOVED = "rotary_frequencies.parquet", "moved.parquet"
VALUES, ROLLOUTS = "value_weighted.safetensors", "rollout.safetensors"
OWN, CONTROL = "trained", "control"  # variants of a rollout
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
    PAIRS: ("layer", "head", "circuit", "variant", "rank", "from_text", "to_text", "value", "deviations"),
    DIRECTIONS: (
        *("layer", "head", "circuit", "direction", "singular_value", "side", "sign", "rank", "text"),
        *("value", "random_high"),
    ),
    SINGULAR: ("layer", "head", "circuit", "direction", "value", "share", "random_mean", "random_high"),
    VIRTUAL: (
        *("from_layer", "from_head", "to_layer", "to_head", "share", "composition", "copying"),
        *("random_copying_high", "random_composition_high"),
    ),
    SPECTRUM: ("frequency", "period", "value", "random_mean", "random_high", "percentile"),
    PROFILES: ("layer", "head", "to", "value", "random_mean", "random_high", "percentile"),
    ROTARY: ("layer", "head", "pair", "wavelength", "value", "random_mean", "random_high", "percentile"),
    MOVED: ("hook", "layer", "head", "measure", "value", "control", "control_low", "control_high"),
}


class Standout(NamedTuple):
    """The head that stands out most against its control, and by what.

    Attributes:
        hook, head: which.
        score, text: by what, and where.
        value: its score.
        control: the best of the control's heads of its layer.
        beyond: whether its score is beyond that at all.
    """

    hook: str
    head: int
    score: str
    text: str
    value: float
    control: float
    beyond: bool


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
        pairs: `token_pairs` of every head and circuit, among the commonest tokens; this and what follows is None in a
            survey of before it was asked for, and where weights or values are not known.
        directions: `head_svd` of every head and circuit.
        singular: `singular_values` of every head and circuit.
        virtual: `virtual_heads`; None also where there is one layer, or very many pairs.
        spectrum: `position_spectrum`; None also where no positions are added to the embedding.
        profiles: `position_profiles`; None also where it is not known how heads know of positions.
        rotary: `rotary_frequencies`; None also where positions are not rotary.
        moved: by how much values change where heads look in the sequences that are kept (`moved_table`).
        values: by hook and sequence the lengths of what is moved, `value_weighted`.
        rollouts: by side, weights (`attention`, `value`), variant (`trained`, `control`) and sequence the `rollout`,
            kept as whole 255ths; None also where there is no self-attention.
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
    pairs: pd.DataFrame | None = None
    directions: pd.DataFrame | None = None
    singular: pd.DataFrame | None = None
    virtual: pd.DataFrame | None = None
    spectrum: pd.DataFrame | None = None
    profiles: pd.DataFrame | None = None
    rotary: pd.DataFrame | None = None
    moved: pd.DataFrame | None = None
    values: dict[tuple[str, int], Float16[Tensor, "head query key"]] | None = None
    rollouts: dict[tuple[str, str, str, int], UInt8[Tensor, "query key"]] | None = None

    def pattern(self, hook: str, sequence: int) -> Float[Tensor, "head query key"]:
        """The attention of a hook's heads in one of the sequences that are kept."""
        return self.patterns[hook, sequence].float() / 255

    def rollout(self, axis: str, weights: str, variant: str, sequence: int) -> Float[Tensor, "query key"]:
        """Attention through the layers of one side's self-attention, in one of the sequences that are kept.

        Raises:
            KeyError: it was not kept.
        """
        return (self.rollouts or {})[axis, weights, variant, sequence].float() / 255

    def standout(self) -> Standout:
        """The head whose score is farthest beyond the best of the control's heads of its layer.

        Among scores that are shares of attention, in log odds: 0.7 where chance gives 0.3 is less than 0.5 where it
        gives 0.03. Those in bits and in positions are on other scales. Where there are no shares (attention to a
        source), by how many bits a head's entropy lies below the control's lowest.
        """
        shares = self.scores[~self.scores["score"].isin((ENTROPY, DISTANCE))]
        if len(shares):
            beyond = _log_odds(shares["value"]) - _log_odds(shares["control_high"])
            best, far = shares.loc[beyond.idxmax()], "control_high"
        else:
            bits = self.scores[self.scores["score"] == ENTROPY]
            beyond = bits["control_low"] - bits["value"]
            best, far = bits.loc[beyond.idxmax()], "control_low"
        return Standout(
            best["hook"], int(best["head"]), best["score"], best["text"], float(best["value"]), float(best[far]),
            beyond=bool(beyond.max() > 0),
        )  # fmt: skip

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


def _log_odds(share: pd.Series) -> pd.Series:
    """Of shares; none is nearer to 0 or 1 than a thousandth, that is, than what a handful of positions can tell."""
    kept = share.clip(0.001, 0.999)
    return np.log(kept / (1 - kept))


def _stem(table: pd.DataFrame) -> pd.Series:
    """The attention that a hook is of."""
    return table["hook"].str.replace(r"\.hook_\w+$", "", regex=True)


def write_patterns(folder: Path, patterns: Mapping[tuple[str, int], Float[Tensor, "head query key"]]) -> None:
    """Keep attention as one byte a weight."""
    tensors = {f"{hook}|{i}": (p.clamp(0, 1) * 255).round().to(torch.uint8) for (hook, i), p in patterns.items()}
    save_tensors(tensors, folder / PATTERNS)


def write_values(folder: Path, moved: Mapping[tuple[str, int], Float[Tensor, "head query key"]]) -> None:
    """Keep lengths in half precision."""
    save_tensors({f"{hook}|{i}": lengths.half() for (hook, i), lengths in moved.items()}, folder / VALUES)


def write_rollouts(folder: Path, found: Mapping[tuple[str, str, str, int], Float[Tensor, "query key"]]) -> None:
    """Keep rollouts as one byte a weight."""
    tensors = {"|".join(map(str, at)): (r.clamp(0, 1) * 255).round().to(torch.uint8) for at, r in found.items()}
    save_tensors(tensors, folder / ROLLOUTS)


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
    values, rollouts = (_tensors(folder / name) if (folder / name).exists() else None for name in (VALUES, ROLLOUTS))
    return HeadSurvey(
        scores, tables[COPYING], tables[COMPOSITION], tables[IMPORTANCE], tables[WEIGHTED],
        tables[ALIGNMENTS], tables[ALIGNED], words, _by_sequence(_tensors(folder / PATTERNS)), axes,
        tables[PAIRS], tables[DIRECTIONS], tables[SINGULAR], tables[VIRTUAL], tables[SPECTRUM], tables[PROFILES],
        tables[ROTARY], tables[MOVED],
        None if values is None else _by_sequence(values),
        None if rollouts is None else {_rollout_name(name): value for name, value in rollouts.items()},
    )  # fmt: skip


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path} is missing or damaged: {str(error).splitlines()[0]}") from error


def _by_sequence(tensors: dict[str, Tensor]) -> dict[tuple[str, int], Tensor]:
    return {(name.rpartition("|")[0], int(name.rpartition("|")[2])): value for name, value in tensors.items()}


def _rollout_name(name: str) -> tuple[str, str, str, int]:
    axis, weights, variant, sequence = name.split("|")
    return axis, weights, variant, int(sequence)
