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
    from workbench.attention.results import HeadSurvey
    from workbench.interventions.stand_ins import Ablation

N_TOKENS = 20_000
# Pairs of composing heads in the table a person reads.
SHOWN = 4
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
    from workbench.attention.results import read_heads

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
    for shown in (weights_table(found), importance_table(found)):
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
    from workbench.attention.results import VERB
    from workbench.attention.streaming import pattern_hooks
    from workbench.attention.survey import Settings, survey_heads
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
            draft.results |= survey_heads(model, untrained, data, Path(draft.path), Settings(ablation, seed))
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
    """The head that copies most, and the heads of each kind that compose most, with their percentiles."""
    rows: list[list[Any]] = []
    if found.copying is not None:
        best = found.copying.nlargest(1, "value")
        rows += [["copying", f"{line['layer']}.{line['head']}", *_scores(line)] for line in best.to_dict("records")]
    if found.composition is not None:
        best = found.composition.sort_values("value", ascending=False).groupby("kind", sort=False).head(1)
        for line in best.to_dict("records"):
            ways = f"{line['from_layer']}.{line['from_head']} → {line['to_layer']}.{line['to_head']}"
            rows.append([f"{line['kind']}-composition", ways, *_scores(line)])
    columns = ["weights", "highest", "value", "random's 99%", "percentile", "untrained"]
    return table(columns, rows) if rows else ""


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


def _scores(line: dict[Any, Any]) -> list[Any]:
    return [line["value"], line["random_high"], line["percentile"], line.get("untrained")]
