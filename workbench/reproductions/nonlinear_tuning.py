"""A population whose tuning is non-linear and mixed: recurrent decoders read it better than linear ones."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.signal import lfilter
from sklearn.base import clone

from probes.population import KalmanFilter, WienerCascade, WienerFilter
from probes.population.base import Decoder
from probes.population.scores import r2
from workbench.decoding import RecurrentDecoder
from workbench.figures import decoding_scores
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.error_curves import scores_over_seeds

TITLE = "Non-linear tuning, read by linear and by recurrent decoders"
PAPER = "Glaser et al. 2020, Machine learning for neural decoding (eNeuro 7:4); Wu et al. 2003"

N_BINS, N_NEURONS, DT = 20_000, 60, 0.05
FITTED_SHARE, HELD_OUT_SHARE = 0.8, 0.1
# Seconds: how long a velocity and a position last, and a neuron's own past.
VELOCITY, POSITION, PAST = 0.3, 2.0, 0.2
LOG_BASE, FATIGUE, FASTEST = (1.5, 2.5), 0.3, 90.0
# How much of the tuning to velocity is the same wherever the hand is, how steeply the rest depends on it, and what
# position adds by itself.
SAME, STEEP, OWN = 0.2, 1.5, 0.5
LAGS, PENALTIES = (10, 20), (10.0, 100.0, 1000.0)
WIENER, CASCADE, KALMAN = "Wiener filter", "Wiener cascade", "Kalman filter"
CELLS = {"tanh RNN": "rnn", "GRU": "gru", "LSTM": "lstm"}
LSTM = "LSTM"
# R² of velocity in S1 (x, y), of the published notebooks.
PUBLISHED = {
    KALMAN: ".689, .673",
    WIENER: ".725, .717",
    CASCADE: ".731, .734",
    "tanh RNN": ".824, .803",
    "GRU": ".838, .836",
    LSTM: ".848, .841",
}
GAIN, MORE, ABOVE_NULL = 0.05, 0.02, 0.3
TRUE, MOVED = "true", "moved"


def reproduce(bench: Bench) -> list[Row]:
    """Read velocity by each decoder from the same bins, and velocities moved along the recording, as a control."""
    lines = []
    for seed in range(5 if bench.full else 1):
        recording = Recording.simulate(N_BINS, N_NEURONS, np.random.default_rng(seed))
        for variables, velocity in ((TRUE, recording.velocity), (MOVED, np.roll(recording.velocity, N_BINS // 2, 0))):
            for name in PUBLISHED:
                bench.tell(f"seed {seed}: {variables} velocities, {name}")
                score = read(name, recording.counts, velocity, seed)
                lines.append({"seed": seed, "decoder": name, "variables": variables, "r2": score})
    found = pd.DataFrame(lines)
    bench.table("scores", found)
    variants = found["variables"].map({TRUE: "decoder", MOVED: "shuffled"})
    drawn = scores_over_seeds(found.assign(variant=variants), "r2")
    bench.table("r2_by_decoder", drawn, decoding_scores(drawn, interval="all seeds"))
    return rows_of(found)


@dataclass(frozen=True)
class Recording:
    """Counts of neurons that are tuned to the velocity of a hand, each more or less so, or the other way, by position.

    The log rate of neuron i is `b + (c·v) (SAME + tanh(STEEP k·p)) + OWN k·p − FATIGUE h`: c and k are directions of
    its own, and h its spikes so far, forgotten within `PAST`. So the same velocity is told otherwise elsewhere, and
    what elsewhere is must be gathered from the past: p is the leaky integral of v.

    Attributes:
        counts: of spikes in bins of `DT`.
        velocity: v, of variance 1 and smooth.
        position: p, of variance 1; nobody is asked for it.
    """

    counts: Float[np.ndarray, "bin neuron"]
    velocity: Float[np.ndarray, "bin 2"]
    position: Float[np.ndarray, "bin 2"]

    @classmethod
    def simulate(cls, n_bins: int, n_neurons: int, rng: np.random.Generator) -> "Recording":
        """One recording, without a break."""
        lasts = np.exp(-DT / VELOCITY)
        velocity = _standard(_leaky(_leaky(rng.standard_normal((n_bins, 2)), lasts), lasts))
        position = _standard(_leaky(velocity, np.exp(-DT / POSITION)))
        c, k = (_directions(rng.uniform(0, 2 * np.pi, n_neurons)) for _ in range(2))
        along = position @ k
        drive = rng.uniform(*LOG_BASE, n_neurons) + (velocity @ c) * (SAME + np.tanh(STEEP * along)) + OWN * along
        counts, past, forgets = np.empty((n_bins, n_neurons)), np.zeros(n_neurons), np.exp(-DT / PAST)
        for t in range(n_bins):
            counts[t] = rng.poisson(DT * np.minimum(np.exp(drive[t] - FATIGUE * past), FASTEST))
            past = forgets * past + counts[t]
        return cls(counts, velocity, position)


def read(name: str, counts: Float[np.ndarray, "bin neuron"], velocity: Float[np.ndarray, "bin 2"], seed: int) -> float:
    """R² of the velocity in the last part of a recording, read by a decoder fitted to the first.

    A Kalman filter's state has the acceleration in it too, without which its law of motion is none of a smooth
    velocity.
    """
    n = round(FITTED_SHARE * len(counts))
    asked = np.c_[velocity, np.gradient(velocity, DT, axis=0)] if name == KALMAN else velocity
    decoder = chosen(candidates(name, seed), counts[:n], asked[:n]).fit(counts[:n], asked[:n])
    told = decoder.predict(counts[n:])[:, :2]
    return float(r2(velocity[n:], told, (None, None)).mean())


def candidates(name: str, seed: int) -> list[Decoder]:
    """Decoders of one kind, with as many settings as are tried."""
    if name == KALMAN:
        return [KalmanFilter()]
    if name in CELLS:
        return [RecurrentDecoder(CELLS[name], held_out_share=HELD_OUT_SHARE, seed=seed)]
    kind = WienerFilter if name == WIENER else WienerCascade
    return [kind(lags, alpha=penalty) for lags in LAGS for penalty in PENALTIES]


def chosen(decoders: list[Decoder], counts: Float[np.ndarray, "bin neuron"], y: Float[np.ndarray, "bin d"]) -> Decoder:
    """The decoder that is best on the end of these bins, as large a part as recurrent decoders hold out; unfitted."""
    if len(decoders) == 1:
        return decoders[0]
    n = round((1 - HELD_OUT_SHARE) * len(counts))
    scores = [clone(decoder).fit(counts[:n], y[:n]).score(counts[n:], y[n:]) for decoder in decoders]
    return decoders[int(np.argmax(scores))]


def rows_of(found: pd.DataFrame) -> list[Row]:
    """R² of each decoder beside that of moved velocities, and the two orders."""

    def of(name: str, variables: str = TRUE) -> np.ndarray:
        part = found[(found["decoder"] == name) & (found["variables"] == variables)]
        return part.sort_values("seed")["r2"].to_numpy()

    n = found["seed"].nunique()
    rows = []
    for name, published in PUBLISHED.items():
        true, moved = of(name), of(name, MOVED)
        rows.append(
            Row(
                f"{name}: R² of the velocity; {n} seed(s)",
                published,
                f"{spread(true.tolist())}; of moved velocities {spread(moved.tolist())}",
                f"≥ {ABOVE_NULL} above moved ones in every seed",
                bool((true - np.maximum(moved, 0) >= ABOVE_NULL).all()),
            )
        )
    gain, more = of(LSTM) - of(WIENER), of(KALMAN) - of(WIENER)
    return [
        *rows,
        Row(
            "LSTM less Wiener filter",
            "about .12",
            spread(gain.tolist()),
            f"≥ {GAIN} in every seed",
            bool((gain >= GAIN).all()),
        ),
        Row(
            "Kalman filter less Wiener filter",
            "about −.04",
            spread(more.tolist()),
            f"≤ {MORE} in every seed",
            bool((more <= MORE).all()),
        ),
    ]


def _leaky(x: Float[np.ndarray, "bin d"], keeps: float) -> Float[np.ndarray, "bin d"]:
    return lfilter([1.0], [1.0, -keeps], x, axis=0)


def _standard(x: Float[np.ndarray, "bin d"]) -> Float[np.ndarray, "bin d"]:
    return (x - x.mean(0)) / x.std(0)


def _directions(angle: Float[np.ndarray, " neuron"]) -> Float[np.ndarray, "2 neuron"]:
    return np.stack([np.cos(angle), np.sin(angle)])
