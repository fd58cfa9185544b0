"""Whether other libraries read what this workbench saves, and it what they save, with equal outputs.

Each library runs in an environment of its own (`sae_exchange_worker.py`). Compared are activations and reconstructions
of the same rows, for every architecture that both sides have, both ways.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.peers import dictionary_learning_python, saelens_python, sparsify_python
from workbench.sae import SAE, SAEConfig, build_sae, load_sae, save_sae

BAR = 1e-5
D_IN, D_SAE, K, N_ROWS = 64, 256, 8, 512
WORKER = Path(__file__).with_name("sae_exchange_worker.py")
PYTHONS = {
    "saelens": saelens_python,
    "dictionary_learning": dictionary_learning_python,
    "sparsify": sparsify_python,
}
WITH_K = ("topk", "batchtopk", "matryoshka_batchtopk")
ARCHITECTURES = ("standard", "topk", "batchtopk", "jumprelu", "gated", "matryoshka_batchtopk")
TRANSCODERS = {"transcoder": {"d_out": D_IN // 2}, "skip transcoder": {"d_out": D_IN // 2, "skip": True}}
# What each library is asked to read.
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "saelens": {name: {"architecture": name} for name in ARCHITECTURES}
    | {f"{name} {kind}": {"architecture": name} | TRANSCODERS[kind] for name in ARCHITECTURES for kind in TRANSCODERS}
    | {"topk crosscoder": {"architecture": "topk", "n_layers": 2}},
    "dictionary_learning": {name: {"architecture": name} for name in ARCHITECTURES},
    "sparsify": {
        "topk": {"architecture": "topk"},
        "topk transcoder": {"architecture": "topk", "d_out": D_IN},
        "topk skip transcoder": {"architecture": "topk", "d_out": D_IN, "skip": True},
    },
}
# What of it has no class there.
LACKING = {"saelens": [f"{name} {kind}" for name in ("topk", "gated") for kind in TRANSCODERS]}


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Compare both ways, print every case and return a row for each library and way: its largest difference."""
    del quick  # it takes seconds as it is
    rows = []
    for library in PYTHONS:
        ours, theirs = _exchange(library)
        for way, found in ((f"{library} reads ours", ours), (f"ours reads {library}'s", theirs)):
            for case, value in found.items():
                print(f"{way}: {case:<60}{value:>10.1e}", flush=True)
            worst = max(found, key=lambda case: found[case])
            rows.append(
                {
                    "name": f"{way}: largest difference of {len(found)} cases ({worst})",
                    "value": found[worst],
                    "unit": "",
                    "ratio": None,
                    "bar": BAR,
                    "passed": found[worst] <= BAR,
                }
            )
    return rows


@torch.no_grad()
def _exchange(library: str) -> tuple[dict[str, float], dict[str, float]]:
    """The largest difference of activations or reconstructions in each case: ours read by them, theirs by us."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N_ROWS, D_IN, generator=generator)
    wide = torch.randn(N_ROWS, 2 * D_IN, generator=generator)
    made = {name: _shaken(fields, generator) for name, fields in CASES[library].items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case, sae in made.items():
            save_sae(sae, folder / "ours" / case, layout=library)
        save_file({"x": x, "topk crosscoder": wide}, folder / "x.safetensors")
        command = [PYTHONS[library](), WORKER, library, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{library} could not be asked: {done.stderr[-2000:]}")
        read_as = json.loads(done.stdout.splitlines()[-1])
        out = load_file(folder / "out.safetensors")
        read = {path.name: load_sae(path) for path in sorted((folder / "theirs").iterdir())}
    ours, theirs = {}, {}
    for case, sae in made.items():
        answer = read_as[f"ours.{case}"]
        if case in LACKING.get(library, ()):
            ours[f"{case}, which it refuses"] = 0.0 if answer.startswith("refused") else float("inf")
        elif answer.startswith("refused"):
            raise RuntimeError(f"{library} cannot read our {case}: {answer}")
        else:
            rows = wide.unflatten(1, (2, D_IN)) if sae.cfg.kind == "crosscoder" else x
            ours[f"{case} as {answer}"] = _difference(sae, rows, out, f"ours.{case}")
    for case, sae in read.items():
        theirs[f"{case} as {sae.cfg.architecture} {sae.cfg.kind}"] = _difference(sae, x, out, f"theirs.{case}")
    return ours, theirs


def _shaken(fields: dict[str, Any], generator: torch.Generator) -> SAE:
    """An SAE whose every weight acts, its decoder's rows of unit length as in a finished one."""
    k = K if fields["architecture"] in WITH_K else None
    sae = build_sae(SAEConfig(d_in=D_IN, d_sae=D_SAE, k=k, hook_name="blocks.0.mlp.hook_post", **fields))
    for name, value in sae.state_dict().items():
        noise = 0.1 * torch.randn(value.shape, generator=generator)
        value.add_(noise.abs() if name == "threshold" else noise)
    if fields["architecture"] in ("batchtopk", "matryoshka_batchtopk"):
        sae.get_buffer("threshold").fill_(0.7)
    sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True))
    return sae


def _difference(sae: SAE, x: torch.Tensor, out: dict[str, torch.Tensor], which: str) -> float:
    f, rebuilt = sae.encode(x), sae(x).flatten(1)
    if not f.any():
        raise RuntimeError(f"{which}: no latent is active, which compares nothing.")
    found = [f - out[f"{which}.f"], rebuilt - out[f"{which}.out"]]
    return max(difference.abs().max().item() for difference in found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
