"""`metrics.jsonl`: lines of JSON that grow with a training, and go back with it when it is taken up again."""

import json
import math
from pathlib import Path
from typing import Any


class MetricsLog:
    """One line a record, each with its `step`; kept in memory alone where there is no path."""

    def __init__(self, path: Path | None, step: int) -> None:
        """Go on behind `step`: what a killed training logged after its checkpoint is done, and logged, again."""
        self.path = path
        self.lines = [line for line in read_log(path) if line["step"] <= step] if path and path.exists() else []
        if path:
            part = path.with_name(path.name + ".part")
            part.write_text("".join(json.dumps(line) + "\n" for line in self.lines), "utf8")
            part.rename(path)

    def add(self, line: dict[str, Any]) -> None:
        """Append a record; what is not a number is left out of it."""
        line = {k: v for k, v in line.items() if not (isinstance(v, float) and math.isnan(v))}
        self.lines.append(line)
        if self.path:
            with self.path.open("a", encoding="utf8") as file:
                file.write(json.dumps(line) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log, but a last one that a kill cut in two, or that is just being written.

    Raises `ValueError` if a line is no record with a step.
    """
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    found = [json.loads(line) for line in whole.decode("utf8").split("\n") if line]
    if not all(isinstance(line, dict) and "step" in line for line in found):
        raise ValueError("a line of it has no step.")
    return found
