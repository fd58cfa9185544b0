"""One training of a TopK SAE, by this workbench or by SAELens, on rows that both make alike.

    python sae_worker.py ours | saelens  STEPS  D_IN  D_SAE  K

Prints one line of JSON: tokens per second, and what is explained of rows that were not trained on. It runs in the
interpreter of the library it measures, so it imports nothing else.
"""

import json
import sys
import time

import torch

BATCH = 4096
LR = 3e-3
# Batches that are made; the trainings go round in them.
DISTINCT = 24


def make_rows(d_in: int, seed: int = 0) -> torch.Tensor:
    """[DISTINCT + 1, BATCH, d_in]: sparse sums of 4·d_in unit directions whose frequencies follow Zipf's law."""
    generator = torch.Generator().manual_seed(seed)
    n_features, active = 4 * d_in, 12
    directions = torch.nn.functional.normalize(torch.randn(n_features, d_in, generator=generator), dim=1)
    frequency = 1 / torch.arange(1, n_features + 1)
    rows = torch.empty(DISTINCT + 1, BATCH, d_in)
    for batch in rows:
        chosen = torch.multinomial(frequency.expand(BATCH, -1), active, generator=generator)
        strength = 0.5 + torch.rand(BATCH, active, generator=generator)
        batch.copy_(torch.nn.functional.embedding_bag(chosen, directions, per_sample_weights=strength, mode="sum"))
    return rows


def endless(rows: torch.Tensor):
    while True:
        yield from rows


def explained_variance(x: torch.Tensor, x_hat: torch.Tensor) -> float:
    variance = (x - x.mean(0)).square().sum()
    return 1 - ((x - x_hat).square().sum() / variance).item()


def train_ours(rows, steps, d_in, d_sae, k):
    from workbench.sae import SAEConfig, SAETrainConfig, train_sae

    train_cfg = SAETrainConfig(n_tokens=steps * BATCH, batch_size=BATCH, lr=LR)
    start = time.perf_counter()
    sae = train_sae(SAEConfig(d_in=d_in, d_sae=d_sae, k=k), endless(rows), train_cfg)
    return sae, time.perf_counter() - start


def train_saelens(rows, steps, d_in, d_sae, k):
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sae = TopKTrainingSAE(
        TopKTrainingSAEConfig(d_in=d_in, d_sae=d_sae, k=k, normalize_activations="expected_average_only_in")
    )
    cfg = SAETrainerConfig(
        total_training_samples=steps * BATCH,
        train_batch_size_samples=BATCH,
        lr=LR,
        lr_end=LR / 10,
        lr_warm_up_steps=steps // 20,
        lr_decay_steps=steps // 5,
        n_batches_for_norm_estimate=4,
    )
    trainer = SAETrainer(cfg=cfg, sae=sae, data_provider=endless(rows))
    start = time.perf_counter()
    sae = trainer.fit()
    return sae, time.perf_counter() - start


def main() -> None:
    """Train once and report."""
    library, *numbers = sys.argv[1:]
    steps, d_in, d_sae, k = map(int, numbers)
    torch.set_num_threads(2)
    torch.manual_seed(0)
    rows = make_rows(d_in)
    train = {"ours": train_ours, "saelens": train_saelens}[library]
    sae, seconds = train(rows[:-1], steps, d_in, d_sae, k)
    with torch.no_grad():
        explained = explained_variance(rows[-1], sae(rows[-1]))
    print(json.dumps({"tokens_per_s": steps * BATCH / seconds, "explained_variance": explained}))


if __name__ == "__main__":
    main()
