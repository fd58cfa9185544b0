"""SAEs as other libraries write them: one file a library.

A layout is a config in JSON beside named tensors. `pack` makes both of an SAE, `unpack` an SAE of both; what cannot be
expressed on the other side is refused with one sentence, never written or read as something else.
"""

from workbench.sae.exchange.dictionary_learning import LAYOUT as DICTIONARY_LEARNING
from workbench.sae.exchange.layout import Layout
from workbench.sae.exchange.saelens import LAYOUT as SAELENS
from workbench.sae.exchange.sparsify import LAYOUT as SPARSIFY

LAYOUTS = {"saelens": SAELENS, "dictionary_learning": DICTIONARY_LEARNING, "sparsify": SPARSIFY}

__all__ = ["LAYOUTS", "SAELENS", "Layout"]
