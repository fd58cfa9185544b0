"""The induction circuit, link by link: a head that looks back feeds the keys of heads that look for a repeat."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from models import recipes
from models.tasks.repeated_pairs import induction_pairs
from models.tasks.repeated_sequences import RepeatedSequences
from workbench.figures.circuit_graph import circuit_graph
from workbench.figures.composition_map import composition_map
from workbench.figures.palette import Layers
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.induction_links import ABLATION, EVERY, NAMED, examine

TITLE = "The induction circuit: previous-token head, K-composition, induction head, each link tested"
PAPER = "Elhage et al. 2021, A mathematical framework for transformer circuits; Olsson et al. 2022, arXiv 2209.11895"

RECIPE = "induction-heads"
N_CHOSEN, N_MEASURED = 256, 256  # held-out sequences that heads are named by, and others that they are measured on
N_PAIRS = 256
# By how much what is lost or restored must exceed the same with random directions; set when values of one seed, which
# had been held against no control, were known.
TIMES_RANDOM = 2.0


def reproduce(bench: Bench) -> list[Row]:
    """Train two layers and one, name their heads on some sequences, and test every link on others."""
    two = recipes.get(RECIPE)
    one = replace(two, model=two.model | {"n_layers": 1})
    assert isinstance(two.task, RepeatedSequences)
    seeds = range(5 if bench.full else 1)
    wanted = {f"two-layers-{s}": two.with_changes(seed=s) for s in seeds}
    wanted |= {f"one-layer-{s}": one.with_changes(seed=s) for s in seeds}
    runs = bench.subjects(wanted)
    pairs = induction_pairs(two.task, N_PAIRS)
    found: dict[str, list[pd.DataFrame]] = {}
    for name, of in runs.items():
        data = of.dataset(with_labels=False)
        tokens = data.tokens[data.sequences("test")]
        chosen, measured = tokens[:N_CHOSEN], tokens[N_CHOSEN : N_CHOSEN + N_MEASURED]
        tables = examine(of.model(), of.model(step=0), chosen, measured, pairs, two.task)
        for table, frame in tables.items():
            found.setdefault(table, []).append(frame.assign(subject=name))
    tables = {table: pd.concat(frames, ignore_index=True) for table, frames in found.items()}
    figures = {
        "composition": composition_map(_of_first(tables["composition"])),
        "paths": path_graph(_of_first(tables["paths"])),
    }
    for table, frame in tables.items():
        bench.table(table, frame, figures.get(table), ablation=ABLATION)
    return _rows(tables, two.task)


def path_graph(paths: pd.DataFrame) -> Layers:
    """The paths of one subject as a graph, patched and turned at random side by side."""
    edges = paths[paths["sender"] != "first layer"].rename(columns={"effect": "score"})
    nodes = pd.unique(edges[["sender", "receiver"]].to_numpy().ravel())
    heads = sorted(node for node in nodes if node[0].isdigit())
    inputs = [node for node in heads if " " in node]
    first = [node for node in heads if node.startswith("0.")]
    late = [node for node in heads if node not in inputs and node not in first]
    return circuit_graph(edges, [["embed"], first, inputs, late, ["logits"]])


def _of_first(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["subject"] == table["subject"].iloc[0]]


def _rows(tables: dict[str, pd.DataFrame], task: RepeatedSequences) -> list[Row]:
    two, one = ({name: _layers(table, layers) for name, table in tables.items()} for layers in ("two", "one"))
    n = two["subjects"]["subject"].nunique()

    def row(result: str, of: pd.Series, bar: str, ok: Any, published: str = "", **beside: pd.Series) -> Row:
        controls = [f"{name.replace('_', ' ')} {spread(x.tolist())}" for name, x in beside.items() if len(x)]
        return Row(result, published, "; ".join([spread(of.tolist()), *controls]), bar, len(of) == n and bool(ok.all()))

    def before(column: str) -> pd.Series:
        return _each(two["subjects"], column, variant="untrained")

    loss, known = (_each(two["subjects"], name, variant="trained") for name in ("loss", "both_right"))
    loss_of_one, known_of_one = (_each(one["subjects"], name, variant="trained") for name in ("loss", "both_right"))
    back = _each(two["heads"], "previous_token", named="previous")
    repeat = _each(two["heads"], "prefix_matching", named="induction")
    copied = _each(two["heads"], "copying", "min", named="induction")
    drawn = {
        name: _each(two["heads"], name, variant="untrained")
        for name in ("previous_token", "prefix_matching", "copying")
    }
    repeat_of_one = _each(one["heads"], "prefix_matching", variant="trained")
    without = pd.concat([drawn["prefix_matching"], repeat_of_one])
    composed = _in_circuit(two["composition"], two["heads"])
    k, q = (_each(composed, "value", kind=kind) for kind in ("K", "Q"))
    high, copied_high = _each(composed, "largest_high"), _each(two["heads"], "copying_high", named="induction")
    matched = _each(two["matching"], "value", variant="trained", named=True)
    matched_before = _each(two["matching"], "value", variant="untrained")
    shares = two["ablation"].assign(share=lambda t: t["effect"] / t["gain"])
    rows = [
        row(
            f"loss in the repeat, nats; {n} seed(s), chance {task.chance_loss:.2f}",
            loss,
            "< .3 in every seed",
            loss < 0.3,
            untrained=before("loss"),
        ),
        row(
            "the same with one layer", loss_of_one, "it fails: > 2", loss_of_one > 2, "one layer has no induction heads"
        ),
        row(
            "share of pairs told apart both ways",
            known,
            "≥ .95 in every seed",
            known >= 0.95,
            untrained=before("both_right"),
            one_layer=known_of_one,
        ),
        row(
            "first layer: attention to the previous token, the best head",
            back,
            f"≥ {NAMED['previous']} in every seed, and less untrained",
            (back >= NAMED["previous"]) & (drawn["previous_token"] < NAMED["previous"]),
            untrained=drawn["previous_token"],
        ),
        row(
            "last layer: prefix matching, the best head",
            repeat,
            f"≥ {NAMED['induction']} in every seed, and less untrained or in one layer",
            (repeat >= NAMED["induction"]).all() & (without < NAMED["induction"]),
            untrained=drawn["prefix_matching"],
            one_layer=repeat_of_one,
        ),
        row(
            "these heads' copying, Σ Re λ / Σ |λ|, the least of them",
            copied,
            "≥ .5, and more than 99 of 100 random heads, in every seed",
            (copied >= 0.5) & (copied > copied_high),
            "positive",
            untrained=drawn["copying"],
            random_heads_at_the_99th_percentile=copied_high,
        ),
        row(
            "their K-composition with a previous-token head, the largest",
            k,
            "more than the largest of as many random pairs, 99 times of 100, in every seed",
            k > high,
            "the largest of all pairs",
            largest_of_random_pairs_at_the_99th_percentile=high,
            same_pair_untrained=_each(composed, "untrained", kind="K"),
            Q_composition=q,
        ),
        row(
            "queries matched with keys through a previous-token head, Σ Re λ / Σ |λ|, the largest",
            matched,
            "≥ .5 in every seed",
            matched >= 0.5,
            "positive",
            untrained=matched_before,
            through_another_head=_each(two["matching"], "value", variant="trained", named=False),
        ),
    ]
    for name, layer in (("previous-token heads", "0"), ("induction heads", "1")):
        lost = _each(shares, "share", hook=name, variant="ablation")
        rest = f"other heads of layer {layer}"
        every = _each(shares, "share", hook=EVERY, variant="ablation")
        random = _each(shares, "share", hook=name, variant="random direction")
        rows.append(
            row(
                f"share of the gain lost without the {name} ({ABLATION} ablation, together)",
                lost,
                f"≥ .8, and {TIMES_RANDOM:g} × the random direction, in every seed",
                (lost >= 0.8) & _above(lost, random),
                random_direction=random,
                without_the_layers_others=_each(shares, "share", hook=rest, variant="ablation"),
                **({"without_all_of_layer_0": every} if layer == "0" else {}),
            )
        )
    return rows + _path_rows(two["paths"], two["heads"], row)


def _path_rows(paths: pd.DataFrame, heads: pd.DataFrame, row: Callable[..., Row]) -> list[Row]:
    reads = _is_named(paths["subject"], paths["receiver"].str.split(" ").str[0], heads, "induction")
    whole = paths[reads & (paths["sender"] == "first layer")]
    whole = whole.assign(input=whole["receiver"].str[-1])
    restored = {kind: _each(whole, "effect", "sum", input=kind, variant="patch") for kind in "qkv"}
    turned = _each(whole, "effect", "sum", input="k", variant="random direction")
    keys = paths[reads & paths["receiver"].str.endswith(" k")]
    by_head = keys[keys["sender"].str.startswith("0.")]
    by_head = by_head.assign(back=_is_named(by_head["subject"], by_head["sender"], heads, "previous"))
    from_back = _each(by_head, "effect", "sum", back=True, variant="patch")
    from_back_turned = _each(by_head, "effect", "sum", back=True, variant="random direction")
    says = _is_named(paths["subject"], paths["sender"], heads, "induction") & (paths["receiver"] == "logits")
    said, said_turned = (_each(paths[says], "effect", "sum", variant=v) for v in ("patch", "random direction"))
    others = pd.concat([restored["q"].abs(), restored["v"].abs()])
    return [
        row(
            "paths from the first layer to the induction heads' keys: share of the logit difference restored",
            restored["k"],
            f"≥ .5, and {TIMES_RANDOM:g} × the random direction, in every seed",
            (restored["k"] >= 0.5) & _above(restored["k"], turned),
            random_direction=turned,
            from_embeddings=_each(keys, "effect", "sum", sender="embed", variant="patch"),
        ),
        row(
            "of it from the previous-token heads alone, one at a time",
            from_back,
            f"≥ half of it, and that ≥ .5, and {TIMES_RANDOM:g} × the random direction, in every seed",
            (from_back >= 0.5 * restored["k"]) & (restored["k"] >= 0.5) & _above(from_back, from_back_turned),
            random_direction=from_back_turned,
            from_other_heads=_each(by_head, "effect", "sum", back=False, variant="patch"),
        ),
        row(
            "the same to their queries and values, the larger",
            others.groupby(level=0).max(),
            "≤ .1 in every seed",
            others <= 0.1,
        ),
        row(
            "paths from the induction heads to the logits",
            said,
            f"≥ .5, and {TIMES_RANDOM:g} × the random direction, in every seed",
            (said >= 0.5) & _above(said, said_turned),
            random_direction=said_turned,
        ),
    ]


def _above(share: pd.Series, random: pd.Series) -> pd.Series:
    """Whether a share is so many times that of random directions, whichever way these go."""
    return share >= TIMES_RANDOM * random.abs()


def _layers(table: pd.DataFrame, layers: str) -> pd.DataFrame:
    return table[table["subject"].str.startswith(layers)]


def _each(table: pd.DataFrame, column: str, how: str = "max", **where: Any) -> pd.Series:
    """A number a subject, of the lines whose columns are as said."""
    for name, value in where.items():
        table = table[table[name] == value]
    found: pd.Series = table.groupby("subject")[column].agg(how)
    return found


def _places(heads: pd.DataFrame) -> list[tuple[str, int, int, str]]:
    columns = heads.loc[heads["variant"] == "trained", ["subject", "layer", "head", "named"]]
    return list(columns.itertuples(index=False, name=None))


def _is_named(subjects: pd.Series, places: pd.Series, heads: pd.DataFrame, name: str) -> pd.Series:
    """Whether a place, as `0.1`, is that of a head of this name."""
    chosen = {(subject, f"{layer}.{head}") for subject, layer, head, called in _places(heads) if called == name}
    return pd.Series([pair in chosen for pair in zip(subjects, places, strict=True)], subjects.index, dtype=bool)


def _in_circuit(composition: pd.DataFrame, heads: pd.DataFrame) -> pd.DataFrame:
    """The pairs of a previous-token and an induction head."""
    ends = {
        end: composition[f"{end}_layer"].astype(str) + "." + composition[f"{end}_head"].astype(str)
        for end in ("from", "to")
    }
    before = _is_named(composition["subject"], ends["from"], heads, "previous")
    return composition[before & _is_named(composition["subject"], ends["to"], heads, "induction")]
