"""What a dictionary is called where people write about its features: a name that outlives its index.

An index is made anew whenever its recording, its settings or its documents change, and it then has another id; a run
may be copied, moved or renamed. What people wrote must still be found. So a dictionary is called by the id of what the
index's columns *are*, which its manifest names among its inputs:

    columns           name
    latents           the id of the dictionary (`saes/NAME`): its weights
    probes            the id of the table of probes (`probes/NAME`): their directions
    units, heads      columns, hook and the subject's id: neuron 17 is the same neuron in every recording

Another training is another dictionary, whose feature 17 is another feature: it begins with no notes.
"""

from pathlib import PurePosixPath

from models.artifacts import Manifest
from workbench.runs import NAMED, SINGLE

_KIND = {"latents": "sae", "probes": "probes"}  # of the artifact whose columns an index has


def dictionary_id(manifest: Manifest) -> str:
    """What the dictionary of an index is called in `Notes`.

    An index that a script made without saying from which dictionary is called by its own id: it has no other name.

    Args:
        manifest: the index's.
    """
    columns = manifest.config.get("columns", "latents")
    if columns in _KIND:
        folder = NAMED[_KIND[columns]]
        found = [known for path, known in manifest.inputs.items() if PurePosixPath(path).parent.name == folder]
    else:
        ours = (known for path, known in manifest.inputs.items() if PurePosixPath(path).name == SINGLE["model"])
        found = [f"{columns} of {manifest.config['hook_name']} of {known}" for known in ours]
    return found[0] if found else manifest.id
