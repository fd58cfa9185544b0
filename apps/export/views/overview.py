"""The first page: which run and subject, how to read the site, what is in it and what is not."""

from apps.export.blocks import Block, Bullets, Cell, Column, Fact, Facts, Page, Section, Table, Words
from apps.export.chosen import VIEWS, Chosen, folder_of, site_name
from apps.text import moment, size

FILE = "index.html"
# What a subject's config may have, in the order in which it is told.
_SHAPE = {
    "cell": "Cell",
    "attention": "Attention",
    "n_layers": "Layers",
    "d_model": "Width",
    "n_heads": "Heads",
    "d_mlp": "MLP",
    "d_in": "Input",
    "d_vocab": "Vocabulary",
    "n_ctx": "Context",
}
_HOW = [
    "Every number stands beside its control: a random direction, the untrained subject, labels dealt out anew. Where "
    "the control is as good, there is nothing to see.",
    "F1, precision and recall of a feature are of its name, on documents that took no part in choosing it; the best "
    "single neuron for the same concept stands beside them.",
    "Point at a token, a mark of a figure or a cell of a pattern to read its value; figures have their numbers below "
    "them, as a table and as CSV.",
    "J and K lead from feature to feature. Headings of tables sort them; the address keeps what was asked.",
    "All pages are files: nothing is fetched, and nothing is sent. Without JavaScript tables and figures are there all "
    "the same, but for notes, sorting and attention in large.",
]


def page(chosen: Chosen, made: str) -> Page:
    """The page."""
    used = {artifact.path for artifact in chosen.used()}
    contents = [
        [
            Cell(VIEWS[view].title, href=folder_of(view)),
            Cell(", ".join(dict.fromkeys(artifact.name for artifact in chosen.artifacts(view)))),
        ]
        for view in chosen.views
    ]
    made_of = [
        [
            Cell(artifact.kind),
            Cell(artifact.name),
            Cell(size(artifact.n_bytes)),
            Cell(artifact.id[:12]),
            Cell(moment(artifact.manifest.made.get("time", ""))),
            Cell("stale" if artifact.stale else "whole"),
            Cell("yes" if artifact.path in used else "no"),
        ]
        for artifact in chosen.run.artifacts()
    ]
    columns = [
        Column("kind", "word"),
        Column("name", "text"),
        Column("size"),
        Column("id", "word"),
        Column("made", "word"),
        Column("state", "word"),
        Column("shown here", "word"),
    ]
    stale = any(artifact.stale for artifact in chosen.used())
    minded = [Words("Stale: something it was made from has been replaced since, or is gone.", "alert")] if stale else []
    blocks: list[Block] = [
        *_subject(chosen),
        Section("What is in it", [Table([Column("page", "word"), Column("made from", "prose")], contents)]),
        Section("How to read it", [Bullets(_HOW)]),
        Section("Left out", [Bullets(chosen.left_out())]),
        Section("What the run holds", [Table(columns, made_of), *minded]),
    ]
    return Page(FILE, site_name(chosen.run), f"A run of the workbench as it stood on {made}.", blocks, "")


def _subject(chosen: Chosen) -> list[Block]:
    """The subject's shape and the data that it learned, as their manifests say."""
    facts = []
    for artifact in chosen.run.artifacts():
        config = artifact.manifest.config
        if artifact.kind == "model":
            facts.append(Fact("Architecture", str(config.get("architecture", "–")).replace("_", " ")))
            for key, name in _SHAPE.items():
                value = config.get(key)
                if value is not None and not isinstance(value, dict | list):
                    facts.append(Fact(name, f"{value:,}" if isinstance(value, int) else str(value)))
        elif artifact.kind == "dataset":
            task = config.get("task")
            learned = str(task["name"]).replace("_", " ") if isinstance(task, dict) else config.get("corpus")
            if learned:
                facts.append(Fact("Learned", str(learned)))
            if "n_tokens" in config:
                facts.append(Fact("Tokens", f"{config['n_tokens']:,}"))
    return [Facts(facts)] if facts else []
