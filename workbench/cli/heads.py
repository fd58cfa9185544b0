"""`workbench heads`: what each attention head looks at, what its weights compute, and what it costs to lose it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.cli.console import add_run, finish, number, run_path, say, table
from workbench.cli.offered import ABLATIONS
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    from workbench.experiments.heads_results import HeadSurvey
    from workbench.interventions.stand_ins import Ablation

N_TOKENS = 20_000
# Pairs of composing heads in the table a person reads.
SHOWN = 4
_LONGEST = 16  # characters of a token
# Scores of which a low one says something.
_LEAST = ("entropy",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument(
        "--tokens", type=number, default=N_TOKENS, metavar="N", help="of held-out sequences to read (default: 20k)"
    )
    parser.add_argument(
        "--ablation",
        choices=ABLATIONS,
        default="mean",
        help="what stands in for a head where its importance is measured (default: mean)",
    )
    parser.add_argument("--name", default="heads", help="the result's name (default: heads)")
    parser.add_argument("--seed", type=int, default=0, help="of the sequences, random repeats and controls")
    parser.add_argument("--replace", action="store_true", help="make it anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench heads` does and prints."""
    from workbench.experiments.heads_results import read_heads

    made = make_heads(
        Run.open(run_path(args.run)),
        args.name,
        n_tokens=args.tokens,
        ablation=args.ablation,
        seed=args.seed,
        replace=args.replace,
    )
    found = read_heads(made.path)
    n_heads = found.scores[["hook", "head"]].drop_duplicates()
    say(args, f"{made.path}: {len(n_heads)} heads")
    say(args, scores_table(found.scores))
    for shown in (weights_table(found), importance_table(found), moved_line(found)):
        if shown:
            say(args)
            say(args, shown)
    say(args, f"next: workbench explore --run {args.run}")
    best = {f"{text}: {score}": name for text, score, name, *_ in best_heads(found.scores)}
    finish(args, {"path": str(made.path), "id": made.id, "heads": len(n_heads), "best": best})


