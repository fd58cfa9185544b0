"""What two prompts differ in, traced through the subject; circuits; directions; lenses; and steering that was kept."""

import pandas as pd

from apps.export.blocks import (
    Block,
    Cell,
    Column,
    Fact,
    Facts,
    Folded,
    Halves,
    Page,
    Picture,
    Section,
    Table,
    Words,
)  # fmt: skip
from apps.export.cells import change, told
from apps.export.chosen import INTERVENTIONS, VIEWS, Chosen, folder_of
from apps.export.views.attention import with_start
from apps.export.views.circuits import circuit
from apps.text import number, signed, visible
from workbench.experiments import (
    LensReading,
    Patching,
    Steering,
    circuit_results,
    lens_results,
    patching_results,
    read_lens,
    read_patching,
    read_rotations,
    read_steering,
    rotation_results,
    steering_results,
)  # fmt: skip
from workbench.experiments.patching_results import RANDOM_ANSWERS
from workbench.figures import (
    component_bars,
    lens_by_layer,
    lens_map,
    patching_map,
    patching_profile,
    rotation_scores,
    steering_effect,
)  # fmt: skip
from workbench.figures.hook_names import short_hooks
from workbench.interventions.steering import RANDOM, STEERED, UNSTEERED
from workbench.runs import Artifact, Run

_EFFECTS = {"ablation": "effect on the metric"}
_RESTORED = "share of the effect restored"
_PARTS = ("position", "head", "unit")
_ORDER = [UNSTEERED, STEERED, RANDOM]
_OF_ANSWERS = {
    "loss": "loss of the answer, nats",
    "rank": "rank of the answer",
    "probability": "its probability",
    "kl": "KL to the subject's own, nats",
}
_OF_TOKENS = {
    "loss": "loss of the next token, nats",
    "kl": "KL to the subject's own, nats",
    "rank": "rank of the next token",
    "probability": "its probability",
    "agreement": "share where the likeliest is the subject's",
    "entropy": "entropy, nats",
}
_SCORES = {"said": "answers", "effect": "logit difference"}
_PLACES = {"last": "last token", "differ": "where they differ"}


def page(chosen: Chosen) -> Page:
    """The page."""
    drawn = {
        patching_results.VERB: _patching,
        circuit_results.VERB: circuit,
        rotation_results.VERB: _rotations,
        lens_results.VERB: _layers,
        steering_results.VERB: _steering,
    }
    sections = []
    for artifact in chosen.artifacts(INTERVENTIONS):
        title, blocks = drawn[artifact.manifest.config["verb"]](chosen.run, artifact)
        if artifact.stale:
            blocks.append(Words("Stale: something it was made from has changed since.", "alert"))
        sections.append(Section(f"{title}: {artifact.name}", blocks))
    return Page(folder_of(INTERVENTIONS), VIEWS[INTERVENTIONS].title, blocks=sections, view=INTERVENTIONS)


def _patching(run: Run, artifact: Artifact) -> tuple[str, list[Block]]:
    patching, config = read_patching(artifact.path), artifact.manifest.config
    by = " and ".join(config["by"]) or ("set" if config.get("sets") else "hook")
    kind = f"{config['ablation']} ablation" if patching.method == "ablation" else patching.method
    title = f"{kind[0].upper() + kind[1:]} by {by}"
    blocks = [*_about(patching, config["results"]), *_maps(run, patching, artifact.name)]
    left, right = _profile(patching, artifact.name), _answers(patching, artifact.name)
    blocks += [Halves(left, right)] if left and right else [*left, *right]
    if patching.lens_tokens is not None:
        readings = _readings(patching.lens_tokens)
        words = with_start(run, patching.words())
        chart = Picture(lens_map(readings, words), readings, f"words {artifact.name}")
        blocks.append(Section("The likeliest next token, layer by layer", [chart], small=True))
    return title, blocks


