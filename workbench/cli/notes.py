"""`workbench notes`: what people wrote about the features of a run's dictionaries; it goes to and comes from a file."""

import argparse
from collections import Counter
from typing import TYPE_CHECKING, Any

from models.artifacts import ArtifactError
from workbench.cli.console import add_run, finish, run_path, say, table
from workbench.runs import Run

if TYPE_CHECKING:
    import pandas as pd

    from workbench.features.notes.notes import Merged, Notes

_WIDTH = 48  # characters of a note, in the table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument("--dictionary", metavar="NAME", help="of this index or dictionary alone (default: all of them)")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--export", metavar="FILE", help="write all that was ever written about them, as JSON")
    one.add_argument("--import", metavar="FILE", dest="import_", help="merge such a file: nothing is lost or doubled")
    one.add_argument("--list", metavar="NAME", help="the features of one list, in its order")
    one.add_argument("--search", metavar="TEXT", help="features whose label or note has every one of these words")


def run(args: argparse.Namespace) -> None:
    """What `workbench notes` does and prints."""
    from workbench.features.notes.notes import Notes

    source = Run.open(run_path(args.run))
    names = _dictionaries(source, args.dictionary)
    notes = Notes()
    if args.export:
        n = notes.export(args.export, names)
        say(args, f"{args.export} (revisions: {n:,})")
        say(args, f"next: workbench notes --run {args.run} --import {args.export}   # on another machine")
        finish(args, {"path": args.export, "revisions": n})
        return
    merged = notes.import_(args.import_) if args.import_ else None
    if merged:
        _tell_merged(args, merged, names)
    written = _written(notes, names, source)
    if args.list:
        written = _on_list(notes, written, args.list)
    if args.search:
        found = notes.search(args.search)
        keys = set(zip(found["dictionary"], found["feature"], strict=True))
        written = written[[key in keys for key in zip(written["id"], written["feature"], strict=True)]]
    say(args, _told(written) if len(written) else "nothing is written about these features.")
    say(args, f"next: workbench explore --run {args.run}")
    lists = Counter(name for its in written["lists"] for name in its)
    result: dict[str, Any] = {"path": str(notes.path), "lists": lists}
    if merged:
        result["merged"] = {"new": merged.new, "known": merged.known, "conflicts": merged.conflicts}
    finish(args, result | {"notes": written.to_dict("records")})


def _dictionaries(source: Run, wanted: str | None) -> dict[str, str]:
    """What people may have written about in this run: names by `dictionary_id`; an index's before its dictionary's."""
    from workbench.features.notes.key import dictionary_id

    found = [(a.id, a.name) for a in source.artifacts() if a.kind == "sae"]
    found += [(dictionary_id(a.manifest), a.name) for a in source.artifacts() if a.kind == "features"]
    chosen = {known: name for known, name in found if wanted in (None, name)}
    if not chosen:
        there = f"there are {', '.join(sorted({name for _, name in found}))}" if found else "`workbench sae` makes one"
        sought = f"dictionary {wanted!r}" if wanted else "dictionary"
        raise ArtifactError(f"run {source.path} has no {sought}: {there}.")
    return chosen


def _written(notes: "Notes", names: dict[str, str], source: Run) -> "pd.DataFrame":
    """What stands about each feature, its measured name beside it."""
    import pandas as pd

    from workbench.features.notes.key import dictionary_id

    indexes = {dictionary_id(a.manifest): a.path for a in source.artifacts() if a.kind == "features"}
    parts = []
    for known, name in names.items():
        stands = notes.table(known)
        measured: dict[int, str] = {}
        if known in indexes and len(stands):
            found = pd.read_parquet(indexes[known] / "features.parquet", columns=["feature", "name"])
            measured = dict(zip(found["feature"], found["name"], strict=True))
        parts.append(
            stands.assign(dictionary=name, id=known, measured=[measured.get(f, "") for f in stands["feature"]])
        )
    columns = ["dictionary", "id", "feature", "measured", "label", "note", "bookmarked", "lists", "author", "changed"]
    return pd.concat(parts, ignore_index=True)[columns]


def _on_list(notes: "Notes", written: "pd.DataFrame", name: str) -> "pd.DataFrame":
    """The features of a list, in its order."""
    there = sorted({known for lists in written["lists"] for known in lists})
    if name not in there:
        named = f"there are {', '.join(map(_plain, there))}" if there else "there is none yet"
        raise ValueError(f"no list {name!r} has a feature of this run: {named}.")
    order = {key: at for at, key in enumerate(notes.members(name))}
    at = [order.get(key, -1) for key in zip(written["id"], written["feature"], strict=True)]
    return written.assign(at=at).query("at >= 0").sort_values("at").drop(columns="at")


def _tell_merged(args: argparse.Namespace, merged: "Merged", names: dict[str, str]) -> None:
    say(args, f"new revisions: {merged.new:,}; there already: {merged.known:,}")
    if merged.conflicts:
        where = ", ".join(f"{names.get(known, known[:10])} {feature}" for known, feature in merged.conflicts[:8])
        more = f" and {len(merged.conflicts) - 8:,} more" if len(merged.conflicts) > 8 else ""
        say(args, f"written on both sides: {where}{more}. The later words stand; the earlier are in the history.")


def _told(written: "pd.DataFrame") -> str:
    headings = ["feature", "measured name", "label", "★", "note", "lists", "author", "changed (UTC)"]
    rows = [
        [
            str(row.feature),
            _short(row.measured),
            _short(row.label),
            "★" if row.bookmarked else "",
            _short(row.note),
            _short(", ".join(row.lists)),
            _plain(row.author),
            row.changed[:16].replace("T", " "),
        ]
        for row in written.itertuples()
    ]
    if len(set(written["dictionary"])) > 1:
        headings = ["dictionary", *headings]
        rows = [[name, *row] for name, row in zip(written["dictionary"], rows, strict=True)]
    return table(headings, rows)


def _short(text: str) -> str:
    """The beginning of a text, in one line."""
    line = _plain(text)
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"


def _plain(text: str) -> str:
    """What others wrote, with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)
