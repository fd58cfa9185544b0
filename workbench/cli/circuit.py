"""`workbench circuit`: which edges between a subject's parts, and which latents, the answers to prompts go through."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.console import add_run, begin, finish, number, run_path, say, table
from workbench.cli.offered import ABLATIONS, SEARCHES
from workbench.cli.prompt_options import AskedPrompts, add_prompts
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    from workbench.experiments import Circuit
    from workbench.interventions.stand_ins import Ablation
    from workbench.sae import SAE

SHOWN = 8  # lines of each table that a person reads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    add_prompts(parser)
    parser.add_argument(
        "--search",
        choices=SEARCHES,
        default="attribution",
        help="attribution: every edge is scored from gradients, all in a few runs, and the strongest are kept; acdc: "
        "edges are cut one after the other, and what the answer cannot do without is kept (default: attribution)",
    )
    parser.add_argument(
        "--ablation",
        choices=ABLATIONS,
        default="resample",
        help="what stands in for what is cut; resample: what the pair's corrupt prompt has there (default: resample)",
    )
    parser.add_argument(
        "--steps", type=number, metavar="N", help="gradients are taken at N points on the way (default: 5)"
    )
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--edges", type=number, metavar="N", help="of attribution: keep the N strongest (default: 20)")
    kept.add_argument(
        "--threshold",
        type=float,
        metavar="X",
        help="keep what changes the metric by X, in its unit (of acdc, default: a hundredth of the gap between clean "
        "and corrupt)",
    )
    parser.add_argument(
        "--paths", type=number, default=8, metavar="N", help="patch the N strongest one by one; 0: none (default: 8)"
    )
    parser.add_argument(
        "--features",
        nargs="+",
        default=[],
        metavar="DICTIONARY",
        help="dictionaries of the run, each of another hook: which of their latents the answer goes through",
    )
    parser.add_argument(
        "--controls", type=number, default=5, metavar="N", help="random circuits, directions, nodes (default: 5)"
    )
    parser.add_argument("--batch-size", type=number, default=64, metavar="N", help="prompts a pass (default: 64)")
    parser.add_argument("--name", default="circuit", help="the result's name (default: circuit)")
    parser.add_argument("--seed", type=int, default=0, help="of pairs, controls and intervals")
    parser.add_argument("--replace", action="store_true", help="make it anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench circuit` does and prints."""
    begin()
    from workbench.experiments import read_circuit

    made = make_circuit(
        Run.open(run_path(args.run)),
        AskedPrompts.of(args),
        args.name,
        search=args.search,
        ablation=args.ablation,
        steps=args.steps,
        n_edges=args.edges,
        threshold=args.threshold,
        n_paths=args.paths,
        features=args.features,
        n_controls=args.controls,
        batch_size=args.batch_size,
        seed=args.seed,
        replace=args.replace,
    )
    found = read_circuit(made.path)
    told = made.manifest.config["results"]
    say(args, f"{made.path}: {told['pairs']:,} pair{'s' * (told['pairs'] != 1)} of prompts")
    say(args, f"metric: {told['clean']:+.3f} clean, {told['corrupt']:+.3f} corrupt; {args.ablation} ablation")
    if found.edges is not None:
        say(args, f"{told['kept']:,} of {told['edges']:,} edges kept, the strongest:")
        say(args, edges_table(found))
        say(args, faithful_line(found))
    if found.paths is not None:
        say(args, "each path alone, norms recomputed (share restored):")
        say(args, paths_table(found))
    if found.features is not None:
        say(args, "latents (the metric's change without each):")
        say(args, features_table(found))
        say(args, features_line(found))
    say(args, f"next: workbench explore --run {args.run}")
    result = {"path": str(made.path), "id": made.id} | {key: value for key, value in told.items() if key != "tables"}
    finish(args, result | {"share": found.shares, "features": found.feature_shares})