def _about(patching: Patching, results: dict) -> list[Block]:
    shown = [
        Fact("Pairs", f"{results['pairs']:,}", "", "Of a clean and a corrupt prompt, equally long."),
        Fact("Clean metric", signed(results["clean"]), "", "Mean logit of the clean answer above the corrupt one's."),
        Fact("Corrupt metric", signed(results["corrupt"]), "", "The same after the corrupt prompts."),
    ]
    if patching.crossing:
        where = short_hooks([patching.crossing])[patching.crossing]
        shown.append(Fact("Reaches the answer at", where, "", "From here on it is the last token that restores most."))
    first = patching.pairs[patching.pairs["pair"] == patching.first].iloc[0]
    changes = ", ".join(f"{visible(patching.words()[at])} → {visible(w)}" for at, w in patching.changed().items())
    answers = f"; the answer is {visible(first['answer'])}, not {visible(first['wrong'])}" if first["answer"] else ""
    notes = [Words(f"For one: {changes or 'another source'}{answers}.")]
    if results["mapped"] < results["pairs"]:
        notes.append(
            Words(f"The map is of the {results['mapped']:,} pairs that are aligned word by word with the first.")
        )
    columns = [
        Column("clean", "prose"),
        Column("corrupt", "prose"),
        Column("answer", "token"),
        Column("wrong", "token"),
        Column("clean metric"),
        Column("corrupt metric"),
    ]
    rows = [
        [
            *(Cell(visible(line[name])) for name in ("clean_text", "corrupt_text", "answer", "wrong")),
            change(line["clean"]),
            change(line["corrupt"]),
        ]
        for line in patching.pairs.to_dict("records")
    ]
    return [Facts(shown), *notes, Folded(f"All {len(rows):,} pairs of prompts", [Table(columns, rows, tall=True)])]


def _maps(run: Run, patching: Patching, name: str) -> list[Block]:
    """Hooks against each part that was patched by itself."""
    table, title = patching.table, _EFFECTS.get(patching.method, _RESTORED)
    along = [part for part in _PARTS if table[part].notna().any()]
    if not along:
        means = table.pivot_table("effect", "hook", "variant", sort=False)
        columns = [Column("hook", "word"), *(Column(str(variant)) for variant in means.columns)]
        rows = [[Cell(str(hook)), *(change(value, 3) for value in means.loc[hook])] for hook in means.index]
        return [Table(columns, rows, f"{title[0].upper() + title[1:]}; random directions beside it")]
    blocks: list[Block] = []
    for part in along:
        for axis in dict.fromkeys(patching.axes.values()):
            own = table[table["hook"].map(patching.axes) == axis]
            words = with_start(run, patching.words(axis), axis) if part == "position" else None
            changed = {at: visible(word) for at, word in patching.changed(axis).items()}
            chart = patching_map(own, words, along=part, changed=changed, title=title)
            of = "Positions of the source. " if axis == "source" else ""
            said = (
                f"{of}The map of random directions is the control: as much is moved, but elsewhere. In brackets stands "
                "the corrupt prompt's word."
            )
            blocks.append(Picture(chart, own, f"map {name} {part} {axis}", said))
    return blocks


def _profile(patching: Patching, name: str) -> list[Block]:
    blocks: list[Block] = []
    if patching.profile is not None:
        short = short_hooks(patching.profile["hook"].unique().tolist())
        table = patching.profile.assign(stage=patching.profile["hook"].map(short))
        said = "Every position of a place patched at once, over all pairs; dashed, random directions."
        picture = Picture(patching_profile(table), table, f"profile {name}", said)
        blocks.append(Section("From the changed word to the answer", [picture], small=True))
    if patching.logit_attribution is not None:
        blocks.append(_parts(patching.logit_attribution, name, "logit difference", "What each part adds to the answer"))
    return blocks


def _parts(table: pd.DataFrame, name: str, what: str, title: str) -> Section:
    total, logit = table["value"].sum(), table["logit"].iloc[0]
    said = (
        f"All parts add up to {signed(total, 3)}: the {what} is {signed(logit, 3)}. "
        f"Grey: what each adds to {RANDOM_ANSWERS} random answers instead."
    )
    return Section(
        title, [Picture(component_bars(table, f"added to the {what}"), table, f"parts {name}", said)], small=True
    )


def _answers(patching: Patching, name: str) -> list[Block]:
    if patching.lens is None:
        return []
    said = "The logit lens after the clean prompts; its controls are rotated streams, and the untrained subject."
    pictures = _by_layer(patching.lens, _OF_ANSWERS, name)
    return [Section("What it would answer already", [*pictures, Words(said)], small=True)]


def _by_layer(table: pd.DataFrame, measures: dict[str, str], name: str) -> list[Block]:
    """The first measure, the others folded away."""
    known = [measure for measure in measures if measure in set(table["measure"])]
    pictures: list[Block] = [
        Picture(
            lens_by_layer(table, measure, measures[measure]),
            table[table["measure"] == measure],
            f"lens {name} {measure}",
        )
        for measure in known
    ]
    others = [Folded("Other measures", pictures[1:])] if len(pictures) > 1 else []
    return [*pictures[:1], *others]


