"""Slices of a tensor's file: what is read of it, and where a number would stand."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tensor_files import save_tensors
from workbench.features.index.tensors import TensorFile


def test_a_place_is_found_where_numpy_finds_it_in_the_whole(tmp_path):
    rng = np.random.default_rng(0)
    numbers = np.sort(rng.choice(100_000, 5_000, replace=False)).astype(np.int32)
    save_tensors({"position": torch.from_numpy(numbers)}, tmp_path / "codes.safetensors")
    file = TensorFile(tmp_path / "codes.safetensors")

    @given(value=st.integers(-1, 100_001), bounds=st.tuples(st.integers(0, 5_000), st.integers(0, 5_000)))
    @settings(max_examples=200, deadline=None)
    def check(value, bounds):
        start, stop = sorted(bounds)
        found = file.first_not_below("position", value, start, stop)
        assert found == start + np.searchsorted(numbers[start:stop], value)

    check()
