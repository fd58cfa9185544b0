"""The probes that `workbench probe` fits, by name."""

from functools import partial
from typing import Any

from probes import LDAProbe, LogisticProbe, MassMeanProbe, MLPProbe, SparseProbe

_MADE: dict[str, Any] = {
    "logistic": partial(LogisticProbe, multi_class="one_vs_rest"),  # all labels of a hook by one fit
    "mass_mean": MassMeanProbe,
    "lda": LDAProbe,
    "sparse": SparseProbe,
    "mlp": MLPProbe,
}


def estimator(name: str) -> Any:
    """A probe that is not fitted yet. `KeyError` for a name that is none."""
    return _MADE[name]()