def _readings(tokens: pd.DataFrame) -> pd.DataFrame:
    """The likeliest token of every place and kind of lens, as the figure takes it; of several draws the first."""
    best = tokens[tokens["place"] == 1].drop_duplicates(["variant", "hook", "position"])
    return best.assign(token=best["text"])[["hook", "position", "variant", "token", "probability"]]


def _rotations(run: Run, artifact: Artifact) -> tuple[str, list[Block]]:
    learned, results = read_rotations(artifact.path), artifact.manifest.config["results"]
    facts = [
        Fact("Fitted", f"{results['fitted']:,}", "pairs"),
        Fact("Held out", f"{results['held_out']:,}", "pairs", "All scores are of these, which no search has seen."),
        Fact("Clean metric", signed(results["clean"])),
        Fact("Corrupt metric", signed(results["corrupt"])),
        Fact("Swapped at", _PLACES.get(learned.place, learned.place)),
    ]
    pictures: list[Block] = [
        Picture(rotation_scores(learned.table, score), learned.table, f"rotation {artifact.name} {score}", words)
        for score, words in _SCORES.items()
    ]
    said = (
        "What the subject says after the clean prompts once their values along the learned directions are those of the "
        "corrupt ones. "
        "Beside it: as many random and as many principal directions, what as long a search finds in the untrained "
        "subject, nothing, and everything swapped."
    )
    return "Directions that hold the answer", [Facts(facts), Halves(pictures[:1], pictures[1:]), Words(said)]


def _layers(run: Run, artifact: Artifact) -> tuple[str, list[Block]]:
    lens: LensReading = read_lens(artifact.path)
    fitted = " A tuned lens was fitted on training text; the shuffled one, to the answers of other positions."
    read = artifact.manifest.config["results"]["sequences"]
    said = Words(f"The subject's read-out on {read:,} held-out sequences.{fitted if lens.tuned else ''}")
    beside = Words("Controls: rotated streams, and the untrained subject. Dashed: what counting tokens gives.")
    left: list[Block] = [*_by_layer(lens.table, _OF_TOKENS, artifact.name), beside]
    if lens.prompt is None:
        return "What each layer would say", [said, *left]
    prompt = lens.prompt
    right: list[Block] = [
        Words(
            f"The next token of this text is {visible(prompt.answer)}, probability {number(prompt.probability)}.",
            "plain",
        )
    ]
    if prompt.attribution is not None:
        right.append(_parts(prompt.attribution, f"lens {artifact.name}", "logit", "What adds to it"))
    readings = _readings(prompt.tokens)
    words = Picture(lens_map(readings, with_start(run, prompt.words)), readings, f"lens words {artifact.name}")
    title = "The likeliest next token, layer by layer"
    return "What each layer would say", [said, Halves(left, right), Section(title, [words], small=True)]


def _steering(run: Run, artifact: Artifact) -> tuple[str, list[Block]]:
    kept: Steering = read_steering(artifact.path)
    whole = "" if kept.whole == 1 else f" Strength 1 is {number(kept.whole)} {kept.unit}."
    blocks: list[Block] = [Words(f"Along {kept.direction}, at {kept.hook}.{whole}", "plain")]
    chart = steering_effect(kept.texts, "loss", "loss of the text, nats a token", strength=f"strength, {kept.unit}")
    numbers = kept.texts.drop(columns="tokens")
    said = (
        "How unlikely each text is to the subject when nothing pushes it: blue, pushed along the direction; grey, as "
        "far along random directions; dashed, the text that was written unpushed."
    )
    blocks.append(
        Section("How fluent the text stays", [Picture(chart, numbers, f"fluency {artifact.name}", said)], small=True)
    )
    columns = [
        Column("", "word"),
        Column("strength", "word"),
        Column("text", "prose"),
        Column("perplexity", help="Of these tokens, to the subject unsteered: how fluent the text still is."),
    ]
    for sequence, own in kept.texts.groupby("sequence", sort=True):
        shown = own.drop_duplicates(["variant", "edit"])
        shown = shown.sort_values("variant", key=lambda names: names.map(_ORDER.index), kind="stable")
        rows = [
            [
                Cell(f"{line['variant']} {line['seed'] + 1}" if line["variant"] == RANDOM else str(line["variant"])),
                Cell(str(line["edit"])),
                Cell(visible(line["text"])),
                told(line["perplexity"], 1),
            ]
            for line in shown.to_dict("records")
        ]
        prompt = Words(f"After {visible(own['prompt'].iloc[0])}")
        blocks.append(Folded(f"Prompt {int(sequence) + 1}: {len(rows)} texts", [prompt, Table(columns, rows)]))
    return "Steering", blocks
