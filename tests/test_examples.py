"""The examples run from top to bottom, and come to what their prose says."""

import ast
import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an example small; what it printed, and the folder that it was given."""

    def running(name: str) -> tuple[str, Path]:
        monkeypatch.setenv("FOLDER", str(tmp_path))
        monkeypatch.setenv("QUICK", "1")
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out, tmp_path

    return running


def numbers(pattern: str, text: str) -> list[float]:
    """What the groups of a pattern hold where it is found first."""
    found = re.search(pattern, text)
    assert found, f"{pattern} is nowhere in\n{text}"
    return [float(number) for number in found.groups()]


def test_a_neuroscientist_needs_probes_and_numpy_alone():
    """Of what is ours, outside the cell that draws where it can."""
    tree = ast.parse((EXAMPLES / "neuroscientist.py").read_text("utf8"))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} == {"os", "tempfile", "pathlib", "numpy", "probes"}


@pytest.mark.examples
def test_a_neuroscientists_day(run):
    text, folder = run("neuroscientist")
    assert numbers(r"place +(\d+) found", text) == [40]
    assert numbers(r"grid +(\d+) found", text) == [10]
    assert numbers(r"untuned +(\d+) found", text)[0] <= 1
    assert "head-direction cells, mean vector above .4: [50, 51, 52, 53, 54, 55]" in text
    assert {*range(40, 50)} <= {*map(int, re.search(r"neurons \[(.*)\]", text)[1].split(","))}
    linear, by_chance = numbers(r"optimal linear +R² (\S+) \(shuffled (\S+)\)", text)
    (bayes,) = numbers(r"Poisson–Bayes, continuous R² (\S+)", text)
    assert by_chance < 0.1 < linear < 0.7 < 0.9 < bayes
    few, bound_of_few = numbers(r"15 neurons, Poisson–Bayes +error +(\S+) cm, bound +(\S+) cm", text)
    many, bound = numbers(r"60 neurons, Poisson–Bayes +error +(\S+) cm, bound +(\S+) cm", text)
    assert many < 0.7 * few
    assert bound < 0.7 * bound_of_few
    assert bound < many
    assert {"rate_maps.html", "decoding_scores.html", "error_against_bound.json"} <= {p.name for p in folder.iterdir()}


@pytest.mark.examples
def test_a_spiking_population(run):
    text, folder = run("spiking_population")
    distortions = [float(value) for value in re.findall(r"distortion (\S+)", text)]
    assert len(distortions) == 5
    assert distortions[-1] < distortions[0] / 64  # a power of sixteen in N: 1/256 at best, by the law of 1/N²
    assert numbers(r"oscillator: (\S+) Hz", text)[0] == pytest.approx(1.592, rel=0.05)
    assert numbers(r"integrator: held-out error (\S+)", text)[0] < 0.1
    assert "rank 1\n" in text
    for name in ("Wiener filter", "Kalman filter", "Poisson–Bayes"):
        own, by_chance = numbers(rf"{name} +R² (\S+) \(shuffled (\S+)\)", text)
        assert by_chance < 0.3 < 0.95 < own
    assert (folder / "integrator/analyses/decode/result.parquet").exists()


@pytest.mark.examples
def test_a_trained_network(run):
    text, folder = run("trained_rnn")
    assert numbers(r"accuracy (\S+) on", text)[0] > 0.98
    assert numbers(r"stable +0 +(\d+)", text) == [8]
    (edges,) = numbers(r"(\d+) of the cube's 12 edges", text)
    assert edges >= 6
    ((away,), (short,), (far,)) = (
        numbers(pattern, text)
        for pattern in (r"is (\S+) away", r"pushed 20% .*later (\S+)", r"pushed 70% .*later (\S+)")
    )
    assert short < 0.05 * away
    assert far == pytest.approx(away, rel=0.05)
    measured, told = numbers(r"fade by e\^(\S+) a step .*says e\^(\S+)\)", text)
    assert measured == pytest.approx(told, abs=0.05)
    assert {"portrait.html", "spectrum.json"} <= {path.name for path in folder.iterdir()}
    assert (folder / "flip-flop/analyses/dynamics/result.parquet").exists()


@pytest.mark.examples
def test_the_induction_circuit(run):
    """Whichever heads it is that training made, each sentence about them holds, and not of its control."""
    text, folder = run("induction_circuit")

    def of_heads(pattern: str) -> dict[str, list[float]]:
        return {head: [*map(float, values)] for head, *values in re.findall(pattern, text)}

    back = of_heads(r"previous_token +head (0\.\d) +(\S+) +untrained (\S+)")
    again = of_heads(r"induction +head (1\.\d) +(\S+) +untrained (\S+)")
    (looks_back, (seen, _)), (repeats, (matched, _)) = (
        max(scores.items(), key=lambda item: item[1]) for scores in (back, again)
    )
    assert seen > 0.6
    assert matched > 0.9
    assert len(back) == len(again) == 2
    assert all(untrained < 0.2 for scores in (back, again) for _, untrained in scores.values())

    # Its weights copy, and it reads the other head through its keys.
    copying = of_heads(r"\n +1 +(\d) +(\S+) +(\S+) +(\S+)")
    copies, by_chance, untrained = copying[repeats[-1]]
    assert copies > 0.8 > 0.3 > max(by_chance, untrained)
    keys, random, percentile = numbers(rf"\n +K +{looks_back[-1]} +(\S+) +(\S+) +(\S+)", text)
    assert keys > random
    assert percentile > 99

    without, displaced = (
        numbers(rf"{variant} +head {re.escape(looks_back)} +loss (\S+)", text)[0]
        for variant in ("mean, ablation", "mean, random direction")
    )
    assert without > 1 > 0.5 > displaced
    restored, displaced = (
        numbers(rf"{variant} +head {re.escape(looks_back)} +restores (\S+)", text)[0]
        for variant in ("patch", "random direction")
    )
    assert restored > 0.9 > 0.5 > displaced

    links = of_heads(rf"patch +\S+\[{looks_back[-1]}\] → \S+hook_(\w)_input\S+ +(\S+) ")
    assert links.keys() == {*"qkv"}
    assert links["k"][0] > 0.4 > 0.05 > max(abs(links["q"][0]), abs(links["v"][0]))
    together, logit = numbers(r"together (\S+), the logit difference (\S+)", text)
    assert together == pytest.approx(logit, abs=1e-3)
    two, one = numbers(r"two layers (\S+), one layer (\S+)", text)
    assert two < 0.05 < 1 < one
    figures = {"composition.html", "previous_token.html", "logit.html", "heads.html"}
    assert figures <= {path.name for path in folder.iterdir()}
