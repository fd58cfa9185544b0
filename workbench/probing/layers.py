"""`layer_hooks`: what is compared when the question is in which layer something can be read."""

import re

from models.hooks import HookedModel

# The residual stream and the perceptron of a block; the states of a recurrent layer.
ENDS = (
    "hook_resid_pre",
    "hook_resid_mid",
    "hook_resid_post",
    "mlp.hook_post",
    "hook_mlp_out",
    "rnn.hook_h",
    "rnn.hook_c",
    "rnn_reverse.hook_h",
    "rnn_reverse.hook_c",
)
# What a later block begins with is what the one before it ended with.
REPEATED = re.compile(r".*blocks\.[1-9]\d*\.hook_resid_pre")


def layer_hooks(model: HookedModel) -> list[str]:
    """The residual streams and MLPs of a transformer, or the states of a recurrent subject, in the order they come in.

    Raises `ValueError` for a subject that has none of these.
    """
    found = [name for name in model.hook_dict if name.endswith(ENDS) and not REPEATED.fullmatch(name)]
    if not found:
        raise ValueError(
            f"a {type(model).__name__} has no residual stream, MLP or recurrent state: name its hooks, such as "
            f"{next(iter(model.hook_dict))}."
        )
    return found
