"""sparsify 1.3, for `sae_worker`.

Its trainer takes rows from a Hugging Face model only, so its step stands here as `Trainer.fit` and its hook take it,
with its choice of Adam and its schedule, and its auxiliary loss off, as it is unless asked for.
"""

import torch
from sparsify import SparseCoder, SparseCoderConfig
from transformers import get_linear_schedule_with_warmup

from benchmarks.sae_worker import LR


def train(job, batches):
    """The rows are scaled to a mean square of one beforehand: it has no option for that."""
    scale = batches.rows.square().mean().sqrt()
    batches.rows = batches.rows / scale
    sae = SparseCoder(job.d_in, SparseCoderConfig(num_latents=job.d_sae, k=job.k))
    optimizer = torch.optim.Adam(sae.parameters(), lr=LR)
    scheduler = get_linear_schedule_with_warmup(optimizer, job.steps // 20, job.steps)
    since_fired = torch.zeros(job.d_sae, dtype=torch.long)
    for step in range(job.steps):
        x = next(batches)
        if step == 0:
            sae.b_dec.data = x.mean(0)
        sae.set_decoder_norm_to_unit_norm()
        out = sae(x=x, total_variance=(x - x.mean(0)).pow(2).sum())
        did_fire = torch.zeros(job.d_sae, dtype=torch.bool)
        did_fire[out.latent_indices.flatten()] = True
        out.fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        since_fired += len(x)
        since_fired[did_fire] = 0

    def rebuild(x):
        values, indices, pre = sae.encode(x / scale)
        codes = torch.zeros_like(pre).scatter(1, indices, values)
        return codes, sae.decode(values, indices) * scale

    return rebuild
