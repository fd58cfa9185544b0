"""The links of an induction circuit, each measured beside its control."""

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from models.dataset import Dataset
from models.tasks.repeated_pairs import InductionPairs
from models.tasks.repeated_sequences import RepeatedSequences
from models.transformer import Transformer
from workbench.attention.composition import composition_scores, random_composition
from workbench.attention.copying import eigenvalue_score
from workbench.attention.head_circuits import qk_circuit
from workbench.attention.weights import weights_of
from workbench.interventions.ablation import ablate
from workbench.interventions.metrics import LogitDifference
from workbench.interventions.pairs import batch_of, run
from workbench.interventions.path_patching import path_patching
from workbench.interventions.stand_ins import Ablation
from workbench.reproductions.induction_measures import RepeatLoss, heads_of, looking, repeat_loss

ABLATION: Ablation = "position mean"
EVERY = "all heads of layer 0"
NAMED = {"previous": 0.4, "induction": 0.6}  # of its attention, from which on a head is one


@dataclass(frozen=True)
class InductionCircuit:
    """The first layer's heads that look back, and the last layer's that look for what came after a token before."""

    previous: tuple[int, ...]
    induction: tuple[int, ...]
    n_layers: int
    n_heads: int

    @property
    def sets(self) -> dict[str, list[tuple[str, int]]]:
        """What is ablated together: the heads of the circuit, those of their layers that are not of it, and `EVERY`."""
        found = {}
        for name, layer, heads in (
            ("previous-token heads", 0, self.previous),
            ("induction heads", self.n_layers - 1, self.induction),
        ):
            rest = [head for head in range(self.n_heads) if head not in heads]
            for label, chosen in ((name, heads), (f"other heads of layer {layer}", rest)):
                if chosen:
                    found[label] = [(f"blocks.{layer}.attn.hook_z", head) for head in chosen]
        return found | {EVERY: [("blocks.0.attn.hook_z", head) for head in range(self.n_heads)]}


@torch.no_grad()
def examine(
    model: Transformer,
    untrained: Transformer,
    chosen: Int[Tensor, "seq time"],
    measured: Int[Tensor, "seq time"],
    pairs: InductionPairs,
    task: RepeatedSequences,
) -> dict[str, pd.DataFrame]:
    """Every link of a subject's circuit, each beside its control.

    Args:
        model, untrained: the subject, and before training.
        chosen: sequences that heads are named by.
        measured: sequences that they are measured on.
        pairs: clean and corrupt sequences, for paths.
        task: what the sequences are of.

    Returns:
        `subjects`: `variant` (`trained`, `untrained`), `loss` (nats, of what the repeat makes known), `gap` (clean less
        corrupt logit difference), `both_right` (share of pairs told apart both ways). `heads`: `layer, head`,
        `variant`, `previous_token`, `prefix_matching`, `copying`, `copying_high` (99th percentile of random heads), and
        whether it is `named` previous or induction. Of more than one layer also `composition`, with `largest_high` (as
        `largest_composition` has it of so many pairs as the circuit's) and `ablation`, as those functions give them,
        `paths`, as `path_patching` does, and `matching`: for each previous-token and induction head Σ Re λ / Σ |λ| of
        the QK circuit whose keys are read through the former, `value`, beside other first-layer heads' and the
        untrained subject's.
    """
    circuit = named(model, chosen)
    heads = []
    for variant, subject in (("trained", model), ("untrained", untrained)):
        heads.append(heads_of(subject, measured).assign(variant=variant))
    table = pd.concat(heads, ignore_index=True)
    last = model.cfg.n_layers - 1
    table["named"] = ""
    trained = table["variant"] == "trained"
    if last:
        table.loc[trained & (table["layer"] == 0) & table["head"].isin(circuit.previous), "named"] = "previous"
    table.loc[trained & (table["layer"] == last) & table["head"].isin(circuit.induction), "named"] = "induction"
    subjects = [
        {"variant": variant} | _subject(subject, measured, pairs, task)
        for variant, subject in (("trained", model), ("untrained", untrained))
    ]
    tables = {"subjects": pd.DataFrame(subjects), "heads": table}
    if last == 0:
        return tables
    pairs_of_heads = len(circuit.previous) * len(circuit.induction)
    composed = composition_scores(model, untrained=untrained)
    tables["composition"] = composed.assign(largest_high=largest_composition(model, pairs_of_heads))
    tables["matching"] = matching(model, untrained, circuit)
    tables["ablation"] = ablate(
        model, Dataset(tokens=measured), RepeatLoss(task), circuit.sets, ablation=ABLATION, batch_size=len(measured)
    ).assign(gain=lambda t: task.chance_loss - t["unablated"])
    tables["paths"] = paths(model, pairs, circuit)
    return tables


