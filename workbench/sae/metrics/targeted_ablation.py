"""Does ablating the latents of one thing change that thing alone? SCR and TPP, as SAEBench defines them.

Karvonen et al., "SAEBench" (arXiv 2503.09532), after SHIFT (Marks et al., arXiv 2403.19647). Latents are ranked by
how much they move a probe: the difference of their mean activations between the classes, times their decoder row's
product with the probe's weights. Ablation takes what they add away from x, so that the error of the dictionary stays.

Unlike SAEBench's, our labels are Boolean columns over rows (its are classes of texts, activations averaged over a
text); probes are logistic regressions fitted to the end; rows are held out by document.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from probes.validation import split_by_group
from workbench.sae.base import SAE
from workbench.sae.metrics.labelled_rows import (
    FITTED,
    HELD_OUT,
    HELD_OUT_SHARE,
    Labels,
    LinearProbe,
    balanced,
    check_labels,
    latent_matrix,
)
from workbench.sae.metrics.sparse_probing import mean_difference

N_ABLATED = (2, 5, 10, 20, 50)


def spurious_correlation_removal(
    sae: SAE,
    x: Float[Tensor, "n d"],
    target: Bool[np.ndarray, " _"],
    spurious: Bool[np.ndarray, " _"],
    documents: Shaped[np.ndarray, " _"],
    *,
    n_ablated: Sequence[int] = N_ABLATED,
    held_out_share: float = HELD_OUT_SHARE,
    seed: int = 0,
) -> pd.DataFrame:
    """SCR: a probe misled by a spurious label is freed of it by ablating that label's latents.

    The biased probe of the target sees only rows where both labels agree; the clean one, and the probe of the spurious
    label that ranks latents (by the size of their effect), see all four combinations equally often, and so do the
    held-out rows on which accuracies of the target are taken. `scr = (acc_ablated − acc_biased) / (acc_clean −
    acc_biased)`: 1 where ablation makes up for the bias, 0 where it changes nothing, NaN where the bias does no harm.
    SAEBench reports, of both labels, the one the biased probe is worse at; here the caller says which is spurious.

    Args:
        sae: the dictionary.
        x: rows, held out of its training.
        target, spurious: whether each holds in a row.
        documents: which document each row is of.
        n_ablated: how many latents are ablated.
        held_out_share: of the documents.
        seed: of the choice of documents and of rows.

    Returns:
        One line for each of `n_ablated`: `ablated` (how many there were: a latent without effect is none of them),
        `acc_biased`, `acc_clean`, `acc_ablated`, `scr`.

    Raises:
        ValueError: a label is constant or of another length, a combination of both is missing on either side of the
            split, fewer than two documents, or a transcoder or crosscoder.
    """
    check_labels({"target": target, "spurious": spurious}, documents, len(x))
    fit, held_out = split_by_group(documents, held_out_share=held_out_share, seed=seed)
    rng = np.random.default_rng(seed)
    agree = [("both labels", target & spurious), ("neither label", ~target & ~spurious)]
    differ = [("the target label alone", target & ~spurious), ("the spurious label alone", ~target & spurious)]
    clean = balanced(agree + differ, fit, FITTED, rng)
    judged = balanced(agree + differ, held_out, HELD_OUT, rng)
    biased = balanced(agree, fit, FITTED, rng)

    ablation = Ablation(sae, x)
    rows = ablation.x
    biased_probe = LinearProbe.fit(rows[biased], target[biased])
    clean_probe = LinearProbe.fit(rows[clean], target[clean])
    spurious_probe = LinearProbe.fit(rows[clean], spurious[clean])
    effects = np.abs(ablation.effects(spurious_probe, clean, spurious))
    acc_biased = biased_probe.accuracy(rows[judged], target[judged])
    acc_clean = clean_probe.accuracy(rows[judged], target[judged])
    lines = []
    for n in n_ablated:
        latents = _largest(effects, n)
        acc_ablated = biased_probe.accuracy(ablation.without(latents, judged), target[judged])
        harm = acc_clean - acc_biased
        lines.append(
            {
                "n_ablated": n,
                "ablated": len(latents),
                "acc_biased": acc_biased,
                "acc_clean": acc_clean,
                "acc_ablated": acc_ablated,
                "scr": (acc_ablated - acc_biased) / harm if harm > 0 else float("nan"),
            }
        )
    return pd.DataFrame(lines)


def targeted_probe_perturbation(
    sae: SAE,
    x: Float[Tensor, "n d"],
    labels: Labels,
    documents: Shaped[np.ndarray, " _"],
    *,
    n_ablated: Sequence[int] = N_ABLATED,
    held_out_share: float = HELD_OUT_SHARE,
    seed: int = 0,
) -> pd.DataFrame:
    """TPP: ablating a class's latents should cost its own probe accuracy, and the other classes' probes none.

    Each label has a probe fitted, and judged on held-out rows, where it holds as often as not. A class's latents are
    those that speak for it: more active where it holds, and pointing the way of its probe (SAEBench fills up with
    latents of negative effect where there are too few). `tpp = intended − unintended`. SAEBench's classes exclude each
    other; labels may overlap, and one that follows from another cannot be told from it by any dictionary.

    Args:
        labels: at least two Boolean columns.
        sae, x, documents, n_ablated, held_out_share, seed: as in `spurious_correlation_removal`.

    Returns:
        One line for each label and each of `n_ablated`: `ablated`, `intended` (the accuracy its own probe loses),
        `unintended` (what the others lose on average) and `tpp`. SAEBench's number is the mean over labels.

    Raises:
        ValueError: fewer than two labels, one that is constant on either side of the split or of another length,
            fewer than two documents, or a transcoder or crosscoder.
    """
    if len(labels) < 2:
        raise ValueError("targeted probe perturbation compares classes: give at least two labels.")
    check_labels(labels, documents, len(x))
    fit, held_out = split_by_group(documents, held_out_share=held_out_share, seed=seed)
    rng = np.random.default_rng(seed)
    fitted, judged = (
        {name: balanced(_both_ways(name, label), rows, kind, rng) for name, label in labels.items()}
        for rows, kind in ((fit, FITTED), (held_out, HELD_OUT))
    )

    ablation = Ablation(sae, x)
    rows = ablation.x
    probes = {name: LinearProbe.fit(rows[fitted[name]], label[fitted[name]]) for name, label in labels.items()}
    clean = {name: probes[name].accuracy(rows[judged[name]], label[judged[name]]) for name, label in labels.items()}
    lines = []
    for name, label in labels.items():
        effects = ablation.effects(probes[name], fitted[name], label)
        for n in n_ablated:
            latents = _largest(effects, n)
            lost = {
                other: clean[other] - probes[other].accuracy(ablation.without(latents, judged[other]), truth)
                for other, truth in ((other, labels[other][judged[other]]) for other in labels)
            }
            unintended = float(np.mean([loss for other, loss in lost.items() if other != name]))
            lines.append(
                {
                    "label": name,
                    "n_ablated": n,
                    "ablated": len(latents),
                    "intended": lost[name],
                    "unintended": unintended,
                    "tpp": lost[name] - unintended,
                }
            )
    return pd.DataFrame(lines)


class Ablation:
    """Rows, their codes, and the rows again without what some latents add to the reconstruction."""

    def __init__(self, sae: SAE, x: Float[Tensor, "n d"]) -> None:
        if sae.cfg.kind != "sae":
            raise ValueError(f"latents are ablated in the rows an SAE reads, but a {sae.cfg.kind} writes others.")
        self.x = x.detach().float().cpu().numpy()
        self.latents = latent_matrix(sae, x)
        self.W_dec = sae.W_dec.detach().float().cpu().numpy()

    def effects(
        self, probe: LinearProbe, rows: Int[np.ndarray, " rows"], label: Bool[np.ndarray, " n"]
    ) -> Float[np.ndarray, " d_sae"]:
        """How much further each latent's mean moves the probe where the label holds."""
        return mean_difference(self.latents[rows], label[rows]) * (self.W_dec @ probe.weight)

    def without(self, latents: Int[np.ndarray, " ablated"], rows: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "n d"]:
        """x̂ without these latents, plus the error x − x̂."""
        return self.x[rows] - self.latents[rows][:, latents].toarray() @ self.W_dec[latents]


def _largest(effects: Float[np.ndarray, " d_sae"], n: int) -> Int[np.ndarray, " ablated"]:
    """The n latents of largest effect, those with a positive one only."""
    order = np.argsort(-effects, kind="stable")[:n]
    return order[effects[order] > 0]


def _both_ways(name: str, label: Bool[np.ndarray, " n"]) -> list[tuple[str, Bool[np.ndarray, " n"]]]:
    return [(f"the label {name!r}", label), (f"the label {name!r} off", ~label)]
