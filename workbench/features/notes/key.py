"""What a dictionary is called where people write about its features: a name that outlives its index.

An index is made anew whenever its recording, its settings or its documents change, and it then has another id; a run
may be copied, moved or renamed. What people wrote must still be found. So a dictionary is called by the id of what the
index's columns *are*, which its manifest names among its inputs:

    columns           name
    latents           the id of the dictionary (`saes/NAME`): its weights
    probes            columns, hook, and the id of the table of probes (`probes/NAME`), which has several hooks'
    units, heads      columns, hook, and the subject's id: unit 17 is the same unit in every recording

Another training is another dictionary, whose feature 17 is another feature: it begins with no notes.
"""

from pathlib import PurePosixPath

from models.artifacts import Manifest
from workbench.runs import NAMED, SINGLE

_LATENTS = "latents"
# The folder of the input whose columns an index has; those of units and heads are the subject's.
_FOLDER = {_LATENTS: NAMED["sae"], "probes": NAMED["probes"]}


def dictionary_id(manifest: Manifest) -> str:
    """What the dictionary of an index is called in `Notes`.

    An index that a script made without saying from which dictionary is called by its own id: it has no other name.

    Args:
        manifest: the index's.
    """
    columns = manifest.config.get("columns", _LATENTS)
    paths = {known: PurePosixPath(path) for path, known in manifest.inputs.items()}
    if columns in _FOLDER:
        found = [known for known, path in paths.items() if path.parent.name == _FOLDER[columns]]
    else:
        found = [known for known, path in paths.items() if path.name == SINGLE["model"]]
    if not found:
        return manifest.id
    return found[0] if columns == _LATENTS else f"{columns} of {manifest.config['hook_name']} of {found[0]}"
