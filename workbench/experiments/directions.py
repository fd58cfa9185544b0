"""Where a subject is pushed: from some texts to others, along a dictionary's latent, or along a probe of a table."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from workbench.activations import ActivationStore
from workbench.features.columns import Dictionary
from workbench.interventions.edits import Edit, add
from workbench.interventions.steering import steering_direction
from workbench.interventions.subspace import Subspace
from workbench.probing.table_probes import hook_of, linear_lines, refit
from workbench.sae import SAE

# Characters of a text that a direction is named by.
_TOLD = 40


@dataclass(frozen=True)
class Direction:
    """Where a subject is pushed.

    Attributes:
        hook: where.
        subspace: along what.
        name: which it is.
        unit: of the strength, in words: those of the subspace.
        whole: how far a whole push goes, in these units: a share of a push is a share of this.
    """

    hook: str
    subspace: Subspace
    name: str
    unit: str
    whole: float

    def edits(self, shares: Sequence[float]) -> dict[str, Edit]:
        """A push by each share of the whole, by its name."""
        return {f"{share:+g}": add(self.subspace, share * self.whole) for share in shares}


def pushes(subspace: Subspace, strengths: Sequence[float]) -> dict[str, Edit]:
    """A push of each strength along a subspace, in its own units, by its name."""
    return {f"{strength:+g}": add(subspace, strength) for strength in strengths}


def unit_direction(hook: str, unit: int, width: int, whole: float) -> Direction:
    """One unit of a hook so wide, in its own units."""
    vector = torch.zeros(width)
    vector[unit] = 1.0
    return Direction(hook, Subspace.along(vector), f"{hook} {unit}", "of its value", whole)


def usual_hook(hooks: Iterable[str]) -> str:
    """Of those that can be steered the stream after the first layer, or the first state; else the first of all."""
    names = list(hooks)
    if not names:
        raise ValueError("no hook of this model has one row a token: it cannot be steered.")
    return next((name for name in names if name.endswith(("hook_resid_post", "hook_h"))), names[0])


def text_direction(model: Any, towards: Sequence[str], away: Sequence[str], hook: str) -> Direction:
    """From the mean over some texts' tokens to the mean over others': a whole push goes all the way.

    Raises:
        ValueError: there is no such hook, a text has no tokens, or the means are not apart.
    """
    (name,) = model.match_hooks(hook)
    subspace = steering_direction(model, list(towards), list(away), name)
    named = f"from {_first(away)} to {_first(towards)}"
    return Direction(name, subspace, named, "of the way from one mean to the other", 1.0)


def _first(texts: Sequence[str]) -> str:
    """The first of some texts, as it is told of, and how many more there are."""
    return repr(texts[0][:_TOLD]) + (f" and {len(texts) - 1} more" if len(texts) > 1 else "")


def feature_direction(sae: Dictionary, feature: int, largest: float, hooks: Collection[str]) -> Direction:
    """What a latent, unit or probe adds to the hook that its dictionary rebuilds, in the units of its activation.

    Args:
        sae: the dictionary.
        feature: which of its latents.
        largest: its largest activation in the recording: a whole push.
        hooks: the subject's.

    Raises:
        ValueError: the dictionary writes to another hook than it reads, or the latent is not there or never fires; or
            how much heads write is meant, which has no direction.
    """
    if not isinstance(sae, SAE):
        raise ValueError("how much a head writes is a length, and no direction to push along: choose another index.")
    if sae.cfg.kind != "sae" or sae.cfg.hook_name not in hooks:
        raise ValueError("this dictionary writes to another hook than it reads: choose one of a single hook.")
    if not 0 <= feature < sae.cfg.d_sae:
        raise ValueError(
            f"there is no feature {feature} in this dictionary: they are numbered 0 to {sae.cfg.d_sae - 1}."
        )
    if not largest > 0:
        raise ValueError(f"feature {feature} never fires in the recording: no strength is its own. Choose another.")
    subspace = Subspace.along(sae.W_dec[feature].detach())
    return Direction(sae.cfg.hook_name, subspace, f"feature {feature}", "of its activation", largest)


@dataclass(frozen=True)
class ProbeTable:
    """A table of probes with what it was made of, from which one of its probes is fitted again.

    Attributes:
        table: as `read_results` gives it.
        config: of its manifest.
        store: the recording that it was made from.
    """

    table: Any
    config: Mapping[str, Any]
    store: ActivationStore

    def direction(self, label: str, hook: str | None = None) -> Direction:
        """The direction of a label's probe: a whole push goes from the mean read-out of one class to the other's.

        Tables keep scores and no weights. The probe is fitted again, as `workbench probe` does it: on the same rows,
        by the table's first estimator that reads rows linearly. Rows are moved along its pattern (`along_pattern`), as
        they differ where the read-out does.

        Args:
            label: that was probed; of more than two classes `LABEL=CLASS`, from all others to this one.
            hook: where; the one at which the label is read best beyond the word where None.

        Raises:
            ValueError: no such label or hook was probed, no probe is linear, positions were probed apart, or it is not
                said which class is meant.
        """
        name, _, wanted = label.partition("=")
        by = linear_lines(self.table, self.config, name)
        hook = hook_of(by[by["label"] == name], hook)
        fitted = refit(self.store, self.config, str(by["probe"].iloc[0]), hook, [name])
        classes = fitted.classes(name)
        if (len(classes) > 2) != bool(wanted) or (wanted and wanted not in classes):
            raise ValueError(_which_class(name, classes))
        target = classes.index(wanted) if wanted else None
        subspace = fitted.subspace(name, target)
        own = torch.from_numpy(fitted.y[name] == (wanted if wanted else classes[1]))
        read = subspace.coordinates(fitted.rows.double())[:, 0]
        whole = float(read[own].mean() - read[~own].mean())
        return Direction(hook, subspace, f"probe of {label}", "of the probe's read-out", whole)


def _which_class(label: str, classes: list[Any]) -> str:
    words = [str(name) for name in classes]
    if len(words) > 2:
        return f"{label} has the classes {', '.join(words)}: say which is meant, {label}={words[0]} for one."
    return (
        f"{label} has two classes, {words[0]} and {words[1]}: name no class, and go to the first by a strength below 0."
    )
