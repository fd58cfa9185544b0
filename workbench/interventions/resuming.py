"""Many patches in one pass of a `Transformer`, without what they cannot change.

What lies below the patched block, and before the patched position, is as in the corrupt run: its residual stream is
taken up where the first patched position enters the patched block, beside the keys and values of the positions before.
As a pass climbs, patches of higher blocks join it. Where heads have been read, a position is on its own to the end of
its block: a patch behind that is made at its position alone, and joins the pass in the next block.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import einops
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.evaluation import accepted
from models.hooks import attached
from models.key_values import KeyValues
from models.transformer import Transformer
from workbench.interventions.metrics import LogitDifference, measured
from workbench.interventions.rerunning import BothRuns, SomePairs, Values, held, patched
from workbench.interventions.sites import Patch, Site

_READING = re.compile(r"blocks\.(\d+)\.(hook_resid_pre|ln1\..+|attn\..+)")
_READ = re.compile(
    r"blocks\.(\d+)\.(attn\.hook_(z|result)|hook_attn_out|hook_resid_(mid|post)|hook_mlp_.+|ln2\..+|mlp\..+)"
)
# What is there for each query, and so only at the positions at which a block is asked to write.
_OF_QUERIES = ("hook_q", "hook_rot_q", "hook_attn_scores", "hook_pattern")

Stream = Float[Tensor, "row pos d_model"]


def can_resume(model: Any, hook: str) -> bool:
    """Whether a run can be taken up at a hook: inside the blocks of a `Transformer` to which nothing is attached."""
    known = _READ.fullmatch(hook) or _READING.fullmatch(hook)
    return type(model) is Transformer and known is not None and not attached(*model.hook_dict.values())


def entry(hook: str) -> int:
    """The block that a patch's first changed stream enters."""
    if found := _READ.fullmatch(hook):
        return int(found[1]) + 1
    found = _READING.fullmatch(hook)
    assert found is not None
    return int(found[1])


@dataclass(frozen=True)
class CorruptRun:
    """What the corrupt run left: before each block and after the last the stream, and in each what heads read.

    Attributes:
        stream: [seq, pos, d_model].
        k, v, z: [seq, pos, head, d_head]; keys with their positions.
        logits: [seq, pos, d_vocab], where a metric wants them whole.
        values: the metric of it.
    """

    stream: list[Tensor]
    k: list[Tensor]
    v: list[Tensor]
    z: list[Tensor]
    logits: Tensor | None
    values: Float[Tensor, " seq"]

    @classmethod
    def of(cls, model: Transformer, both: BothRuns) -> "CorruptRun":
        """Of a run in which the hooks of `kept_hooks` were read."""
        parts = {part: [both.corrupt[name] for name in names] for part, names in _kept_by_part(model).items()}
        return cls(**parts, logits=both.output, values=both.of_corrupt)


def kept_hooks(model: Transformer) -> list[str]:
    """What must be read of the corrupt run for others to be resumed from it."""
    return [name for names in _kept_by_part(model).values() for name in names]


def _kept_by_part(model: Transformer) -> dict[str, list[str]]:
    blocks = range(len(model.blocks))
    keys = "hook_k" if model.cfg.rotary_dim is None else "hook_rot_k"
    heads = {"k": keys, "v": "hook_v", "z": "hook_z"}
    stream = [f"blocks.{b}.hook_resid_pre" for b in blocks] + [f"blocks.{blocks[-1]}.hook_resid_post"]
    return {"stream": stream} | {part: [f"blocks.{b}.attn.{name}" for b in blocks] for part, name in heads.items()}


