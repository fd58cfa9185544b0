"""One file an architecture: how rows are encoded, what sparsity costs while training, and what is saved."""

from workbench.sae.architectures.batchtopk import BatchTopK
from workbench.sae.architectures.gated import Gated
from workbench.sae.architectures.jumprelu import JumpReLU
from workbench.sae.architectures.matryoshka_batchtopk import MatryoshkaBatchTopK
from workbench.sae.architectures.standard import Standard
from workbench.sae.architectures.topk import TopK

__all__ = ["BatchTopK", "Gated", "JumpReLU", "MatryoshkaBatchTopK", "Standard", "TopK"]
