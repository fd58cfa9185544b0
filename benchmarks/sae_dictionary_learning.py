"""dictionary_learning 0.1, for `sae_worker`: its own loop, without logging or saving."""

from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
from dictionary_learning.trainers.top_k import TopKTrainer
from dictionary_learning.training import trainSAE

from benchmarks.sae_worker import LR

TRAINERS = {
    "topk": TopKTrainer,
    "batchtopk": BatchTopKTrainer,
    "matryoshka_batchtopk": MatryoshkaBatchTopKTrainer,
}


def train(job, batches):
    """Its defaults but for learning rate and schedule; the rows are scaled beforehand, as its option would."""
    scale = batches.rows.square().sum(-1).mean().sqrt()
    batches.rows = batches.rows / scale
    made = []

    def trainer(**config):
        made.append(TRAINERS[job.architecture](**config))
        return made[0]

    config = {
        "trainer": trainer,
        "steps": job.steps,
        "activation_dim": job.d_in,
        "dict_size": job.d_sae,
        "k": job.k,
        "layer": 0,
        "lm_name": "none",
        "lr": LR,
        "warmup_steps": max(1, job.steps // 20),
        "decay_start": job.steps - job.steps // 5,
        "device": "cpu",
        "seed": 0,
    }
    if job.architecture == "matryoshka_batchtopk":
        config["group_fractions"] = [1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2]
    trainSAE(batches, [config], job.steps, device="cpu")
    ae = made[0].ae

    def rebuild(x):
        codes = ae.encode(x / scale, use_threshold=False)
        return codes, ae.decode(codes) * scale

    return rebuild
