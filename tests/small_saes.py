"""Small dictionaries whose every weight matters, and their outputs by formulas written out."""

import torch

from workbench.sae import SAE, SAEConfig, build_sae

D_IN, D_SAE, K = 8, 24, 3
OWN = {
    "standard": {},
    "topk": {"k": K},
    "batchtopk": {"k": K},
    "jumprelu": {},
    "gated": {},
    "matryoshka_batchtopk": {"k": K, "matryoshka_widths": (4, 10, D_SAE)},
}
KINDS = {
    "sae": {},
    "transcoder": {"d_out": 6, "hook_name_out": "blocks.0.hook_mlp_out"},
    "skip": {"d_out": 6, "skip": True, "hook_name_out": "blocks.0.hook_mlp_out"},
    "crosscoder": {"n_layers": 2, "hook_names": ("a", "b")},
}


def small_sae(architecture: str = "topk", kind: str = "sae", **config) -> SAE:
    """A dictionary whose weights are all random, its decoder's rows of any length."""
    names = {"hook_name": "blocks.0.mlp.hook_post", "model_name": "tiny"}
    cfg = {"d_in": D_IN, "d_sae": D_SAE, "architecture": architecture, "seed": 5} | names
    sae = build_sae(SAEConfig(**(cfg | OWN[architecture] | KINDS[kind] | config)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in sae.state_dict().items():
            noise = 0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
            value.add_(noise.abs() if name == "threshold" else noise)
        if architecture in ("batchtopk", "matryoshka_batchtopk"):
            sae.threshold.fill_(0.4)
    return sae


def rows(n: int = 50, d: int = D_IN, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Rows to read."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(dtype)


def weights_like(shapes: dict[str, tuple[int, ...]], dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Random weights of these shapes; thresholds on both sides of zero."""
    generator = torch.Generator().manual_seed(3)
    return {name: 0.5 * torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def top_k(pre: torch.Tensor, k: int) -> torch.Tensor:
    """ReLU of the k largest of each row, all else zero."""
    values, places = pre.topk(k, dim=1)
    return torch.zeros_like(pre).scatter(1, places, values.relu())
