"""The circuit of modular addition: without its frequencies nothing is left of it, and without all else it is whole.

Directions are taken out of what stands inside the network while it runs. They are read off weights alone: of the
embedding, and of what reads the neurons and the residual stream into logits, the waves cos w_k x and sin w_k x over the
numbers x.
"""

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.hooks import HookedModel
from models.tasks.modular_addition import ModularAddition
from workbench.figures.frequency_ablation import frequency_ablation
from workbench.interventions import Edit, Subspace, edit_at, project_out, random_subspace
from workbench.interventions.stand_ins import Ablation
from workbench.reproductions import grokking_measures as measures
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.grokking import subjects_of, train_pairs
from workbench.runs import Run

TITLE = "Modular addition stands on a few frequencies inside the network"
PAPER = "Nanda et al. 2023, Progress measures for grokking via mechanistic interpretability, arXiv 2301.05217"

EMBEDDING, NEURONS, RESIDUAL = "embedding", "neurons", "residual stream"
# Where, and which of the positions BOS, a, b, = are edited.
SITES = {
    EMBEDDING: ("hook_embed", (False, True, True, False)),
    NEURONS: ("blocks.0.mlp.hook_post", (False, False, False, True)),
    RESIDUAL: ("blocks.0.hook_resid_post", (False, False, False, True)),
}
INTACT, KEYS, ALL_ELSE, WHOLE = "nothing", "key frequencies", "all but key frequencies", "everything"
OTHERS, RANDOM, ALL_BUT_RANDOM = "other frequencies", "random directions", "all but random directions"
N_DRAWS = 5
ABLATION: Ablation = "mean"  # over all pairs, of the positions that are edited
# Set before anything was measured. Destroyed: no better than saying every number alike. Left whole: hardly changed.
# At the neurons the first is missed: what passes them by, from attention straight to the logits, knows some answers.
MOST_RIGHT, LEAST_RIGHT, MOST_LOSS = 0.10, 0.99, 0.1


def reproduce(bench: Bench) -> list[Row]:
    """Take frequencies out of the subjects that `grokking` trains, at three sites, beside random ones."""
    tables = []
    for name, run in grokked(bench).items():
        task = subjects_of(bench.full)[name].task
        assert isinstance(task, ModularAddition)
        bench.tell(f"ablating frequencies of {name}")
        among = train_pairs(run, task)
        keys = measures.key_frequencies(measures.all_pairs(run.model(), task)[0])
        for stage, model in (("untrained", run.model(step=0)), ("trained", run.model())):
            found = ablated(model, task, keys, among)
            about = {"subject": name, "p": task.p, "stage": stage, "frequencies": ", ".join(map(str, sorted(keys)))}
            tables.append(found.assign(**about))
    table = pd.concat(tables, ignore_index=True)
    bench.table("ablations", table, frequency_ablation(table), ablation=ABLATION, controls=N_DRAWS)
    return _rows(table)


def grokked(bench: Bench) -> dict[str, Run]:
    """The subjects of the reproduction of grokking, trained there if they are not yet."""
    path = bench.path.parents[1] / "grokking" / bench.path.name
    theirs = Bench(Run.create(path).path, bench.full, bench.tell)
    runs = theirs.subjects(subjects_of(bench.full))
    bench.used.update({os.path.relpath(run.path, bench.path): run for run in runs.values()})
    return runs


def ablated(model: HookedModel, task: ModularAddition, keys: list[int], among: Bool[Tensor, "a b"]) -> pd.DataFrame:
    """What is left of a subject when directions are held at their mean over all pairs.

    Args:
        model: the subject.
        task: what it adds.
        keys: the frequencies in question.
        among: the pairs that it was trained on.

    Returns:
        A line for each site, what is ablated there and draw (`seed`): `site`, `hook`, `ablated`, `ablation`, `seed`,
        `directions`, how many are held; `train_loss`, `test_loss`, in nats; `train_accuracy`, `test_accuracy`.
    """
    tokens, rows = task.all_pairs(), []
    for site, (hook, at) in SITES.items():
        where = torch.tensor(at)
        with torch.no_grad():
            _, cache = model.run_with_cache(tokens, names_filter=hook, return_type=None)
        centre = cache[hook][:, where].flatten(0, 1).double().mean(0)
        for what, seed, edit in _edits(waves(model, task, site), centre, task, keys):
            hooks = [] if edit is None else edit_at(model, tokens, hook, edit, where)
            with torch.no_grad(), model.hooks(fwd_hooks=hooks):
                logits, _ = measures.all_pairs(model, task)
            about: dict[str, Any] = {"site": site, "hook": hook, "ablated": what, "ablation": ABLATION, "seed": seed}
            about |= {"directions": 0 if edit is None else edit.subspace.k}
            for part, pairs in (("train", among), ("test", ~among)):
                about |= {f"{part}_loss": measures.pair_loss(logits, pairs)}
                about |= {f"{part}_accuracy": measures.pair_accuracy(logits, pairs)}
            rows.append(about)
    return pd.DataFrame(rows).astype({"seed": "Int64"})