def named(model: Transformer, tokens: Int[Tensor, "seq time"]) -> InductionCircuit:
    """Which heads look back, in the first layer, and which for a repeat, in the last: all above `NAMED`, or one."""
    by_layer = looking(model, tokens).set_index(["layer", "head"])
    before = _best(by_layer.loc[0, "previous_token"], NAMED["previous"])
    after = _best(by_layer.loc[model.cfg.n_layers - 1, "prefix_matching"], NAMED["induction"])
    return InductionCircuit(before, after, model.cfg.n_layers, model.cfg.n_heads)


def matching(model: Transformer, untrained: Transformer, circuit: InductionCircuit) -> pd.DataFrame:
    """Whether a token's query meets itself in keys that are read through a head of the first layer.

    Positive eigenvalues of W_E W_QK W_OVᵀ W_Eᵀ say so (Elhage et al. 2021): `from_head, to_head, variant, value`.
    """
    rows = []
    last = circuit.n_layers - 1
    for variant, weights in (("trained", weights_of(model)), ("untrained", weights_of(untrained))):
        for reader in circuit.induction:
            for head in range(circuit.n_heads):
                of = qk_circuit(weights, last, reader, ends="tokens", key_through=(0, head), biases=False)
                value = float(eigenvalue_score(of))
                place = {"from_head": head, "to_head": reader, "named": head in circuit.previous}
                rows.append(place | {"variant": variant, "value": value})
    return pd.DataFrame(rows)


def largest_composition(model: Transformer, n: int, draws: int = 1000, seed: int = 0) -> float:
    """The 99th percentile of the largest of `n` pairs of random matrices' composition.

    What the largest of a circuit's pairs is held against; as those have heads in common, theirs would spread less.
    """
    weights = weights_of(model)
    drawn = random_composition(weights.d_model, weights.d_head, n * draws, seed, weights.centred)
    return float(drawn.view(draws, n).amax(1).quantile(0.99))


def _best(by_head: pd.Series, least: float) -> tuple[int, ...]:
    return tuple(int(head) for head, value in by_head.items() if value >= min(least, by_head.max()))


def _subject(
    model: Transformer, tokens: Int[Tensor, "seq time"], pairs: InductionPairs, task: RepeatedSequences
) -> dict[str, float]:
    metric, values = LogitDifference.of(pairs), []
    for data in (pairs.clean, pairs.corrupt):
        batch = batch_of(data, torch.arange(len(data)))
        values.append(metric(run(model, batch), batch))
    clean, corrupt = values
    both = ((clean > 0) & (corrupt < 0)).float().mean()
    return {"loss": repeat_loss(model, tokens, task), "gap": float((clean - corrupt).mean()), "both_right": float(both)}


def paths(model: Transformer, pairs: InductionPairs, circuit: InductionCircuit) -> pd.DataFrame:
    """What restores the answer along each path: from embeddings and first-layer heads to each input of the last layer's
    heads, and from all of them to the logits. `first layer` is all its heads together.

    The columns are those of `path_patching`, nodes named `0.1` (layer and head), `1.0 k`, `embed` and `logits`.
    """
    last, heads = circuit.n_layers - 1, range(circuit.n_heads)
    names: dict[str | tuple[str, int], str] = {"hook_embed": "embed", "blocks.0.hook_attn_out": "first layer"}
    names |= {("blocks.0.attn.hook_result", head): f"0.{head}" for head in heads}
    early: list[str | tuple] = list(names)
    inputs = {
        (f"blocks.{last}.attn.hook_{kind}_input", head): f"{last}.{head} {kind}" for head in heads for kind in "qkv"
    }
    late = {(f"blocks.{last}.attn.hook_result", head): f"{last}.{head}" for head in heads}
    logits = f"blocks.{last}.hook_resid_post"
    routes: list[tuple[list[str | tuple], list[str | tuple]]] = [(early, [*inputs, logits]), ([*late], [logits])]
    metric = LogitDifference.of(pairs)
    parts = [
        path_patching(model, pairs.clean, pairs.corrupt, metric, senders, receivers, batch_size=1024)
        for senders, receivers in routes
    ]
    ends = names | inputs | late | {logits: "logits"}
    known = {node if isinstance(node, str) else f"{node[0]}[{node[1]}]": name for node, name in ends.items()}
    table = pd.concat(parts, ignore_index=True)
    return table.assign(**{end: table[end].map(known) for end in ("sender", "receiver")})
