"""Attention as pictures: one small PNG a head, which any page shows and the site's script reads."""

import base64
import io

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from apps.export.blocks import Head

_BLUE = (47, 134, 201)  # `palette.TRAINED`


def head(name: str, pattern: Float[Tensor, "query key"]) -> Head:
    """A head's attention: blue whose opacity is the root of the weight, in 255ths, as a `data:` URL.

    The root, as in the explorer: small weights are to be seen. Opacity, so that one picture serves both themes.
    """
    opacity = (pattern.clamp(0, 1).sqrt() * 255).round().numpy().astype(np.uint8)
    picture = Image.fromarray(opacity, mode="P")
    picture.putpalette(bytes(_BLUE) * 256)
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=bytes(range(256)), optimize=True)
    return Head(name, f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}")
