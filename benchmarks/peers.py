"""Virtual environments of other libraries, made when they are first needed and kept beside the benchmarks."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent / ".peers"


def saelens_python() -> Path:
    """The interpreter of an environment that holds SAELens 6.54, which wants an older TransformerLens than ours."""
    return _environment("saelens", [os.environ.get("TORCH", "torch==2.13.0")], ["sae-lens==6.54.*"])


def dictionary_learning_python() -> Path:
    """The interpreter of an environment that holds dictionary_learning 0.1, which wants nnsight."""
    torch = os.environ.get("TORCH", "torch==2.13.0")
    # Named again, or what it depends on would bring the newest PyTorch. The torchvision that nnsight brings cannot be
    # loaded beside a PyTorch without CUDA, and nothing here needs it.
    return _environment("dictionary_learning", [torch], [torch, "dictionary-learning==0.1.*"], without=["torchvision"])


def sparsify_python() -> Path:
    """The interpreter of an environment that holds sparsify 1.3, which wants a newer transformers than the others."""
    torch = os.environ.get("TORCH", "torch==2.13.0")
    return _environment("sparsify", [torch], [torch, "eai-sparsify==1.3.*"])


def _environment(name: str, *groups: list[str], without: Sequence[str] = ()) -> Path:
    folder = FOLDER / name
    python, stamp = folder / "bin" / "python", folder / ".installed"
    wanted = repr(groups)
    if not stamp.exists() or stamp.read_text("utf8") != wanted:
        print(f"making {folder}: some minutes the first time", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        for group in groups:
            # One after the other: the build of PyTorch is chosen first, and kept by what needs it.
            words = [word for requirement in group for word in requirement.split()]
            subprocess.run([python, "-m", "pip", "install", "--quiet", *words], check=True)
        if without:
            subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", *without], check=True)
        stamp.write_text(wanted, "utf8")
    return python
