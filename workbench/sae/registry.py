"""The architectures that are known, each under the name that SAELens gives it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.sae.base import SAE

# A subclass of `SAE` enters itself here when its file is imported.
ARCHITECTURES: "dict[str, type[SAE]]" = {}


def architecture_class(name: str) -> "type[SAE]":
    """The class of an architecture; `ValueError` naming those known where there is none of that name."""
    if name not in ARCHITECTURES:
        raise ValueError(f"no SAE architecture is called {name!r}: there are {', '.join(sorted(ARCHITECTURES))}.")
    return ARCHITECTURES[name]
