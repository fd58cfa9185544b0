"""This workbench, for `sae_worker`."""

import torch

from benchmarks.sae_worker import LR
from workbench.sae import SAEConfig, SAETrainConfig, build_sae, train_saes
from workbench.sae.encoding import encode_largest, pre_activations

WITH_K = ("topk", "batchtopk", "matryoshka_batchtopk")


def train(job, batches):
    """As many as are asked for, of different seeds, on one reading of the batches."""
    k = job.k if job.architecture in WITH_K else None
    cfgs = [SAEConfig(job.d_in, job.d_sae, k, job.architecture, seed=seed) for seed in range(job.n)]
    # A latent counts as dead as late as in a training of two million rows, of which these steps might be the first.
    how = SAETrainConfig(n_tokens=job.steps * job.batch, batch_size=job.batch, lr=LR, dead_after=100_000)
    sae = train_saes(cfgs, batches, how)[0]

    def rebuild(x):
        if k is None or job.architecture == "topk":
            codes = sae.encode_sparse(x)
        else:  # of a batch, as while training: a threshold's running mean has not settled after so few steps
            codes = encode_largest(x, sae.W_enc, sae.b_enc, sae.b_in, len(x) * k)
        return codes.to_dense(job.d_sae), sae.decode(codes)

    return rebuild


def product_seconds(job, rows, clock):
    """How long the encoder's product of one batch takes by itself."""
    sae = build_sae(SAEConfig(job.d_in, job.d_sae, job.k)).requires_grad_(False)
    seconds = []
    for _ in range(4):
        start = clock()
        for _ in pre_activations(rows, sae.W_enc, sae.b_enc, torch.float32):
            pass
        seconds.append(clock() - start)
    return min(seconds)
