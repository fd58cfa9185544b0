"""What `workbench lens` leaves behind, and its reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from models.artifacts import ArtifactError, Manifest
from models.table_files import read_table
from workbench.interventions.lens_rows import LENS

VERB = "lens"
RESULT, TUNED_RESULT, SHUFFLED_RESULT = "result.parquet", "tuned.parquet", "shuffled.parquet"
TOKENS, ATTRIBUTION = "prompt_tokens.parquet", "prompt_attribution.parquet"
# Where the lens lies that was fitted to other positions' answers; the one that is meant lies in the artifact itself.
SHUFFLED_FOLDER = "shuffled"
SHUFFLED = "shuffled lens"
_OF_LENS = ("hook", "variant", "measure", "value", "low", "high")
_NEEDED = {
    RESULT: _OF_LENS,
    TUNED_RESULT: _OF_LENS,
    SHUFFLED_RESULT: _OF_LENS,
    TOKENS: ("hook", "position", "variant", "input_text", "place", "text", "probability", "entropy", "kl"),
    ATTRIBUTION: ("part", "value", "low", "high", "logit", "control_low", "control_high"),
}


@dataclass(frozen=True)
class PromptLens:
    """What a subject says of one text, layer by layer and part by part.

    Attributes:
        words: its tokens; BOS is the first.
        tokens: `lens_tokens` of it.
        answer: its likeliest next token.
        probability: the answer's.
        attribution: what each part adds to the answer's logit beside random answers; None where logits are no sums.
    """

    words: list[str]
    tokens: pd.DataFrame
    answer: str
    probability: float
    attribution: pd.DataFrame | None


@dataclass(frozen=True)
class LensReading:
    """What a subject's read-out says of its layers.

    Attributes:
        table: `logit_lens` on held-out sequences: `logit lens`; where one was fitted, `tuned lens` and `shuffled lens`,
            its control; then the other controls.
        tuned: the folder that `TunedLens.load` takes; None where none was fitted.
        prompt: the same of a text; None where none was given.
    """

    table: pd.DataFrame
    tuned: Path | None
    prompt: PromptLens | None


def read_lens(path: str | Path) -> LensReading:
    """What `workbench lens` left in a folder. Raises `ArtifactError` where nothing is, or it is damaged."""
    folder = Path(path)
    config: Mapping[str, Any] = Manifest.read(folder).config
    if config.get("verb") != VERB:
        raise ArtifactError(f"{folder} is no reading of layers: `workbench lens` makes one.")
    wanted = {RESULT} | ({TUNED_RESULT, SHUFFLED_RESULT} if config["tuned"] else set())
    wanted |= {TOKENS} if config["prompt"] is not None else set()
    tables = {name: read_table(folder / name, needed) for name, needed in _NEEDED.items()}
    if missing := sorted(name for name in wanted if tables[name] is None):
        raise ArtifactError(f"{folder} is damaged: it lacks {missing[0]}.")
    told = config["results"]
    prompt = None
    if (tokens := tables[TOKENS]) is not None:
        prompt = PromptLens(told["words"], tokens, told["answer"], told["probability"], tables[ATTRIBUTION])
    return LensReading(_joined(tables), folder if config["tuned"] else None, prompt)


def _joined(tables: Mapping[str, pd.DataFrame | None]) -> pd.DataFrame:
    """Fitted lenses after the plain one, and what all of them are held against after these."""
    plain = tables[RESULT]
    assert plain is not None
    own = plain["variant"] == LENS
    fitted = [table for name in (TUNED_RESULT, SHUFFLED_RESULT) if (table := tables[name]) is not None]
    return pd.concat([plain[own], *fitted, plain[~own]], ignore_index=True)
