"""Several SAEs on one reading of the rows: each as if it had been alone."""

import pytest
import torch

from workbench.sae import SAEConfig, SAETrainConfig, train_sae, train_saes

HOW = SAETrainConfig(n_tokens=64 * 60, batch_size=64, lr=3e-3, checkpoint_every_s=1e-9, log_every=7, dead_after=200)
CONFIGS = [
    SAEConfig(d_in=12, d_sae=48, k=3),
    SAEConfig(d_in=12, d_sae=24, k=2, seed=1, hook_name="a"),
    SAEConfig(d_in=12, d_sae=30, k=2, architecture="batchtopk", hook_name="a"),
    SAEConfig(d_in=12, d_sae=30, architecture="jumprelu", hook_name="a"),
]


class Rows:
    """Endless batches that count how often they are read."""

    def __init__(self, n_read=None, start=0):
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randn(6400, 12, generator=generator).relu() + 1
        self.n_read, self.start = n_read if n_read is not None else [], start

    def resume(self, n_batches):
        return Rows(self.n_read, self.start + n_batches)

    def __iter__(self):
        i = self.start
        while True:
            self.n_read.append(i)
            yield self.x[64 * (i % 100) : 64 * (i % 100 + 1)]
            i += 1


def same(a, b):
    return all(torch.equal(v, b.state_dict()[name]) for name, v in a.state_dict().items())


def test_each_is_what_it_would_have_been_alone_and_the_rows_are_read_once():
    rows = Rows()
    together = train_saes(CONFIGS, rows, HOW)
    assert rows.n_read == list(range(60))
    for cfg, sae in zip(CONFIGS, together, strict=True):
        assert sae.cfg == cfg
        assert same(sae, train_sae(cfg, Rows(), HOW))


@pytest.mark.parametrize("one_ahead", [False, True])
def test_killed_together_they_end_as_uninterrupted(tmp_path, one_ahead):
    outs = [tmp_path / str(i) for i in range(len(CONFIGS))]
    whole = train_saes(CONFIGS, Rows(), HOW)
    at_step = {0: 21, 2: 35} if one_ahead else {3: 35}

    def killed(number, record):
        if at_step.get(number) == record["step"]:
            raise InterruptedError

    for _ in range(len(at_step)):
        with pytest.raises(InterruptedError):
            train_saes(CONFIGS, Rows(), HOW, outs=outs, on_log=killed)
        at_step.pop(min(at_step))
    if one_ahead:
        (outs[1] / "checkpoint.safetensors").unlink()  # killed before its first could be written
    resumed = train_saes(CONFIGS, Rows(), HOW, outs=outs)
    assert all(same(a, b) for a, b in zip(whole, resumed, strict=True))
    untouched = Rows()
    again = train_saes(CONFIGS, untouched, HOW, outs=outs)
    assert untouched.n_read == []
    assert all(same(a, b) for a, b in zip(whole, again, strict=True))


def test_each_reads_the_hooks_that_it_names():
    x = Rows().x
    hooks = {"a": x, "b": x.flip(1) * 2}

    def batches():
        for i in range(60):
            yield {name: rows[64 * i : 64 * (i + 1)] for name, rows in hooks.items()}

    cfgs = [
        SAEConfig(d_in=12, d_sae=24, k=2, hook_name="b"),
        SAEConfig(d_in=12, d_sae=24, k=2, hook_name="a", d_out=12, hook_name_out="b"),
        SAEConfig(d_in=12, d_sae=24, k=2, n_layers=2, hook_names=("a", "b")),
    ]
    plain, transcoder, crosscoder = train_saes(cfgs, batches(), HOW)
    assert same(plain, train_sae(cfgs[0], list(hooks["b"].split(64)), HOW))
    pairs = list(zip(hooks["a"].split(64), hooks["b"].split(64), strict=True))
    assert same(transcoder, train_sae(cfgs[1], pairs, HOW))
    stacked = list(torch.stack([hooks["a"], hooks["b"]], dim=1).split(64))
    assert same(crosscoder, train_sae(cfgs[2], stacked, HOW))


@pytest.mark.parametrize(
    ("cfgs", "hows", "outs", "message"),
    [
        ([], None, None, "no SAE was named"),
        (CONFIGS[:2], [HOW], None, "1 ways to train were given for 2 SAEs"),
        (
            CONFIGS[:2],
            [HOW, SAETrainConfig(n_tokens=64 * 60, batch_size=32)],
            None,
            "share batch_size too: it is 32 and 64",
        ),
        (CONFIGS[:2], None, ["same", "same"], "2 folders were given for 2 SAEs: each needs one of its own"),
        ([SAEConfig(d_in=12, d_sae=24, k=2, d_out=5)], HOW, None, "a transcoder is trained on pairs"),
        ([SAEConfig(d_in=6, d_sae=24, k=2, n_layers=2)], HOW, None, "needs rows of 2 layers of 6"),
        ([SAEConfig(d_in=13, d_sae=24, k=2)], HOW, None, r"shape \(64, 12\), but this SAE needs rows of width 13"),
    ],
)
def test_what_cannot_be_trained_together_is_refused(cfgs, hows, outs, message, tmp_path):
    folders = None if outs is None else [tmp_path / name for name in outs]
    with pytest.raises(ValueError, match=message):
        train_saes(cfgs, Rows(), hows, outs=folders)