def both_runs(model: Transformer, given: SomePairs, hooks: Sequence[str], of_corrupt: Sequence[str] = ()) -> BothRuns:
    """`BothRuns.of`, of a transformer to which nothing is attached.

    The two share a pass where both fit into one, and where `LogitDifference` is measured nothing else is read out.
    """
    asked, end = type(given.metric) is LogitDifference, f"blocks.{len(model.blocks) - 1}.hook_resid_post"
    return_type, ends = (None, [end]) if asked else ("logits", [])
    of_clean, of_both = ([*dict.fromkeys([*hooks, *more, *ends])] for more in ((), of_corrupt))
    if 2 * len(given) <= given.rows:
        batch = {name: torch.cat([given.clean[name], x]) for name, x in accepted(model, given.corrupt).items()}
        output, values = held(model, batch, of_both, given.rows, return_type)
        halves = {name: value.chunk(2) for name, value in values.items()}
        clean, corrupt = ({name: half[i] for name, half in halves.items()} for i in (0, 1))
        outputs = (None, None) if asked else output.chunk(2)
    else:
        first, clean = held(model, given.clean, of_clean, given.rows, return_type)
        second, corrupt = held(model, given.corrupt, of_both, given.rows, return_type)
        outputs = (first, second)
    values_of = [
        _at_the_end(model, given, held_there[end]) if asked else given.measured(output)[0]
        for held_there, output in zip((clean, corrupt), outputs, strict=True)
    ]
    return BothRuns(clean, corrupt, outputs[1], values_of[0], values_of[1])


def _at_the_end(model: Transformer, given: SomePairs, stream: Stream) -> Float[Tensor, " seq"]:
    """The logit difference, read out of the stream after the last block at the positions alone that it reads."""
    metric = given.metric
    assert isinstance(metric, LogitDifference)
    asked = metric.asked(given.seq, stream.shape[1]).to(stream.device)
    rows = stream[torch.arange(len(stream), device=stream.device), asked]
    logits = model.unembed(model.ln_final(rows[:, None]))[:, 0]
    return measured(lambda output: metric.of_outputs(output, given.seq), logits, given.clean).double().cpu()


def resumed(
    model: Transformer, given: SomePairs, corrupt: CorruptRun, sites: Sequence[Site], patches: Sequence[Patch]
) -> Values:
    """The metric under each of some patches."""
    order = sorted(range(len(patches)), key=lambda i: _turn(sites[patches[i].site].name, patches[i].site))
    passes = [_Pass(model, given, corrupt, sites, [patches[i] for i in order], part) for part in given.passes]
    if type(given.metric) is LogitDifference:  # of a kind of it nobody knows what it reads
        (only,) = passes  # of a metric that is each sequence's own, all fit into one
        found = only.difference(given.metric)
    else:
        # Each pass has some of the sequences under every patch.
        found = given.measured(torch.cat([each.logits() for each in passes]), len(patches))
    return found[torch.tensor(order).argsort()]


def _turn(hook: str, site: int) -> tuple[int, bool, int]:
    """When a patch joins a pass: by the block it enters, those made behind the block before it first."""
    return entry(hook), _READ.fullmatch(hook) is None, site


