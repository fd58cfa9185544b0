"""What `workbench patch` leaves behind, and its reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from models.artifacts import ArtifactError, Manifest
from models.table_files import read_table

VERB = "patch"
RESULT, PROFILE, PROMPTS, PAIRS = "result.parquet", "profile.parquet", "prompts.parquet", "pairs.parquet"
LENS, LENS_TOKENS, LOGIT_ATTRIBUTION = "lens.parquet", "lens_tokens.parquet", "logit_attribution.parquet"
BEFORE = "before"
PLACES = DIFFER, BETWEEN, LAST = "where the prompts differ", "in between", "last token"
# A place holds an effect from this share on; all of it, within rounding.
MOST, ALL_BUT = 0.5, 0.01
# Against which what parts add to an answer is held.
RANDOM_ANSWERS = 40
_NEEDED = {
    RESULT: ("hook", "layer", "head", "position", "unit", "variant", "seed", "value", "effect"),
    PROFILE: ("hook", "place", "variant", "seed", "effect", "sequences"),
    PROMPTS: ("pair", "axis", "position", "clean", "corrupt", "differs", "mapped"),
    PAIRS: ("pair", "clean_text", "corrupt_text", "answer", "wrong", "clean", "corrupt"),
    LENS: ("hook", "variant", "measure", "value", "low", "high"),
    LENS_TOKENS: ("hook", "sequence", "position", "variant", "place", "text", "probability"),
    LOGIT_ATTRIBUTION: ("part", "value", "low", "high", "logit", "control_low", "control_high"),
}


@dataclass(frozen=True)
class Patching:
    """An intervention on pairs of prompts, with what else was read of the same prompts.

    Attributes:
        method: `patching`, `attribution` or `ablation`.
        table: `activation_patching`, `attribution_patching` or `ablate` of the pairs that are `mapped`.
        profile: by hook the effect of patching at once every position of a place (`where the prompts differ`, `in
            between`, `last token`), of all pairs; None where nothing was patched by position.
        prompts: the prompts in words; `mapped` are those whose words stand where the first one's do.
        pairs: each pair's texts, answers, and metric of both runs.
        lens: `logit_lens` on the answers; None where the subject's answers are no tokens.
        lens_tokens: the likeliest tokens of the first mapped clean prompt; None likewise.
        logit_attribution: what each part adds to the logit difference, random answers beside it; None likewise.
        axes: by hook whose positions it has rows for, `target` or `source`.
    """

    method: str
    table: pd.DataFrame
    profile: pd.DataFrame | None
    prompts: pd.DataFrame
    pairs: pd.DataFrame
    lens: pd.DataFrame | None
    lens_tokens: pd.DataFrame | None
    logit_attribution: pd.DataFrame | None
    axes: Mapping[str, str]

    @property
    def crossing(self) -> str | None:
        """The first hook at which it is the last token that restores most of the effect, and no longer the difference.

        None where no hook before it held most where the prompts differ: what heads write is no stream that holds
        anything, and of a single recurrence every place restores all.
        """
        if self.profile is None:
            return None
        own = self.profile[self.profile["variant"] == "patch"].pivot_table("effect", "hook", "place", sort=False)
        if DIFFER not in own or LAST not in own:
            return None
        before, after = own[DIFFER] > MOST, (own[LAST] > MOST) & (own[DIFFER] <= MOST)
        past = own.index[after & before.cummax()]
        return str(past[0]) if len(past) else None

    @property
    def is_everywhere(self) -> bool:
        """Whether every place of every hook restores all: a state that is all that is kept, which is no finding."""
        if self.profile is None:
            return False
        own = self.profile[(self.profile["variant"] == "patch") & (self.profile["place"] != BEFORE)]
        return own["hook"].nunique() < len(own) and bool(own["effect"].sub(1).abs().max() < ALL_BUT)

    @property
    def first(self) -> int:
        """The first pair of the map, whose words label it."""
        return int(self.prompts.loc[self.prompts["mapped"], "pair"].min())

    def words(self, axis: str = "target", which: str = "clean") -> list[str]:
        """The words of the map's first pair."""
        own = self.prompts[(self.prompts["pair"] == self.first) & (self.prompts["axis"] == axis)]
        return own.sort_values("position")[which].tolist()

    def changed(self, axis: str = "target") -> dict[int, str]:
        """Where the first pair's corrupt prompt has another word, and which."""
        own = self.prompts[(self.prompts["pair"] == self.first) & (self.prompts["axis"] == axis)]
        own = own[own["differs"]]
        return dict(zip(own["position"].astype(int).tolist(), own["corrupt"].tolist(), strict=True))


def read_patching(path: str | Path) -> Patching:
    """What `workbench patch` left in a folder. Raises `ArtifactError` where nothing is, or it is damaged."""
    folder = Path(path)
    config: Mapping[str, Any] = Manifest.read(folder).config
    if config.get("verb") != VERB:
        raise ArtifactError(f"{folder} is no intervention: `workbench patch` makes one.")
    tables = {name: read_table(folder / name, needed) for name, needed in _NEEDED.items()}
    table, prompts, pairs = tables[RESULT], tables[PROMPTS], tables[PAIRS]
    if table is None or prompts is None or pairs is None:
        missing = next(name for name in (RESULT, PROMPTS, PAIRS) if tables[name] is None)
        raise ArtifactError(f"{folder} is damaged: it lacks {missing}.")
    lens, lens_tokens, logit_attribution = (tables[name] for name in (LENS, LENS_TOKENS, LOGIT_ATTRIBUTION))
    return Patching(
        config["method"], table, tables[PROFILE], prompts, pairs, lens, lens_tokens, logit_attribution,
        config["results"]["axes"],
    )  # fmt: skip
