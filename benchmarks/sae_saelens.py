"""SAELens 6.54, for `sae_worker`: its own trainer, without logging or checkpoints."""

import sae_lens
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer

from benchmarks.sae_worker import LR

NAMES = {
    "topk": "TopK",
    "batchtopk": "BatchTopK",
    "matryoshka_batchtopk": "MatryoshkaBatchTopK",
    "jumprelu": "JumpReLU",
    "standard": "Standard",
    "gated": "Gated",
}


def train(job, batches):
    """Its defaults but for the scaling of the rows, learning rate and schedule, and the coefficients that ours have."""
    warm_up = job.steps // 20
    extra = {
        "topk": {"k": job.k},
        "batchtopk": {"k": job.k},
        "matryoshka_batchtopk": {
            "k": job.k,
            "matryoshka_widths": [job.d_sae // share for share in (16, 8, 4, 2, 1)],
        },
        "jumprelu": {"l0_coefficient": 1.0, "l0_warm_up_steps": warm_up},
        "standard": {"l1_coefficient": 5.0, "l1_warm_up_steps": warm_up},
        "gated": {"l1_coefficient": 5.0, "l1_warm_up_steps": warm_up},
    }[job.architecture]
    name = NAMES[job.architecture]
    config = getattr(sae_lens, f"{name}TrainingSAEConfig")(
        d_in=job.d_in, d_sae=job.d_sae, normalize_activations="expected_average_only_in", **extra
    )
    cfg = SAETrainerConfig(
        total_training_samples=job.steps * job.batch,
        train_batch_size_samples=job.batch,
        lr=LR,
        lr_end=LR / 10,
        lr_warm_up_steps=warm_up,
        lr_decay_steps=job.steps // 5,
        n_batches_for_norm_estimate=4,
    )
    sae = SAETrainer(cfg=cfg, sae=getattr(sae_lens, f"{name}TrainingSAE")(config), data_provider=batches).fit()

    def rebuild(x):
        codes = sae.encode(x)
        return codes.to_dense() if codes.is_sparse else codes, sae.decode(codes)

    return rebuild
