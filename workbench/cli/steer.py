"""`workbench steer`: what a subject says while it is pushed along a direction, beside random directions."""

import argparse
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.console import add_run, finish, number, run_path, say, table
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    from workbench.experiments import Steering
    from workbench.experiments.directions import Direction

STRENGTHS = (0.5, 1.0, 2.0, 4.0)
# Prompts whose texts a person reads.
SHOWN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument("--prompt", nargs="+", required=True, metavar="TEXT", help="what the subject goes on from")
    parser.add_argument(
        "--towards", nargs="+", metavar="TEXT", help="push to the mean of what stands at the hook on these texts"
    )
    parser.add_argument("--from", nargs="+", metavar="TEXT", dest="away", help="and from its mean on these")
    parser.add_argument(
        "--feature", metavar="DICTIONARY/NUMBER", help="push along a latent of a dictionary that has an index instead"
    )
    parser.add_argument(
        "--probe",
        metavar="NAME/LABEL",
        help="push along a probe of a table instead; of a label of several classes NAME/LABEL=CLASS",
    )
    parser.add_argument(
        "--hook",
        metavar="HOOK",
        help="where (default: the stream after the first layer, or the first state; of a feature its dictionary's; "
        "of a probe where the label is read best)",
    )
    parser.add_argument(
        "--strengths",
        nargs="+",
        type=float,
        default=list(STRENGTHS),
        metavar="S",
        help="shares of a whole push: from one mean to the other, or to the feature's largest activation "
        "(default: .5 1 2 4)",
    )
    parser.add_argument("--max-new", type=number, default=24, metavar="N", help="tokens of each text (default: 24)")
    parser.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="0 takes the likeliest token (default: 0)"
    )
    parser.add_argument(
        "--controls", type=number, default=3, metavar="N", help="random directions for each strength (default: 3)"
    )
    parser.add_argument("--name", default="steer", help="the result's name (default: steer)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn, and of random directions")
    parser.add_argument("--replace", action="store_true", help="make it anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench steer` does and prints."""
    from workbench.experiments import read_steering

    made = make_steering(
        Run.open(run_path(args.run)),
        args.prompt,
        AskedDirection(args.towards, args.away, args.feature, args.probe, args.hook),
        args.name,
        strengths=args.strengths,
        max_new=args.max_new,
        temperature=args.temperature,
        n_controls=args.controls,
        seed=args.seed,
        replace=args.replace,
    )
    found = read_steering(made.path)
    say(args, f"{made.path}: {found.direction}, at {found.hook}")
    strength = (
        f"strength 1 is {found.whole:.4g} {found.unit}" if found.whole != 1 else f"strengths are shares {found.unit}"
    )
    say(args, f"{strength}; loss in nats a token, to the subject unedited")
    prompts = found.texts.drop_duplicates("sequence")[["sequence", "prompt"]].to_numpy().tolist()
    for sequence, prompt in prompts[:SHOWN]:
        say(args)
        say(args, f"after {prompt!r}")
        say(args, texts_table(found, sequence))
    if len(prompts) > SHOWN:
        say(args, f"… and {len(prompts) - SHOWN} prompts more")
    say(args)
    say(args, effects_table(found))
    say(args, f"next: workbench explore --run {args.run}")
    losses = found.effects[found.effects["measure"] == "loss"]
    of_edit = losses.groupby(["variant", "edit"], sort=False)["value"].mean()
    result = {"path": str(made.path), "id": made.id, "hook": found.hook, "whole": found.whole}
    result |= {"unsteered": float(losses["unsteered"].iloc[0])}
    finish(args, result | {name: of_edit[name].to_dict() for name in dict.fromkeys(losses["variant"])})


@dataclass(frozen=True)
class AskedDirection:
    """Which direction is meant: between texts, a feature's, or a probe's.

    Raises:
        ValueError: several are named or none, or what is named is not whole.
    """

    towards: list[str] | None = None
    away: list[str] | None = None
    feature: str | None = None
    probe: str | None = None
    hook: str | None = None

    def __post_init__(self) -> None:
        texts = self.towards is not None or self.away is not None
        if texts + (self.feature is not None) + (self.probe is not None) != 1:
            raise ValueError("a direction is wanted from one place: --towards with --from, --feature, or --probe.")
        if texts and (self.towards is None or self.away is None):
            raise ValueError("a direction leads from some texts to others: give both --towards and --from.")
        if self.feature is not None and not re.fullmatch(r"[^/]+/\d{1,9}", self.feature):
            raise ValueError(f"{self.feature!r} names no feature: DICTIONARY/NUMBER does, as `workbench ls` names it.")
        if self.probe is not None and not re.fullmatch(r"[^/]+/.+", self.probe):
            raise ValueError(f"{self.probe!r} names no probe: NAME/LABEL does, as `workbench ls` names the table.")
        if self.feature is not None and self.hook is not None:
            raise ValueError("--hook is of texts and probes: a feature is pushed where its dictionary reads.")

    def made_of(self, run: Run) -> list[Artifact]:
        """What it is made from, beside the subject."""
        if self.feature is not None:
            dictionary = run.current("sae", self.feature.rpartition("/")[0])
            return [dictionary, _index_of(run, dictionary)]
        if self.probe is not None:
            probes = run.current("probes", self.probe.partition("/")[0])
            return [probes, run.made_from(probes, "activations")]
        return []

    def of(self, model: Any, made_of: list[Artifact]) -> "Direction":
        """The direction itself. `ValueError` where there is none such."""
        from workbench.activations import ActivationStore
        from workbench.experiments.directions import ProbeTable, feature_direction, text_direction, usual_hook
        from workbench.features import FeatureIndex
        from workbench.interventions import steerable
        from workbench.probing import read_results
        from workbench.sae import load_sae

        if self.feature is not None:
            dictionary, features = made_of
            index, number = FeatureIndex.open(features.path), int(self.feature.rpartition("/")[2])
            largest = float(index.table["max"].iloc[number]) if number < index.n_features else 0.0
            return feature_direction(load_sae(dictionary.path), number, largest, model.hook_dict)
        if self.probe is not None:
            probes, recording = made_of
            table = ProbeTable(read_results(probes.path), probes.manifest.config, ActivationStore.open(recording.path))
            return table.direction(self.probe.partition("/")[2], self.hook)
        assert self.towards is not None
        assert self.away is not None
        return text_direction(model, self.towards, self.away, self.hook or usual_hook(steerable(model)))


def _index_of(run: Run, dictionary: Artifact) -> Artifact:
    """The index that says how strongly a dictionary's latents fire."""
    found = [a for a in run.artifacts() if a.kind == "features" and dictionary.id in a.manifest.inputs.values()]
    if not found:
        raise ValueError(
            f"{dictionary.name} has no index, which says how strongly a feature fires: "
            f"`workbench index --run {run.path}` makes one."
        )
    return run.current("features", found[-1].name)


def make_steering(
    run: Run,
    prompts: list[str],
    asked: AskedDirection,
    name: str = "steer",
    *,
    strengths: list[float] | None = None,
    max_new: int = 24,
    temperature: float = 0.0,
    n_controls: int = 3,
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """What a subject says under some pushes: what is there, or made now."""
    from models.artifacts import publishing
    from models.checked_input import whole_number
    from workbench.experiments.steering import SteeringSettings, check_prompts, steer_prompts
    from workbench.experiments.steering_results import VERB

    for value, what in ((max_new, "the number of new tokens"), (n_controls, "the number of controls")):
        whole_number(value, what, least=1)
    whole_number(seed, "seed")
    shares = list(dict.fromkeys(STRENGTHS if strengths is None else strengths))
    if bad := [share for share in shares if not 0 < abs(share) < float("inf")]:
        raise ValueError(f"a strength is {bad[0]:g}: it must be a number other than zero.")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"the temperature is {temperature:g}: it must be 0 or above.")
    made_of = asked.made_of(run)
    inputs = run.inputs(run.current("model"), *made_of)
    config: dict[str, Any] = {"verb": VERB, "prompts": prompts, **asdict(asked), "strengths": shares}
    config |= {"max_new": max_new, "temperature": temperature, "n_controls": n_controls, "seed": seed}
    if standing(run, "analysis", name, inputs, config, replace=replace) is None:
        model = run.model()
        check_prompts(model, prompts)
        direction = asked.of(model, made_of)
        settings = SteeringSettings(shares, max_new, temperature, n_controls, seed)
        with publishing(run.path_of("analysis", name), "analysis", inputs=inputs, config=config, seed=seed) as draft:
            draft.results |= steer_prompts(model, prompts, direction, Path(draft.path), settings)
        run = run.refresh()
    return run.find("analysis", name)


def texts_table(found: "Steering", sequence: int) -> str:
    """What one prompt went on to: unsteered, under each strength, and along the first random direction."""
    from workbench.interventions.steering import RANDOM

    own = found.texts[found.texts["sequence"] == sequence].drop_duplicates(["variant", "edit"])
    order = {name: at for at, name in enumerate(dict.fromkeys(own["variant"]))}
    ordered = own.sort_values("variant", key=lambda names: names.map(order), kind="stable")
    rows = ordered[["variant", "edit", "loss", "text"]].to_numpy().tolist()
    rows = [[f"the first {name}" if name == RANDOM else name, *rest] for name, *rest in rows]
    return table(["", "strength", "loss", "text"], [[*line, repr(text)] for *line, text in rows])


def effects_table(found: "Steering") -> str:
    """How much less likely texts became to the subject unedited, random directions beside it: means over prompts."""
    losses = found.effects[found.effects["measure"] == "loss"]
    means = losses.pivot_table("effect", "edit", "variant", sort=False)
    ways = list(dict.fromkeys(losses["variant"]))
    rows = [[edit, *means.loc[edit, ways].tolist()] for edit in means.index]
    told = f"rise of the loss from {losses['unsteered'].iloc[0]:.3f} unsteered, mean over prompts and random directions"
    return f"{told}\n{table(['strength', *ways], rows)}"
