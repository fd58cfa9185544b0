"""The bench: all that happens between a trained network and the screen."""

import importlib.util
from pathlib import Path

_HOUSE = Path(__file__).resolve().parent.parent


def _refuse_shadows() -> None:
    """`models` and `probes` are common names: another folder's would be imported in place of ours."""
    for name in ("models", "probes"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != _HOUSE / name / "__init__.py":
            where = found or (spec and list(spec.submodule_search_locations or [])) or "nowhere"
            raise ImportError(
                f"workbench needs its own package {name!r}, but Python finds {where} first: rename that file or "
                "folder, or run Python with -P so that the script's folder does not come first."
            )


_refuse_shadows()