def make_circuit(
    run: Run,
    asked: AskedPrompts,
    name: str = "circuit",
    *,
    search: str = "attribution",
    ablation: "Ablation" = "resample",
    steps: int | None = None,
    n_edges: int | None = None,
    threshold: float | None = None,
    n_paths: int = 8,
    features: Sequence[str] = (),
    n_controls: int = 5,
    batch_size: int = 64,
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """The circuit of pairs of prompts: the one that is there, or searched for now."""
    from models.artifacts import publishing
    from workbench.experiments import CircuitSettings, find_circuit
    from workbench.experiments.circuit import has_graph
    from workbench.experiments.circuit_results import VERB
    from workbench.experiments.circuit_search import N_EDGES, N_STEPS

    if search == "acdc" and n_edges is not None:
        raise ValueError("--edges is of --search attribution: acdc keeps what its --threshold leaves.")
    if search == "acdc" and steps is not None and not features:
        raise ValueError("--steps is of attribution, of edges or of --features: acdc takes no gradients.")
    n_edges, steps = N_EDGES if n_edges is None else n_edges, N_STEPS if steps is None else steps
    settings = CircuitSettings(search, ablation, steps, threshold, n_edges, n_paths, n_controls, batch_size, seed)
    of_threshold = search == "acdc" or threshold is not None
    config: dict[str, Any] = {"verb": VERB, **asked.config, "search": search, "ablation": ablation, "steps": steps}
    config |= {"threshold": threshold, "n_edges": None if of_threshold else n_edges, "n_paths": n_paths}
    config |= {"features": list(features), "n_controls": n_controls, "seed": seed}
    sources = [run.current("sae", of) for of in features]
    inputs = run.inputs(run.current("model"), run.current("dataset"), *sources)
    if standing(run, "analysis", name, inputs, config, replace=replace) is None:
        model = run.model()
        saes, names = dictionaries_of(model, sources)
        has_graph(model, saes)  # refuses before anything is begun
        prompts = asked.read(run, model, seed)
        with publishing(run.path_of("analysis", name), "analysis", inputs=inputs, config=config, seed=seed) as draft:
            draft.results |= find_circuit(model, prompts, saes, Path(draft.path), settings)
            draft.results |= {"dictionaries": names}
        run = run.refresh()
    return run.find("analysis", name)


def dictionaries_of(model: Any, sources: Sequence[Artifact]) -> "tuple[dict[str, SAE], dict[str, str]]":
    """Dictionaries by the hook that they read, and their names. `ValueError` where they cannot be nodes together."""
    from workbench.sae import load_sae

    saes: dict[str, SAE] = {}
    names: dict[str, str] = {}
    for source in sources:
        sae = load_sae(source.path)
        if sae.cfg.kind != "sae":
            raise ValueError(f"{source.name} is a {sae.cfg.kind}: a node of a circuit is a latent of an SAE.")
        hook = sae.cfg.hook_name
        if hook is None:
            raise ValueError(f"{source.name} does not say which hook it was trained on: choose one that does.")
        model.match_hooks(hook)
        if hook in names:
            raise ValueError(f"{names[hook]} and {source.name} are both of {hook}: name one dictionary a hook.")
        saes[hook], names[hook] = sae, source.name
    return saes, names


def edges_table(found: "Circuit") -> str:
    """The strongest edges, beside the mean of the scores that were dealt to them at random."""
    from workbench.experiments.circuit_results import part_name

    rows = [
        [part_name(line.sender), _receiver(line.receiver), float(line.score), float(line.random)]
        for line in found.edge_means.head(SHOWN).itertuples()
    ]
    effect = "metric, cut" if found.search == "attribution" else "further off, cut"
    return table(["from", "to", effect, "dealt at random"], rows)


def faithful_line(found: "Circuit") -> str:
    """What the circuit does alone, what is left without it, and both of random circuits."""
    told = found.shares
    return (
        f"of the whole model's metric: {told['alone']:.2f} by these edges alone (random circuits as large: "
        f"{told['random alone']:.2f}); {told['without']:.2f} without them (without random ones: "
        f"{told['random without']:.2f})"
    )


def paths_table(found: "Circuit") -> str:
    """Each path's effect, beside the mean of random directions."""
    from workbench.experiments.circuit_results import part_name

    rows = [
        [part_name(line.sender), _receiver(line.receiver), float(line.effect), float(line.random)]
        for line in found.path_means.itertuples()
    ]
    return table(["from", "to", "patch", "random direction"], rows)


def features_table(found: "Circuit") -> str:
    """The latents and errors of the largest effects, beside the same written along random directions."""
    rows = [
        [line["hook"], "error" if line["kind"] == "error" else str(line["unit"]), line["effect"], line["random"]]
        for line in found.feature_means.head(SHOWN).to_dict("records")
    ]
    return table(["hook", "latent", "effect", "random direction"], rows)


def _receiver(receiver: str) -> str:
    """A receiver's name, and as what it reads."""
    from workbench.experiments.circuit_results import part_name, read_as

    return f"{part_name(receiver)} {read_as(receiver)}".strip()


def features_line(found: "Circuit") -> str:
    """How many latents, and how many neurons, keep most of the metric."""
    told = found.feature_shares
    shown = "; ".join(
        f"{n} {name}: {share:.2f} (random ones: {random:.2f})" for name, (n, share, random) in told.items()
    )
    return f"kept of the metric by the largest: {shown}"