@torch.no_grad()
def waves(model: Any, task: ModularAddition, site: str) -> Float[Tensor, "wave d"]:
    """The directions of cos w_k x and sin w_k x at a site, in the order of `fourier_basis`, the constant left out.

    Of the embedding those along which it moves with the number; of the neurons and of the stream those along which
    the logits' waves are read, the rows of the paper's W_L = W_out W_U.
    """
    W_U = model.W_U[:, task.numbers].double()
    maps = {
        EMBEDDING: lambda: model.W_E[task.numbers].double(),
        NEURONS: lambda: (model.W_out[0].double() @ W_U).T,
        RESIDUAL: lambda: W_U.T,
    }
    return (torch.from_numpy(task.fourier_basis()) @ maps[site]())[1:]


def _edits(
    directions: Float[Tensor, "wave d"], centre: Float[Tensor, " d"], task: ModularAddition, keys: list[int]
) -> Iterator[tuple[str, int | None, Edit | None]]:
    """What is ablated, the draw, and how."""
    frequency = torch.from_numpy(task.fourier_frequencies())[1:]

    of_keys = directions[torch.isin(frequency, torch.tensor(keys))]
    # The waves are not orthogonal to each other inside the network: what others share with the key ones is left.
    beyond = directions - directions @ torch.linalg.pinv(of_keys) @ of_keys

    def out(rows: Float[Tensor, "wave d"], frequencies: list[int]) -> Edit:
        return project_out(Subspace.along(rows[torch.isin(frequency, torch.tensor(frequencies))]), centre)

    yield INTACT, None, None
    without = out(directions, keys)
    yield KEYS, None, without
    yield ALL_ELSE, None, _all_but(without)
    yield WHOLE, None, project_out(Subspace.along(torch.eye(len(centre))), centre)
    others = [k for k in range(1, (task.p + 1) // 2) if k not in keys]
    for seed in range(N_DRAWS):
        drawn = np.random.default_rng(seed).choice(others, len(keys), replace=False).tolist()
        yield OTHERS, seed, out(beyond, drawn)
        random = random_subspace(without, seed)
        yield RANDOM, seed, random
        yield ALL_BUT_RANDOM, seed, _all_but(random)


def _all_but(edit: Edit) -> Edit:
    """Everything is taken out that the edit leaves, and what it takes out is left."""
    whole = torch.linalg.qr(edit.subspace.write.T, mode="complete").Q
    return project_out(Subspace.along(whole[:, edit.subspace.k :].T), edit.centre)


def _rows(table: pd.DataFrame) -> list[Row]:
    rows = []
    for p in table["p"].unique().tolist():
        of_p = table[table["p"] == p]
        trained, untrained = (of_p[of_p["stage"] == stage] for stage in ("trained", "untrained"))
        seeds, chance = trained["subject"].nunique(), math.log(p)
        about = f"p = {p}, {seeds} seed{'s' * (seeds > 1)}"
        intact, blank = (of[(of["ablated"] == INTACT) & (of["site"] == NEURONS)] for of in (trained, untrained))
        rows.append(
            Row(
                f"held-out loss of the whole network, nats, and its key frequencies; {about}",
                "14, 35, 41, 42, 52 at p = 113",
                f"{intact['test_loss'].max():.1e}, {'; '.join(intact['frequencies'])}; "
                f"untrained {spread(blank['test_loss'].tolist(), 2)}, chance {chance:.2f}",
            )
        )
        for site in SITES:
            rows += _of_site(trained[trained["site"] == site], f"{site}: ", about, chance)
    return rows


def _of_site(found: pd.DataFrame, site: str, about: str, chance: float) -> list[Row]:
    def of(what: str) -> pd.DataFrame:
        return found[found["ablated"] == what]

    def told(what: str) -> str:
        return f"{spread(of(what)['test_loss'].tolist(), 3)}, right {spread(of(what)['test_accuracy'].tolist(), 3)}"

    gone, left, controls = of(KEYS), of(ALL_ELSE), pd.concat([of(OTHERS), of(RANDOM)])
    return [
        Row(
            f"{site}held-out loss without the key frequencies, nats; {about}",
            "worse than chance",
            f"{told(KEYS)}; without everything that stands there {told(WHOLE)}",
            f"≥ {chance:.2f}, chance; right ≤ {MOST_RIGHT:.2f}",
            bool(((gone["test_loss"] >= chance) & (gone["test_accuracy"] <= MOST_RIGHT)).all()),
        ),
        Row(
            f"{site}without everything but these {int(gone['directions'].median())} directions; {about}",
            "no worse than whole",
            f"{told(ALL_ELSE)}; all but as many random directions {told(ALL_BUT_RANDOM)}",
            f"≤ {MOST_LOSS}; right ≥ {LEAST_RIGHT}",
            _whole(left),
        ),
        Row(
            f"{site}the control: without as many others; {about}",
            "",
            f"frequencies {told(OTHERS)}; random directions {told(RANDOM)}",
            f"≤ {MOST_LOSS}; right ≥ {LEAST_RIGHT} in each of {N_DRAWS} draws",
            _whole(controls),
        ),
    ]


def _whole(of: pd.DataFrame) -> bool:
    return bool(((of["test_loss"] <= MOST_LOSS) & (of["test_accuracy"] >= LEAST_RIGHT)).all())
