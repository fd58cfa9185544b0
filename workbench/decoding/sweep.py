"""`decode_sweep`: hooks × variables × decoders over a recording, each score beside its controls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from models.checked_input import whole_number
from models.progress import progress
from probes.population.report import DECODER, decoding_report
from probes.report import Split
from workbench.activations import ActivationStore
from workbench.decoding.binning import Bins
from workbench.decoding.decoders import (
    DECODERS,
    OF_ACTIVATIONS,
    OF_COUNTS,
    check_decoders,
    estimates_of,
    fitting,
    settings_of,
)
from workbench.decoding.information import KnownInformation
from workbench.decoding.results import Decoding, read_part, write_part
from workbench.decoding.tuning import N_BINS, unit_tuning
from workbench.decoding.variables import Variables, stretches_of
from workbench.probing.sweep import choose_rows, refuse_other_rows

MAX_ROWS = 100_000
RANDOM_SUBJECT = "random subject"
# Held-out bins whose estimates are kept, so that a page can show them.
N_KEPT = 2_000
# Parts of the held-out rows.
N_BLOCKS = 10


def decode_sweep(
    store: ActivationStore,
    variables: Sequence[Variables],
    hooks: Sequence[str] | None = None,
    decoders: Sequence[str] | Mapping[str, Any] | None = None,
    *,
    untrained: ActivationStore | None = None,
    information: KnownInformation | None = None,
    dt: float = 1.0,
    bin_steps: int = 1,
    where: str | None = None,
    max_rows: int = MAX_ROWS,
    n_shuffles: int = 20,
    tuning: bool = True,
    seed: int = 0,
    parts: str | Path | None = None,
) -> Decoding:
    """Decode variables from every hook of a recording.

    Documents of the split `train` are fitted on and those of `test` judged by, or, where a recording has no two splits,
    a quarter of its documents. Nothing that looks back in time looks into another sequence.

    Args:
        store: a recording with labels.
        variables: what is decoded, as `read_variables` gives it.
        hooks: which; all where None.
        decoders: names of `DECODERS`; or decoders of `probes.population`, or regressors of scikit-learn, by name.
            Where None, a linear one, a Wiener and a Kalman filter, and a Bayesian one of counts or of activations.
            Those that have a `period` get that of what they decode.
        untrained: the same rows of the same hooks of the randomly initialised subject.
        information: what is known of it of the counts, for the Cramér–Rao bound.
        dt: seconds a step, where spikes are counted; maps of activations are means, whatever it is.
        bin_steps: steps that are joined into one bin, in which counts are summed and activations averaged.
        where: only rows for which this query to the labels is true.
        max_rows: of more, documents are drawn until they hold as many, a quarter of them to judge by.
        n_shuffles: fits to variables that were shifted in time.
        tuning: whether to make every unit's map.
        seed: of the drawn documents, and of shuffles.
        parts: a folder for what is ready, hook by hook: a killed sweep of the same settings goes on from there.

    Raises:
        ValueError: hooks or decoders that are not there, hooks of several axes, too few documents, variables that are
            missing in every row.
    """
    hooks = list(hooks or store.hooks)
    if not variables or (decoders is not None and not decoders):
        raise ValueError("there is nothing to decode, or nothing to decode it by: name a variable and a decoder.")
    if decoders is not None and not isinstance(decoders, Mapping):
        check_decoders(decoders)
        decoders = {name: DECODERS[name] for name in decoders}
    chosen, rows, values = choose_bins(store, variables, hooks, where, max_rows, bin_steps, seed, tuning=tuning)
    store = store.on(store.axis_of(hooks[0]))
    if untrained is not None:
        untrained = untrained.on(store.axis)
        refuse_other_rows(store, untrained)
    sweep = _Sweep(
        store=store,
        untrained=untrained,
        chosen=chosen,
        rows=rows,
        variables=list(zip(variables, values, strict=True)),
        decoders=decoders,
        information=information,
        dt=dt,
        bin_steps=bin_steps,
        n_shuffles=n_shuffles,
        tuning=tuning,
        seed=seed,
    )
    # The default decoders are as many, whatever is read.
    n_decoders = len(OF_COUNTS if decoders is None else decoders)
    with progress(desc="decoding", unit="decoder", total=len(hooks) * len(variables) * n_decoders) as bar:
        made = []
        for hook, number in product(hooks, range(len(variables))):
            made.append(sweep.kept(hook, number, None if parts is None else Path(parts), bar.update))
            bar.update(n_decoders * len(made) - bar.n)  # what was ready
    return Decoding(
        results=pd.concat([part.results for part in made], ignore_index=True),
        decoded=pd.concat([part.decoded for part in made], ignore_index=True),
        tuning=pd.concat([part.tuning for part in made], ignore_index=True),
        curves={key: curves for part in made for key, curves in part.curves.items()},
    )


def choose_bins(
    store: ActivationStore,
    variables: Sequence[Variables],
    hooks: Sequence[str],
    where: str | None,
    max_rows: int,
    bin_steps: int,
    seed: int,
    *,
    tuning: bool,
) -> tuple[Int[np.ndarray, " n"], Split, list[Float[np.ndarray, "n _"]]]:
    """The rows that are read, which are fitted on and judged by, and the variables there; no activation is read.

    Raises:
        ValueError: what no sweep can decode, so that nothing long is begun.
    """
    for hook in hooks:
        store.width(hook)
    if len({store.axis_of(hook) for hook in hooks}) > 1:
        raise ValueError("these hooks do not count the same positions: decode those of one axis at a time.")
    store = store.on(store.axis_of(hooks[0]))
    whole_number(bin_steps, "bin_steps", least=1)
    chosen, rows = choose_rows(store, where, max_rows, seed)
    found = []
    for one in variables:
        if tuning and len(one.names) not in N_BINS:
            raise ValueError(
                f"{one.title} are {len(one.names)} variables: a map has one, two or three; leave the maps out, or "
                "decode fewer together."
            )
        values = one.values(store, chosen)
        known = np.isfinite(values).all(1)
        parts = [part[known[part]] for part in (rows.fit, rows.held_out)]
        if not all(map(len, parts)):
            raise ValueError(f"{one.title} is missing in every row that would be fitted on, or in every one held out.")
        numbers = np.cumsum(known) - 1
        Bins.of(stretches_of(store, chosen[known]), Split(*(numbers[part] for part in parts)), bin_steps)
        found.append(values)
    return chosen, rows, found


@dataclass(frozen=True)
class _Sweep:
    """What all hooks and variables have in common."""

    store: ActivationStore
    untrained: ActivationStore | None
    chosen: Int[np.ndarray, " n"]
    rows: Split
    variables: list[tuple[Variables, Float[np.ndarray, "n _"]]]
    decoders: Mapping[str, Any] | None
    information: KnownInformation | None
    dt: float
    bin_steps: int
    n_shuffles: int
    tuning: bool
    seed: int

    def kept(self, hook: str, number: int, parts: Path | None, tell: Callable[[], Any]) -> Decoding:
        """One hook and set of variables: read, where it is ready."""
        if parts is None:
            return self.one(hook, number, tell)
        folder = parts / f"{hook}-{number}-{self._digest()}"
        if not folder.exists():
            write_part(folder, self.one(hook, number, tell))
        return read_part(folder)

    def one(self, hook: str, number: int, tell: Callable[[], Any]) -> Decoding:
        """One hook and set of variables; what is told is that a decoder is done."""
        variables, values = self.variables[number]
        known = np.isfinite(values).all(1)
        order = np.cumsum(known) - 1
        parts = Split(*(order[part[known[part]]] for part in (self.rows.fit, self.rows.held_out)))
        read = self.chosen[known]
        steps = self.store.read(hook, read)
        counts = bool((steps >= 0).all() and (steps.round() == steps).all())
        bins = Bins.of(stretches_of(self.store, read), parts, self.bin_steps)
        rows, groups, y, dt = bins.parts, bins.groups, values[known][bins.middle], self.dt * self.bin_steps
        X = bins.read(steps, summed=counts)
        random = None
        if self.untrained is not None and hook in self.untrained.hooks:
            random = bins.read(self.untrained.read(hook, read), summed=counts)
        decoders = self.decoders
        if decoders is None:
            decoders = {name: DECODERS[name] for name in (OF_COUNTS if counts else OF_ACTIVATIONS)}
        longest = int(np.bincount(groups).max())
        scores, curves = pd.DataFrame({"unit": []}), {}
        if self.tuning:
            scores, maps = unit_tuning(X, y, variables, rows, dt=dt if counts else 1.0, seed=self.seed)
            curves = {(hook, variables.title): maps}
        bound = None
        if self.information is not None and counts and self.information.names == variables.names:
            bound = self.information.of(self.store, read[bins.middle], dt)
        about = self.store.columns("doc", "pos").take(read[bins.middle[rows.held_out[:N_KEPT]]])
        place = {column: about[column].to_numpy() for column in ("doc", "pos")}
        results, decoded = [], []
        for name, one in decoders.items():
            decoder = fitting(one, variables, longest)
            lines, estimates = self._judged(decoder, X, random, y, variables, groups, rows, bound)
            results.append(lines.assign(decoder=name))
            decoded.append(pd.concat([table.assign(**place) for table in estimates]).assign(decoder=name))
            tell()
        return Decoding(
            pd.concat(results, ignore_index=True).assign(hook=hook),
            pd.concat(decoded, ignore_index=True).assign(hook=hook),
            scores.assign(hook=hook, variables=variables.title),
            curves,
        )

    def _judged(
        self,
        decoder: Any,
        X: Float[Tensor, "n unit"],
        random: Float[Tensor, "n unit"] | None,
        y: Float[np.ndarray, "n d"],
        variables: Variables,
        groups: Int[np.ndarray, " n"],
        rows: Split,
        bound: Float[np.ndarray, "n d d"] | None,
    ) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
        """A decoder's scores beside its controls, and some of its estimates, a table a variable."""
        blocks = [(rows.fit, block) for block in _blocks(groups, rows.held_out)]
        about: dict[str, Any] = {"names": variables.names, "groups": groups, "splits": blocks, "seed": self.seed}
        lines = [decoding_report(decoder, X, y, n_shuffles=self.n_shuffles, shift="recording", bound=bound, **about)]
        if random is not None:
            before = decoding_report(decoder, random, y, n_shuffles=0, **about)
            lines.append(before[before["variant"] == DECODER].assign(variant=RANDOM_SUBJECT))
        shown = rows.held_out[:N_KEPT]
        estimate, std = estimates_of(decoder, X, y, groups, rows.fit, shown)
        tables = [
            pd.DataFrame({"output": name, "true": y[shown, i], "decoded": estimate[:, i], "std": std[:, i]})
            for i, name in enumerate(variables.names)
        ]
        return pd.concat(lines, ignore_index=True), tables

    def _digest(self) -> str:
        """Of all that the results of a hook follow from."""
        made_of = [
            self.store.id,
            None if self.untrained is None else self.untrained.id,
            self.chosen,
            (self.rows.fit, self.rows.held_out),
            [(one.names, one.period) for one, _ in self.variables],
            None if self.decoders is None else {name: settings_of(one) for name, one in self.decoders.items()},
            None if self.information is None else self.information.names,
            (self.dt, self.bin_steps, self.n_shuffles, self.tuning, self.seed),
        ]
        return str(joblib.hash(made_of))[:12]


def _blocks(groups: Int[np.ndarray, " n"], held_out: Int[np.ndarray, " m"]) -> list[Int[np.ndarray, " block"]]:
    """Held-out rows in parts of whole stretches, over which intervals are."""
    starts = np.flatnonzero(np.diff(groups[held_out], prepend=-1))
    cuts = starts[np.linspace(0, len(starts), min(N_BLOCKS, len(starts)) + 1).astype(int)[1:-1]]
    return np.split(held_out, cuts)
