"""Dictionaries as artifacts of a run: which are wanted, those that are there, and the others trained and measured."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.cli.reading import Reading
from workbench.cli.standing import standing
from workbench.runs import Artifact

if TYPE_CHECKING:
    from workbench.sae import SAE, SAEConfig, SAETrainConfig
    from workbench.sae.training import LogCallback

# Held-out tokens through the subject, for each dictionary and four times besides.
N_LOSS_TOKENS = 30_000
N_REHEARSED = 1000
# What is made where nobody says otherwise: docs/sae.md shows it beside the others.
ARCHITECTURE = "batchtopk"
MOST_LATENTS, MOST_ACTIVE, BATCH_ROWS = 2048, 12, 2048
TRAINED = "trained"


@dataclass(frozen=True)
class Wanted:
    """One dictionary: its name, what it reads, what it is and how it is trained."""

    name: str
    reading: Reading
    cfg: "SAEConfig"
    train_cfg: "SAETrainConfig"

    @property
    def config(self) -> dict[str, Any]:
        """What its manifest keeps."""
        return {"sae": self.cfg.to_dict(), "training": asdict(self.train_cfg)}


OpenLog = Callable[[Wanted], "AbstractContextManager[LogCallback]"]


def usual_width(d_in: int) -> int:
    """Latents of a dictionary where nobody says how many."""
    return min(4 * d_in, MOST_LATENTS)


def usual_k(d_in: int) -> int:
    """Latents active at once where nobody says how many."""
    return max(1, min(d_in // 8, MOST_ACTIVE))


def fixes_k(architecture: str) -> bool:
    """Whether an architecture has a k; those that have none have a sparsity coefficient."""
    from workbench.sae.registry import architecture_class

    return architecture_class(architecture).sparsity is None


def wanted(
    reading: Reading,
    *,
    name: str | None = None,
    family: str = "",
    architecture: str = ARCHITECTURE,
    d_sae: int | None = None,
    k: float | None = None,
    sparsity: float | None = None,
    seed: int = 0,
    training: Mapping[str, Any] | None = None,
) -> Wanted:
    """One dictionary of one shape, of which all that is not given has its usual value.

    Args:
        reading: what it reads: one hook, or several through one code.
        name: its name; from hook, architecture, width and k where None.
        family: what such a name begins with, so that those of one sweep have names of their own.
        family: what such a name begins with, so that those of one sweep have names of their own.
        architecture: by its name.
        d_sae: latents.
        k: latents active at once. Where the architecture has no k, it is the L0 that its coefficient is steered to.
        sparsity: that coefficient, fixed.
        seed: of the first weights.
        training: further fields of `SAETrainConfig`.

    Raises `ValueError` where these do not fit together, or to what is read.
    """
    from workbench.sae import SAEConfig, SAETrainConfig

    shape = reading.shape()
    d_sae = d_sae if d_sae is not None else usual_width(shape["d_in"])
    k = k if k is not None else usual_k(shape["d_in"])
    sparse: dict[str, Any] = {}
    how: dict[str, Any] = {"batch_size": min(BATCH_ROWS, reading.n_rows["train"])} | dict(training or {})
    if fixes_k(architecture):
        if sparsity is not None:
            raise ValueError(f"a {architecture} SAE has no sparsity coefficient: k says how many latents are active.")
        sparse["k"], last = _whole(k), f"k{k:g}"
    elif sparsity is not None:
        last, how["sparsity"] = f"sparsity{sparsity:g}", sparsity
    else:
        last, how["target_l0"] = f"l0-{k:g}", float(k)
    cfg = SAEConfig(architecture=architecture, d_sae=d_sae, seed=seed, **shape, **sparse)
    train_cfg = SAETrainConfig(**how)
    _refuse_unfit(reading, cfg, train_cfg)
    parts = [
        *([family] if family else []),
        reading.stem,
        architecture,
        str(d_sae),
        last,
        *([f"seed{seed}"] if seed else []),
    ]
    return Wanted(name or "-".join(parts), reading, cfg, train_cfg)


def make(
    wanted: Sequence[Wanted], *, device: str = "auto", logs: Sequence[OpenLog] = (), replace: bool = False
) -> list[Artifact]:
    """Dictionaries of one reading of a recording: those that are there, and the others trained and measured now.

    Each is published by itself as soon as it is measured. A killed call goes on where it was: what is published stays,
    and the others have their checkpoints.

    Args:
        wanted: of one run and one recording, with equal `n_tokens` and `batch_size`.
        device: where to train.
        logs: what opens a further log for each that is trained.
        replace: make anew what was made with other settings.
    """
    from models import ranks

    run = wanted[0].reading.run
    missing = [w for w in wanted if standing(run, "sae", w.name, w.reading.inputs, w.config, replace=replace) is None]
    if missing:
        with ExitStack() as everything:
            ranks.join()
            on_log = _opened(missing, logs, everything) if ranks.is_first() else None
            _train(missing, device, on_log, everything)
        run = run.refresh()
    return [run.find("sae", w.name) for w in wanted]


def read_metrics(dictionary: Artifact) -> list[dict[str, Any]]:
    """A dictionary's numbers and its controls', one row each."""
    return json.loads((dictionary.path / "metrics.json").read_text("utf8"))


def _train(missing: Sequence[Wanted], device: str, on_log: Any, everything: ExitStack) -> None:
    """Train them on one reading of the rows, and measure and publish one after the other."""
    from models import ranks
    from models.artifacts import write_json
    from workbench.sae import train_saes

    run, batches, measurer = missing[0].reading.run, _shared_batches(missing), Measurer()
    place = ranks.device(device)
    for w in {w.reading.hooks: w for w in missing}.values():
        measurer.rehearse(w)
    drafts = []
    for w in missing:
        own = everything.enter_context(ExitStack())
        path, inputs = run.path_of("sae", w.name), w.reading.inputs
        draft = ranks.publishing_together(path, "sae", inputs=inputs, config=w.config, seed=w.cfg.seed)
        drafts.append((own.enter_context(draft).path, own))
    cfgs, hows = [w.cfg for w in missing], [w.train_cfg for w in missing]
    folders = [folder for folder, _ in drafts]
    saes = train_saes(cfgs, batches, hows, outs=folders, device=place, on_log=on_log)
    for w, sae, (folder, own) in zip(missing, saes, drafts, strict=True):
        if ranks.is_first():
            write_json(folder / "metrics.json", measurer.measure(w.reading, sae.cpu()))
        own.close()  # which publishes it


def _shared_batches(missing: Sequence[Wanted]) -> Any:
    """One reading of all the hooks that any of them reads."""
    first = missing[0]
    hooks = tuple(dict.fromkeys(hook for w in missing for hook in w.reading.hooks))
    return replace(first.reading, hooks=hooks).batches(first.train_cfg.batch_size, "train")


def _opened(missing: Sequence[Wanted], logs: Sequence[OpenLog], everything: ExitStack) -> Any:
    opened = [[everything.enter_context(open_log(w)) for open_log in logs] for w in missing]

    def on_log(number: int, record: dict[str, float]) -> None:
        for log in opened[number]:
            log(record)

    return on_log


class Measurer:
    """Held-out documents through dictionaries and their controls; a control of several is measured once."""

    def __init__(self) -> None:
        self._known: dict[Any, dict[str, Any]] = {}

    def rehearse(self, wanted: Wanted) -> None:
        """Raise `ValueError` now for what could not be measured when it is trained: hooks in the wrong order, say."""
        from workbench.sae import build_sae, loss_recovered

        if subject := self._subject(wanted.reading, N_REHEARSED):
            loss_recovered(subject[0], build_sae(wanted.cfg), subject[1])

    def _subject(self, reading: Reading, n_tokens: int) -> tuple[Any, Any] | None:
        """The subject and held-out documents; None for two subjects, which have no loss in common."""
        if len(reading.recordings) > 1:
            return None
        documents = reading.run.dataset(with_labels=False).sample(n_tokens, test_share=1.0).split("test")
        return reading.run.model(), documents

    def measure(self, reading: Reading, sae: "SAE") -> list[dict[str, Any]]:
        """The rows of `metrics.json`."""
        from workbench.sae import compare_dictionaries, control_dictionaries

        def rows(split: str) -> Any:
            return reading.batches(min(4096, reading.n_rows[split]), split, epochs=1)

        controls = control_dictionaries(sae, lambda: rows("train"))
        keys = {name: _key(reading, name, control) for name, control in controls.items()}
        new = {name: control for name, control in controls.items() if keys[name] not in self._known}
        subject = self._subject(reading, N_LOSS_TOKENS) or ()
        found = compare_dictionaries({TRAINED: sae, **new}, lambda: rows("test"), *subject)
        measured = {row["dictionary"]: {k: _finite(v) for k, v in row.items()} for row in found.to_dict("records")}
        self._known |= {keys[name]: measured[name] for name in new}
        return [measured[TRAINED], *(self._known[keys[name]] for name in controls)]


def _key(reading: Reading, name: str, control: "SAE") -> Any:
    """What a control's numbers depend on: only the random one on width and seed of what it stands beside."""
    cfg = control.cfg if name == "random" else replace(control.cfg, seed=0)
    return name, reading.hooks, cfg


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _whole(k: float) -> int:
    if k != int(k):
        raise ValueError(f"k is {k}: a number of latents is whole.")
    return int(k)


def _refuse_unfit(reading: Reading, cfg: "SAEConfig", train_cfg: "SAETrainConfig") -> None:
    """Raise `ValueError` for what would be found out only when training has begun, or ended."""
    if train_cfg.batch_size > reading.n_rows["train"]:
        raise ValueError(
            f"a batch of {train_cfg.batch_size:,} rows cannot be filled: {reading.recordings[0].path} has "
            f"{reading.n_rows['train']:,} rows of train documents."
        )
    if train_cfg.target_l0 is not None and train_cfg.target_l0 > cfg.d_sae:
        raise ValueError(f"{train_cfg.target_l0:g} latents cannot be active in an SAE that has {cfg.d_sae}.")
    active = cfg.k if cfg.k is not None else train_cfg.target_l0
    if active is not None and active > 2 * cfg.width_in:
        raise ValueError(
            f"k is {active:g}, but {reading.stem} has {cfg.width_in} dimensions: the controls, each dimension and its "
            f"negative, have {2 * cfg.width_in} latents, so k can be at most that."
        )