class _Pass:
    """Some sequences under each of some patches, which are sorted by the block that they enter, and by site."""

    def __init__(
        self,
        model: Transformer,
        given: SomePairs,
        corrupt: CorruptRun,
        sites: Sequence[Site],
        patches: list[Patch],
        part: slice,
    ) -> None:
        self.model, self.corrupt, self.patches, self.part = model, corrupt, patches, part
        self.sites = [site.of(part) for site in sites]
        self.seq = given.seq[part]
        first = [int(s.where.any(0).nonzero()[0, 0]) if s.where.any() else s.where.shape[1] - 1 for s in self.sites]
        self.start = min(first[p.site] if p.part.position is None else p.part.position for p in patches)

    def logits(self) -> Float[Tensor, "row pos d_vocab"]:
        """Of all positions; of those before the first patch, the corrupt run's."""
        assert self.corrupt.logits is not None
        before = _for_each(self.corrupt.logits[self.part, : self.start], len(self.patches))
        return torch.cat([before, self.model.unembed(self.model.ln_final(self._climb(None)))], 1)

    def difference(self, metric: LogitDifference) -> Values:
        """The metric, where the subject is run at the positions alone that it reads."""
        asked = metric.asked(self.seq, self.corrupt.stream[0].shape[1])
        values = self.corrupt.values[self.part].expand(len(self.patches), -1).clone()
        later = asked >= self.start
        if not later.any():
            return values
        positions, index = asked[later].unique(return_inverse=True)
        stream = self._climb((positions - self.start).to(self.model.cfg.device))
        rows = stream.unflatten(0, (len(self.patches), -1))[:, later.nonzero()[:, 0], index]
        logits = self.model.unembed(self.model.ln_final(rows))
        values[:, later] = metric.of_outputs(logits, self.seq[later]).double().cpu()
        return values

    def _climb(self, asked: Int[Tensor, " asked"] | None) -> Stream:
        """The stream after the last block, from the first patched position on, or at those asked for alone."""
        n_blocks, done = len(self.model.blocks), 0
        stream: Stream | None = None
        for depth in range(n_blocks + 1):
            entering = [p for p in self.patches[done:] if entry(self.sites[p.site].name) == depth]
            if entering:
                joining = self._entered(entering, depth, asked if depth == n_blocks else None)
                stream = joining if stream is None else torch.cat([stream, joining])
            if depth < n_blocks and stream is not None:
                reading = [p for p in entering if not _READ.fullmatch(self.sites[p.site].name)]
                stream = self._through(stream, depth, reading, done + len(entering) - len(reading), asked)
            done += len(entering)
        assert stream is not None
        return stream

    def _through(
        self, stream: Stream, depth: int, reading: list[Patch], first: int, asked: Int[Tensor, " asked"] | None
    ) -> Float[Tensor, "row _ d_model"]:
        """One block; patches of what it reads are made on the way."""
        n_patches = len(stream) // len(self.seq)
        past = None
        if self.start:
            before = (x[depth][self.part, : self.start] for x in (self.corrupt.k, self.corrupt.v))
            past = KeyValues.of(*(_for_each(x, n_patches) for x in before))
        last = depth == len(self.model.blocks) - 1
        whole = any(self.sites[p.site].name.endswith(_OF_QUERIES) for p in reading)
        at = asked if last and not whole else None
        with patched(self.model, self.sites, reading, first, at=slice(self.start, None)):
            stream = self.model.blocks[depth](stream, past, at)
        return stream[:, asked] if last and whole and asked is not None else stream

    def _entered(self, entering: list[Patch], depth: int, asked: Int[Tensor, " asked"] | None) -> Stream:
        """What enters a block: the corrupt run's stream, with what patches behind the block before made of it."""
        read = [p for p in entering if _READ.fullmatch(self.sites[p.site].name)]
        by_position = bool(read) and read[0].part.position is not None
        at = slice(self.start, None) if asked is None else asked + self.start
        stream = self.corrupt.stream[depth][self.part]
        if not read:
            return _for_each(stream[:, at], len(entering))
        before, z = (x[depth - 1][self.part] for x in (self.corrupt.stream, self.corrupt.z))
        if not by_position:
            before, z = (_for_each(x[:, at], len(read)) for x in (before, z))
            made = self._written(before, z, depth - 1, read, at=at)
            rest = len(entering) - len(read)
            return torch.cat([made, _for_each(stream[:, at], rest)]) if rest else made
        own = torch.tensor([p.part.position for p in read], device=before.device)
        before, z = (x[:, own].transpose(0, 1).flatten(0, 1)[:, None] for x in (before, z))
        made = self._written(before, z, depth - 1, read, each_its_own=True)
        stream = _for_each(stream[:, self.start :], len(entering)).clone()  # of one patch it is the corrupt run's own
        entered = stream.unflatten(0, (len(entering), -1))[: len(read)]  # a view; those that read come after
        entered[torch.arange(len(read)), :, own - self.start] = made.unflatten(0, (len(read), -1))[:, :, 0]
        return stream if asked is None else stream[:, asked]

    def _written(self, before: Stream, z: Tensor, depth: int, read: list[Patch], **how: Any) -> Stream:
        """The stream after a block of which the heads have read, with patches of what comes then."""
        with patched(self.model, self.sites, read, **how):
            return self.model.blocks[depth].after_reading(before, z)


def _for_each(x: Float[Tensor, "seq pos *rest"], n_patches: int) -> Float[Tensor, "row pos *rest"]:
    return einops.repeat(x, "seq ... -> (patch seq) ...", patch=n_patches)
