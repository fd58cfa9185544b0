"""A subject whose files are not as they were written is refused in one sentence that names the file."""

from pathlib import Path

import pytest
from typechecker import unchecked

from models import load_model, save_model
from models.artifacts import ArtifactError
from models.mlp import MLP, MLPConfig


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with unchecked():
        save_model(MLP(MLPConfig(n_layers=1, d_mlp=3, d_in=2, d_out=2)), tmp_path)
    return tmp_path


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000])
def test_a_config_that_is_none(run: Path, content: str) -> None:
    (run / "model" / "config.json").write_text(content)
    with pytest.raises(ArtifactError, match="config.json is damaged"):
        load_model(run)


@pytest.mark.parametrize("content", ["", "{}", '{"model": 1}'])
def test_a_tokenizer_that_is_none(run: Path, content: str) -> None:
    (run / "data").mkdir()
    (run / "data" / "tokenizer.json").write_text(content)
    with pytest.raises(ArtifactError, match="tokenizer.json is damaged: it is no tokenizer") as caught:
        load_model(run)
    assert "\n" not in str(caught.value)
