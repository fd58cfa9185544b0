"""Whether SAELens reads what this workbench saves, and this workbench what SAELens saves, with equal outputs."""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.peers import saelens_python
from workbench.sae import SAE, SAEConfig, build_sae, load_sae, save_sae

BAR = 1e-5

# Runs in SAELens's environment: read our SAE and write what it gives; write one of SAELens's own and what that gives.
PEER = """
import json, sys
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from sae_lens import SAE, TopKTrainingSAE, TopKTrainingSAEConfig

folder = Path(sys.argv[1])
x = load_file(folder / "x.safetensors")["x"]
with torch.no_grad():
    ours = SAE.load_from_disk(str(folder / "ours"))
    print(json.dumps([ours.cfg.architecture(), ours.cfg.k, ours.cfg.metadata.hook_name]))
    torch.manual_seed(0)
    training = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=x.shape[1], d_sae=256, k=8))
    for parameter in training.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    training.save_inference_model(str(folder / "theirs"))
    theirs = SAE.load_from_disk(str(folder / "theirs"))
    out = {"ours.f": ours.encode(x), "ours.x_hat": ours(x), "theirs.f": theirs.encode(x), "theirs.x_hat": theirs(x)}
save_file({name: value.contiguous() for name, value in out.items()}, folder / "out.safetensors")
"""


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Compare both ways, print the table and return its rows: name, value, unit, ratio, bar, passed."""
    del quick  # it takes seconds as it is
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 64, generator=generator)
    ours = build_sae(SAEConfig(d_in=64, d_sae=256, k=8, hook_name="blocks.0.mlp.hook_post", model_name="demo"))
    ours.requires_grad_(False)
    for parameter in ours.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_sae(ours, folder / "ours")
        save_file({"x": x}, folder / "x.safetensors")
        done = subprocess.run([saelens_python(), "-c", PEER, str(folder)], check=True, capture_output=True, text=True)
        read_as = json.loads(done.stdout.splitlines()[-1])
        if read_as != ["topk", 8, "blocks.0.mlp.hook_post"]:
            raise RuntimeError(f"SAELens read our SAE as {read_as}.")
        out = load_file(folder / "out.safetensors")
        theirs = load_sae(folder / "theirs")
    rows = [
        *_rows("SAELens reads ours", ours, x, out, "ours"),
        *_rows("ours reads SAELens's", theirs, x, out, "theirs"),
    ]
    for row in rows:
        print(f"{row['name']:<60}{row['value']:>10.1e}")
    return rows


def _rows(name: str, sae: SAE, x: torch.Tensor, out: dict[str, torch.Tensor], which: str) -> list[dict[str, Any]]:
    found = {"activations": sae.encode(x) - out[f"{which}.f"], "reconstructions": sae(x) - out[f"{which}.x_hat"]}
    return [
        {
            "name": f"saelens: {name}, largest difference of {what}",
            "value": difference.abs().max().item(),
            "unit": "",
            "ratio": None,
            "bar": BAR,
            "passed": difference.abs().max().item() <= BAR,
        }
        for what, difference in found.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