def make_heads(
    run: Run,
    name: str = "heads",
    *,
    n_tokens: int = N_TOKENS,
    ablation: "Ablation" = "mean",
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """The survey of a subject's heads: the one that is there, or one made now."""
    from models.artifacts import publishing
    from models.checked_input import whole_number
    from models.saving import checkpoint_steps
    from workbench.attention.streaming import pattern_hooks
    from workbench.experiments.heads import SurveySettings, survey_heads
    from workbench.experiments.heads_results import VERB
    from workbench.interventions.stand_ins import refuse_unknown

    whole_number(n_tokens, "the number of tokens", least=1)
    whole_number(seed, "seed")
    refuse_unknown(ablation)
    inputs = run.inputs(run.current("model"), run.current("dataset"))
    config: dict[str, Any] = {"verb": VERB, "n_tokens": n_tokens, "ablation": ablation, "seed": seed}
    if standing(run, "analysis", name, inputs, config, replace=replace) is None:
        model = run.model()
        pattern_hooks(model)  # before anything else is read
        dataset = run.dataset()
        if not len(dataset.sequences("test")):
            raise ValueError(f"{run.path} has no test documents: heads are looked at on sequences that were held out.")
        data = dataset.sample(n_tokens, test_share=1.0, seed=seed).split("test")
        untrained = run.model(step=0) if 0 in checkpoint_steps(run.path) else None
        with publishing(run.path_of("analysis", name), "analysis", inputs=inputs, config=config, seed=seed) as draft:
            draft.results |= survey_heads(model, untrained, data, Path(draft.path), SurveySettings(ablation, seed))
            draft.results["control"] = "untrained" if untrained is not None else "random weights"
        run = run.refresh()
    return run.find("analysis", name)


def best_heads(scores: pd.DataFrame) -> list[list[Any]]:
    """For each text and score: the head that is highest (of entropy: lowest), its value, the control: mean and best."""
    from workbench.figures.hook_names import head_names

    named = scores.assign(name=head_names(scores), rank=scores["value"].where(~_is_least(scores), -scores["value"]))
    named["far"] = named["control_high"].where(~_is_least(scores), named["control_low"])
    best = named.loc[named.groupby(["text", "score"], sort=False)["rank"].idxmax()]
    return best[["text", "score", "name", "value", "control", "far"]].to_numpy().tolist()


def _is_least(scores: pd.DataFrame) -> pd.Series:
    return scores["score"].isin(_LEAST)


def scores_table(scores: pd.DataFrame) -> str:
    """The best head of each score beside its control's heads."""
    rows = [[t, f"{score} (lowest)" if score in _LEAST else score, *rest] for t, score, *rest in best_heads(scores)]
    return table(["text", "score", "head", "value", "control", "its best"], rows)


def weights_table(found: "HeadSurvey") -> str:
    """What weights tell most clearly, a line a kind, each with what random matrices give."""
    rows: list[list[Any]] = []
    if found.copying is not None:
        best = found.copying.nlargest(1, "value")
        rows += [["copying", f"{line['layer']}.{line['head']}", *_scores(line)] for line in best.to_dict("records")]
    if found.composition is not None:
        best = found.composition.sort_values("value", ascending=False).groupby("kind", sort=False).head(1)
        for line in best.to_dict("records"):
            ways = f"{line['from_layer']}.{line['from_head']} → {line['to_layer']}.{line['to_head']}"
            rows.append([f"{line['kind']}-composition", ways, *_scores(line)])
    rows += [*_pair_rows(found), *_direction_rows(found), *_virtual_rows(found), *_position_rows(found)]
    columns = ["weights", "highest", "value", "random's 99%", "percentile", "untrained"]
    return table(columns, rows) if rows else ""


def _pair_rows(found: "HeadSurvey") -> list[list[Any]]:
    """The pair of tokens that stands out most of any head's QK and OV, in standard deviations."""
    from workbench.figures.words import visible

    rows = []
    if found.pairs is not None:
        own, random = (found.pairs[(found.pairs["variant"] == "head") == ours] for ours in (True, False))
        for circuit, pairs in own.groupby("circuit", sort=False):
            best = pairs.loc[pairs["deviations"].idxmax()]
            pair = " → ".join(visible(best[end])[:_LONGEST] for end in ("from_text", "to_text"))
            chance = random.loc[random["circuit"] == circuit, "deviations"].max()
            rows.append([f"{circuit} pair, deviations", f"{_head(best)}: {pair}", best["deviations"], chance])
    return [[*row, None, None] for row in rows]


def _direction_rows(found: "HeadSurvey") -> list[list[Any]]:
    """Of QK and OV the head whose first singular value is farthest above random matrices'."""
    rows: list[list[Any]] = []
    if found.singular is not None:
        first = found.singular[found.singular["direction"] == 0]
        for circuit, own in first.groupby("circuit", sort=False):
            best = own.loc[(own["value"] / own["random_high"]).idxmax()]
            rows.append([f"{circuit}'s first singular value", _head(best), best["value"], best["random_high"]])
    return [[*row, None, None] for row in rows]


def _virtual_rows(found: "HeadSurvey") -> list[list[Any]]:
    """The virtual head that copies most."""
    if found.virtual is None:
        return []
    pairs = found.virtual[found.virtual["to_layer"].notna()]
    best = pairs.loc[pairs["copying"].idxmax()]
    ways = f"{_head(best, 'from_')} → {_head(best, 'to_')}"
    return [["virtual head, copying", ways, best["copying"], best["random_copying_high"], None, None]]


def _position_rows(found: "HeadSurvey") -> list[list[Any]]:
    """The strongest wave of learned positions; where a head looks by position alone; the rotation that is used most."""
    rows: list[list[Any]] = []
    if found.spectrum is not None:
        best = found.spectrum.loc[found.spectrum["value"].idxmax()]
        rows.append(["learned positions, share", f"wave of {best['period']:.3g} positions", *_scores(best)])
    if found.profiles is not None:
        best = found.profiles.loc[(found.profiles["value"] - found.profiles["random_high"]).idxmax()]
        where = "the first" if best["to"] == "first" else f"{best['to']} back"
        rows.append(["by position alone", f"{_head(best)}: {where}", *_scores(best)])
    if found.rotary is not None:
        turned = found.rotary[found.rotary["pair"].notna()]
        best = turned.loc[(turned["value"] - turned["random_high"]).idxmax()]
        wave = f"{_head(best)}: a turn in {best['wavelength']:.3g} positions"
        rows.append(["rotation, share", wave, *_scores(best)])
    return rows


def importance_table(found: "HeadSurvey") -> str:
    """The heads whose loss costs most, beside a change as large in a random direction."""
    from workbench.figures.hook_names import head_names

    if found.importance is None:
        return ""
    named = found.importance.assign(name=head_names(found.importance))
    own, control = (named[named["variant"] == variant] for variant in ("ablation", "random direction"))
    beside = control.groupby("name", as_index=False)["effect"].mean().rename(columns={"effect": "random"})
    worst = own.nlargest(SHOWN, "effect").merge(beside, on="name", how="left")
    rows = worst[["name", "effect", "effect_low", "effect_high", "random"]].to_numpy().tolist()
    kind = named["ablation"].iloc[0]
    return table([f"{kind} ablation of", "rise of the loss", "low", "high", "random direction"], rows)


def _head(line: pd.Series, end: str = "") -> str:
    """A line of whole numbers and others has only others: its head as it is named."""
    return f"{int(line[end + 'layer'])}.{int(line[end + 'head'])}"


def moved_line(found: "HeadSurvey") -> str:
    """The head whose values change most where it looks."""
    from workbench.figures.hook_names import head_names

    if found.moved is None:
        return ""
    own = found.moved[found.moved["measure"] == "shift"]
    best = own.assign(name=head_names(own)).loc[own["value"].idxmax()]
    return (
        f"Values move attention most in head {best['name']}: {best['value']:.0%} of it lies elsewhere once each key is "
        f"weighted by the length of what it gives (control heads: {best['control']:.0%}, at most "
        f"{best['control_high']:.0%})."
    )


def _scores(line: Any) -> list[Any]:
    return [line["value"], line["random_high"], line["percentile"], line.get("untrained")]
