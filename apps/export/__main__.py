"""`python -m apps.export …`: what `workbench export` starts; its options are the verb's."""

import argparse
import sys
from pathlib import Path

from workbench.cli import export
from workbench.cli.console import finish, run_path, say, size
from workbench.runs import Run

BAD_INPUT, INTERRUPTED = 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Write a site; 2 on bad input."""
    parser = argparse.ArgumentParser(prog="workbench export")
    export.add_arguments(parser)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    # The pages' caches work without a server too, and would say so for each of them.
    from streamlit.logger import set_log_level

    set_log_level("ERROR")
    from apps.export import site
    from apps.export.chosen import chosen
    from models.artifacts import ArtifactError

    try:
        path = Path(args.static).absolute()
        site.check(path, replace=args.replace)
        asked = chosen(Run.open(run_path(args.run)), args)
    except (ValueError, OSError) as error:
        return _refused(error)
    say(args, f"writing {asked.n_pages:,} pages, about a second each …")
    try:
        written = site.write(asked, path)
    except (ArtifactError, OSError) as error:
        return _refused(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    say(args, f"{written.pages:,} pages, {size(written.n_bytes)}: {args.static}")
    for line in asked.left_out():
        say(args, f"  left out: {line}")
    say(args, f"next: open {written.path / 'index.html'} in a browser")
    finish(
        args,
        {
            "path": str(written.path),
            "pages": written.pages,
            "bytes": written.n_bytes,
            "views": asked.views,
            "features": asked.features,
            "left_out": asked.left_out(),
        },
    )
    return 0


def _refused(error: Exception) -> int:
    print(f"workbench export: {error}", file=sys.stderr)  # noqa: T201 - a command
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
