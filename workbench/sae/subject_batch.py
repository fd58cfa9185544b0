"""Some sequences as a subject reads them while a dictionary stands in it: what is replaced there, and what counts."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from models.dataset import Dataset
from models.evaluation import accepted, asked_positions
from workbench.activations.recorder import axis_of
from workbench.sae.config import SAEConfig


def hooks_of(cfg: SAEConfig, model: Any, hook_name: str | None = None) -> tuple[list[str], list[str]]:
    """The hooks that a dictionary reads, and those that it writes: one and the same but for a transcoder.

    Args:
        cfg: the dictionary's.
        model: the subject.
        hook_name: takes the place of an SAE's own hook.

    Raises:
        ValueError: no hook is named, the model has none of that name, or their positions are not the same ones.
    """
    if hook_name is not None and cfg.kind != "sae":
        raise ValueError(f"hook_name is for an SAE's one hook: a {cfg.kind} names its hooks itself.")
    if cfg.kind == "crosscoder":
        read = written = list(cfg.hook_names)
        if not read:
            raise ValueError("this crosscoder names no hooks: its config's hook_names must say which it reads.")
        if len(set(read)) < len(read):
            raise ValueError(
                f"this crosscoder reads {read[0]} of {len(read)} subjects: it cannot stand in the place of one's."
            )
    else:
        read = written = [hook_name or cfg.hook_name]
        if cfg.kind == "transcoder":
            written = [cfg.hook_name_out]
        if not read[0] or not written[0]:
            raise ValueError(
                "this SAE names no hook: say which one it reads with hook_name."
                if cfg.kind == "sae"
                else "this transcoder names no hook: its config's hook_name and hook_name_out must say both."
            )
    for hook in (*read, *written):
        if hook not in model.hook_dict:
            raise ValueError(f"the model has no hook called {hook!r}.")
    if len(axes := {axis_of(model, hook) for hook in (*read, *written)}) > 1:
        raise ValueError(f"the hooks have rows of the {' and the '.join(sorted(axes))}: they must be the same ones.")
    return read, written


@dataclass(frozen=True)
class SubjectBatch:
    """Some sequences.

    Attributes:
        given: what the model is called with.
        targets: the same for a loss, where the next token is not what is asked.
        replaced: the positions of the hooks at which a dictionary may stand: BOS and padding are not among them.
        counted: where the output counts: made from a real position after BOS and compared with something real.
    """

    given: dict[str, Tensor]
    targets: dict[str, Tensor]
    replaced: Bool[Tensor, "seq hook_pos"]
    counted: Bool[Tensor, "seq pos"]

    @classmethod
    def of(cls, dataset: Dataset, rows: Tensor | slice, model: Any, hook: str) -> "SubjectBatch":
        """The dataset's sequences `rows`."""
        batch = dataset.batch(rows)
        axis = axis_of(model, hook)
        counted = asked_positions(batch)
        return cls(
            given=accepted(model, batch),
            targets={name: batch[name] for name in ("targets",) if name in batch},
            replaced=dataset.on_axis(axis).counted[rows],
            counted=counted & dataset.counted[rows] if axis == "target" else counted,
        )

    @property
    def predicts_tokens(self) -> bool:
        """Whether the output is a distribution over tokens, or classes, and not a vector."""
        return not any(targets.is_floating_point() for targets in self.targets.values())

    def counted_among(self, output: Float[Tensor, "seq asked *rest"]) -> Bool[Tensor, "seq asked"]:
        """Where an output, or a loss, counts.

        Of a subject that answers once, that is the last position; next tokens leave out the last one.
        """
        return self.counted[:, -1:] if output.shape[1] == 1 else self.counted[:, : output.shape[1]]
