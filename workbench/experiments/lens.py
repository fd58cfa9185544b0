"""All that `workbench lens` reads off a subject's layers, part by part: a killed one goes on from the next part."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from models.dataset import Dataset
from models.progress import as_one
from models.table_files import kept_table
from workbench.experiments.answer_parts import adds_up, answer_parts
from workbench.experiments.lens_results import (
    ATTRIBUTION,
    RESULT,
    SHUFFLED,
    SHUFFLED_FOLDER,
    SHUFFLED_RESULT,
    TOKENS,
    TUNED_RESULT,
)
from workbench.features.reading.text import TextReading, predicts_next_token, read_text
from workbench.interventions.lens_rows import TUNED
from workbench.interventions.lens_tokens import lens_tokens
from workbench.interventions.logit_lens import logit_lens
from workbench.interventions.reading_out import read_out_of, readable
from workbench.interventions.tuned_lens import CONFIG_FILE, TunedLens

# Of each place of the prompt so many of the likeliest tokens are kept.
LIKELIEST = 5


@dataclass(frozen=True)
class LensSettings:
    """How layers are read.

    Attributes:
        hooks: where; the whole stream, or what each recurrent layer hands up, where None.
        tuned: whether a lens is fitted too, and a control that is fitted to the answers of other positions.
        n_steps: of these fits.
        batch_size: sequences a pass.
        seed: of rotations, fits, random answers and intervals.
    """

    hooks: Sequence[str] | None = None
    tuned: bool = False
    n_steps: int = 250
    batch_size: int = 64
    seed: int = 0


@dataclass(frozen=True)
class ReadPrompt:
    """A typed text that can be read layer by layer.

    Attributes:
        reading: what the subject made of it.
        data: the same as a sequence.
    """

    reading: TextReading
    data: Dataset

    @classmethod
    def of(cls, model: Any, text: str) -> "ReadPrompt":
        """The text as the subject reads it.

        Raises:
            ValueError: the text is empty or too long, or the subject reads no text or does not predict what comes next.
        """
        reading, _ = read_text(model, text, n_predictions=1)
        if not predicts_next_token(model):
            raise ValueError("this model does not predict the next token: there is none to read off its layers.")
        return cls(reading, Dataset(torch.from_numpy(reading.token_ids)[None], tokenizer=model.tokenizer))


def check_layers(model: Any, data: Dataset, settings: LensSettings) -> None:
    """Before any long work: whether these hooks can be read out, and whether there is something to tune.

    Raises:
        ValueError: as `logit_lens`; or a lens is to be fitted at the last hook alone.
    """
    read_out = read_out_of(model)
    names = readable(model, read_out, data, settings.hooks)
    if settings.tuned and names == [read_out.last]:
        raise ValueError(f"there is nothing to tune: {read_out.last} is what the logits are read off.")


def read_layers(
    model: Any,
    untrained: Any,
    train: Dataset,
    held_out: Dataset,
    folder: Path,
    settings: LensSettings,
    prompt: ReadPrompt | None = None,
) -> dict[str, Any]:
    """Read a subject's layers on held-out sequences, and on a text; write it all down.

    The plain lens is kept before another is fitted, and a fitted one as soon as it is: what was made is not made again.

    Args:
        model: the subject.
        untrained: the same before training, a control; None where that was not kept.
        train: what lenses are fitted on, and unigrams and bigrams counted in.
        held_out: what all of them are measured on.
        folder: where; parts that lie there are not made again.
        settings: how.
        prompt: a text; None for none.

    Returns:
        `sequences` that were read; and of a prompt its `words`, its likeliest next token (`answer`) and that one's
        `probability`.

    Raises:
        ValueError: as the functions that it calls.
    """
    how: dict[str, Any] = {"hooks": settings.hooks, "batch_size": settings.batch_size, "seed": settings.seed}
    counted = train if _can_be_counted(held_out) and len(train) else None
    kept_table(folder / RESULT, lambda: logit_lens(model, held_out, untrained=untrained, train=counted, **how))
    lens = None
    if settings.tuned:
        fits = sum(not (where / CONFIG_FILE).exists() for where in (folder, folder / SHUFFLED_FOLDER))
        with as_one(desc="tuned lens", total=fits * settings.n_steps, unit="step"):
            lens = _fitted(model, train, folder, settings, shuffled=False)
            shuffled = _fitted(model, train, folder / SHUFFLED_FOLDER, settings, shuffled=True)
        for name, given, variant in ((TUNED_RESULT, lens, TUNED), (SHUFFLED_RESULT, shuffled, SHUFFLED)):
            kept_table(folder / name, partial(_through, model, held_out, given, variant, how))
    told: dict[str, Any] = {"sequences": len(held_out)}
    return told if prompt is None else told | _read_prompt(model, untrained, lens, prompt, folder, how)


def _can_be_counted(data: Dataset) -> bool:
    """Whether the next token is asked, which counting predicts too."""
    return data.targets is None and not data.tokens.is_floating_point()


def _fitted(model: Any, train: Dataset, folder: Path, settings: LensSettings, *, shuffled: bool) -> TunedLens:
    """The lens in a folder, fitted now unless it is there: its config is what is written last."""
    if not (folder / CONFIG_FILE).exists():
        of_fit: dict[str, Any] = {"hooks": settings.hooks, "n_steps": settings.n_steps, "seed": settings.seed}
        TunedLens.fit(model, train, shuffled=shuffled, **of_fit).save(folder)
    return TunedLens.load(folder)


def _through(model: Any, data: Dataset, lens: TunedLens, variant: str, how: dict[str, Any]) -> pd.DataFrame:
    """The lines of a fitted lens alone, under its name."""
    found = logit_lens(model, data, lens=lens, n_controls=0, **how)
    return found[found["variant"] == TUNED].assign(variant=variant).reset_index(drop=True)


def _read_prompt(
    model: Any, untrained: Any, lens: TunedLens | None, prompt: ReadPrompt, folder: Path, how: dict[str, Any]
) -> dict[str, Any]:
    words = {"lens": lens, "untrained": untrained, "k": min(LIKELIEST, read_out_of(model).d_out)} | how
    kept_table(folder / TOKENS, lambda: lens_tokens(model, prompt.data, **words))
    with torch.inference_mode():
        likeliest = int(model(prompt.data.tokens)[0, -1].argmax())
    if adds_up(model, read_out_of(model)):
        answer = torch.tensor([likeliest])
        kept_table(folder / ATTRIBUTION, lambda: answer_parts(model, prompt.data, answer, seed=how["seed"]))
    said, probability = prompt.reading.predictions[-1][0]
    return {"words": prompt.reading.tokens, "answer": said, "probability": probability}
