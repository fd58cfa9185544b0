"""The other library's side of the exchange: it reads our SAEs and writes its own, and says what each of them gives.

    python sae_exchange_worker.py saelens | dictionary_learning | sparsify  FOLDER

FOLDER holds `x.safetensors` (the rows) and `ours/NAME/`; this adds `theirs/NAME/` and `out.safetensors`, with
`ours.NAME.f`, `ours.NAME.out`, `theirs.NAME.f`, `theirs.NAME.out`. Prints one line of JSON: the class it read each of
ours as, or the error where it refused. It runs in the interpreter of the library it checks, so it imports nothing else.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

D_SAE, K = 256, 8


def shaken(module, seed):
    """The same module with every weight moved, so that each of them acts."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = 0.1 * torch.randn(parameter.shape, generator=generator)
        parameter += noise.abs() if "threshold" in name else noise
    return module


class SAELens:
    """`sae_lens` 6."""

    def read(self, folder):
        from sae_lens import SAE

        sae = SAE.load_from_disk(str(folder), dtype="float32")
        return type(sae).__name__, sae.encode, sae

    def write(self, folder, d):
        import sae_lens

        trained = {
            "standard": (sae_lens.StandardTrainingSAE, sae_lens.StandardTrainingSAEConfig, {}),
            "standard, not centred": (
                sae_lens.StandardTrainingSAE,
                sae_lens.StandardTrainingSAEConfig,
                {"apply_b_dec_to_input": False},
            ),
            "gated": (sae_lens.GatedTrainingSAE, sae_lens.GatedTrainingSAEConfig, {}),
            "gated, not centred": (
                sae_lens.GatedTrainingSAE,
                sae_lens.GatedTrainingSAEConfig,
                {"apply_b_dec_to_input": False},
            ),
            "jumprelu": (sae_lens.JumpReLUTrainingSAE, sae_lens.JumpReLUTrainingSAEConfig, {}),
            "topk": (sae_lens.TopKTrainingSAE, sae_lens.TopKTrainingSAEConfig, {"k": K}),
            "batchtopk": (sae_lens.BatchTopKTrainingSAE, sae_lens.BatchTopKTrainingSAEConfig, {"k": K}),
            "matryoshka_batchtopk": (
                sae_lens.MatryoshkaBatchTopKTrainingSAE,
                sae_lens.MatryoshkaBatchTopKTrainingSAEConfig,
                {"k": K, "matryoshka_widths": [16, 64, D_SAE]},
            ),
        }
        for seed, (name, (module, config, changes)) in enumerate(trained.items()):
            sae = shaken(module(config(d_in=d, d_sae=D_SAE, **changes)), seed)
            if hasattr(sae, "topk_threshold"):
                sae.topk_threshold += 0.7
            sae.save_inference_model(str(folder / name))
        # At run time, not in a training's file.
        config = sae_lens.TopKSAEConfig(d_in=d, d_sae=D_SAE, k=K, rescale_acts_by_decoder_norm=True)
        shaken(sae_lens.TopKSAE(config), 20).save_model(folder / "topk, rescaled")
        half = sae_lens.TopKSAEConfig(d_in=d, d_sae=D_SAE, k=K)
        shaken(sae_lens.TopKSAE(half), 21).to(dtype=torch.bfloat16).save_model(folder / "topk, bfloat16")
        for seed, name in enumerate(("Transcoder", "SkipTranscoder", "JumpReLUTranscoder", "JumpReLUSkipTranscoder")):
            config = getattr(sae_lens, f"{name}Config")(d_in=d, d_sae=D_SAE, d_out=d // 2, apply_b_dec_to_input=False)
            shaken(getattr(sae_lens, name)(config), 30 + seed).save_model(folder / config.architecture())


class DictionaryLearning:
    """`dictionary_learning` 0.1."""

    def read(self, folder):
        from dictionary_learning.utils import load_dictionary

        dictionary, _ = load_dictionary(str(folder), device="cpu")
        return type(dictionary).__name__, dictionary.encode, dictionary

    def write(self, folder, d):
        from dictionary_learning import dictionary as plain
        from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
        from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
        from dictionary_learning.trainers.top_k import AutoEncoderTopK

        groups = [16, 48, D_SAE - 64]
        made = {
            "AutoEncoder": plain.AutoEncoder(d, D_SAE),
            "AutoEncoderNew": plain.AutoEncoderNew(d, D_SAE),
            "GatedAutoEncoder": plain.GatedAutoEncoder(d, D_SAE),
            "JumpReluAutoEncoder": plain.JumpReluAutoEncoder(d, D_SAE),
            "AutoEncoderTopK": AutoEncoderTopK(d, D_SAE, K),
            "BatchTopKSAE": BatchTopKSAE(d, D_SAE, K),
            "MatryoshkaBatchTopKSAE": MatryoshkaBatchTopKSAE(d, D_SAE, K, groups),
        }
        for seed, (name, dictionary) in enumerate(made.items()):
            shaken(dictionary, seed)
            trainer = {"dict_class": name, "activation_dim": d, "dict_size": D_SAE, "lm_name": "demo"}
            if hasattr(dictionary, "k"):
                trainer["k"] = K
                dictionary.threshold.fill_(0.7)
            if hasattr(dictionary, "group_sizes"):
                trainer["group_sizes"] = groups
            (folder / name).mkdir(parents=True)
            (folder / name / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
            torch.save(dictionary.state_dict(), folder / name / "ae.pt")


class Sparsify:
    """`sparsify` 1.3."""

    def read(self, folder):
        from sparsify import SparseCoder

        coder = SparseCoder.load_from_disk(folder)

        def encode(x):
            acts, places, _ = coder.encode(x)
            return torch.zeros(len(x), coder.num_latents).scatter(1, places, acts)

        return type(coder).__name__, encode, lambda x: coder(x).sae_out

    def write(self, folder, d):
        from sparsify import SparseCoder, SparseCoderConfig

        made = {
            "topk": {},
            "transcoder": {"transcode": True},
            "skip transcoder": {"transcode": True, "skip_connection": True},
        }
        for seed, (name, changes) in enumerate(made.items()):
            coder = SparseCoder(d, SparseCoderConfig(num_latents=D_SAE, k=K, **changes))
            shaken(coder, seed).save_to_disk(folder / name)


LIBRARIES = {"saelens": SAELens, "dictionary_learning": DictionaryLearning, "sparsify": Sparsify}


@torch.no_grad()
def main() -> None:
    """Read ours, write theirs, and note what all of them give."""
    library, folder = LIBRARIES[sys.argv[1]](), Path(sys.argv[2])
    rows = load_file(folder / "x.safetensors")
    library.write(folder / "theirs", rows["x"].shape[1])
    read_as, out = {}, {}
    for whose in ("ours", "theirs"):
        for path in sorted((folder / whose).iterdir()):
            try:
                read_as[f"{whose}.{path.name}"], encode, forward = library.read(path)
            except Exception as error:  # what it refuses is part of the answer
                read_as[f"{whose}.{path.name}"] = f"refused: {type(error).__name__}: {error}"
                continue
            x = rows.get(path.name, rows["x"])
            out[f"{whose}.{path.name}.f"], out[f"{whose}.{path.name}.out"] = encode(x), forward(x)
    save_file({name: value.contiguous() for name, value in out.items()}, folder / "out.safetensors")
    print(json.dumps(read_as))


if __name__ == "__main__":
    main()
