"""What dictionaries read: hooks of a recording, one by one or through one code, or one hook of two runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.console import run_path
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    from workbench.activations import ActivationStore


@dataclass(frozen=True)
class Reading:
    """Whose rows are read, and what is to be made of them.

    Attributes:
        run: where the dictionaries will stand.
        recordings: one; or two of the same rows, for one code of both.
        kind: `sae`, of each hook by itself; `transcoder`, from the first hook to the second; `crosscoder`, of all the
            hooks, or all the recordings, through one code.
        hooks: what is read of them.
        skip: whether a transcoder has a linear map too.
    """

    run: Run
    recordings: tuple[Artifact, ...]
    kind: str
    hooks: tuple[str, ...]
    skip: bool = False

    @cached_property
    def stores(self) -> "list[ActivationStore]":
        """The recordings, opened."""
        from workbench.activations import ActivationStore

        return [ActivationStore.open(recording.path) for recording in self.recordings]

    @cached_property
    def n_rows(self) -> dict[str, int]:
        """How many rows there are of each split. Raises `ValueError` where one has none."""
        from workbench.activations.query import chosen_rows

        rows = self.stores[0].on(self.stores[0].axis_of(self.hooks[0]))
        return {split: len(chosen_rows(rows, split)) for split in ("train", "test")}

    def check(self) -> None:
        """Raise `ValueError` where a hook was not recorded, rows do not fit to each other, or a split has none."""
        for split in self.n_rows:
            self.batches(1, split)

    @property
    def inputs(self) -> dict[str, str]:
        """The `inputs` of what is made of them."""
        first, *others = self.recordings
        return self.run.inputs(first, *others, self.run.current("model"))

    @property
    def stem(self) -> str:
        """How what is made of them is named first of all."""
        names = [hook.replace("hook_", "") for hook in self.hooks]
        if self.kind == "transcoder":
            return "-to-".join(names) + ("-skip" if self.skip else "")
        if len(self.recordings) == 1:
            return "+".join(names)
        other = self.recordings[1]
        home = Run(other.path.parents[1]).name
        return f"{names[0]}-with-{other.name if home == self.run.name else home}"

    def each(self) -> "list[Reading]":
        """A reading for each shape of dictionary: of each hook by itself, or of all of them."""
        return [replace(self, hooks=(hook,)) for hook in self.hooks] if self.kind == "sae" else [self]

    def shape(self) -> dict[str, Any]:
        """The fields of `SAEConfig` that follow from what is read; of one shape."""
        store = self.stores[0]
        found: dict[str, Any] = {"d_in": store.width(self.hooks[0]), "model_name": self.run.name}
        if self.kind == "crosscoder":
            hooks = self.hooks * len(self.recordings)
            return found | {"n_layers": len(hooks), "hook_names": hooks}
        found["hook_name"] = self.hooks[0]
        if self.kind == "transcoder":
            found |= {"d_out": store.width(self.hooks[1]), "hook_name_out": self.hooks[1], "skip": self.skip}
        return found

    def batches(self, batch_size: int, split: str, *, epochs: int | None = None) -> Any:
        """Batches of these rows, in an order that is the same for whatever is trained on them."""
        hooks: Any = self.hooks if len(self.hooks) > 1 else self.hooks[0]
        if len(self.stores) == 1:
            stack = self.kind == "crosscoder"
            return self.stores[0].batches(hooks, batch_size, split=split, epochs=epochs, stack=stack)
        from workbench.activations.joined import JoinedBatches

        return JoinedBatches(
            tuple(store.batches(hooks, batch_size, split=split, epochs=epochs) for store in self.stores)
        )


def read(
    run: Run,
    activations: str | None = None,
    *,
    hooks: Sequence[str] = (),
    out_hook: str | None = None,
    skip: bool = False,
    together: bool = False,
    other: str | None = None,
) -> Reading:
    """What a dictionary, or several, will read.

    Args:
        run: whose recording.
        activations: its name; the newest where None.
        hooks: which hooks; the recording's first where there are none.
        out_hook: the hook that a transcoder writes.
        skip: give the transcoder a linear map.
        together: read all the hooks through one code.
        other: a second recording of the same rows, `RUN` or `RUN/activations/NAME`, read through one code with the
            first.

    Raises:
        ValueError: these do not go together, a hook was not recorded, or the rows do not fit to each other.
        ArtifactError: there is no such recording, or it is stale.
    """
    recordings = [run.current("activations", activations)]
    if other is not None:
        recordings.append(_recording_of(other))
        if recordings[1].id == recordings[0].id:
            raise ValueError(f"--with names {recordings[0].path} itself: name the recording of another subject.")
    if out_hook is None and skip:
        raise ValueError("--skip is a transcoder's linear map: say with --out-hook what it writes.")
    if sum((out_hook is not None, together, other is not None)) > 1:
        raise ValueError("--out-hook makes a transcoder, --hooks and --with make crosscoders: give one of them.")
    kind = "transcoder" if out_hook is not None else "crosscoder" if together or other is not None else "sae"
    found = Reading(run, tuple(recordings), kind, tuple(dict.fromkeys(hooks)), skip)
    if not found.hooks:
        found = replace(found, hooks=(found.stores[0].hooks[0],))
    if out_hook is not None:
        if found.hooks == (out_hook,):
            raise ValueError(f"a transcoder writes another hook than it reads, but both are {out_hook}.")
        found = replace(found, hooks=(*found.hooks, out_hook))
    wanted = {"transcoder": 2, "crosscoder": len(found.hooks) if together else 1}.get(kind, len(found.hooks))
    if len(found.hooks) != wanted:
        raise ValueError(f"a {kind} of {' or '.join(hooks)}: name one --hook.")
    if together and len(found.hooks) < 2:
        raise ValueError("a crosscoder reads several hooks through one code: name at least two after --hooks.")
    found.check()
    return found


def _recording_of(name: str) -> Artifact:
    """The recording called `RUN` or `RUN/activations/NAME`."""
    path = Path(name)
    if path.parent.name == "activations":
        return Run.open(run_path(str(path.parent.parent))).current("activations", path.name)
    return Run.open(run_path(name)).current("activations")
