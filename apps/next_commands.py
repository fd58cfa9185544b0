"""What could be made of what a run has, and the command that makes each."""

from apps import serve
from apps.text import shell
from models.transformer import Transformer
from workbench.dynamics import has_recurrence
from workbench.features.reading.text import check_reads_text
from workbench.runs import Run

_OF_KINDS = [
    ("activations", "model", "harvest", "Record what its hooks hold"),
    ("sae", "activations", "sae", "Learn a dictionary of a recording"),
    ("features", "sae", "index", "Index the dictionary's features, so that they can be browsed"),
    ("probes", "activations", "probe", "Ask every hook what it tells of every label"),
]


def next_commands(run: Run) -> list[tuple[str, str]]:
    """In words, and as a command: what there is none of yet, though all that it is made from is there."""
    made = run.artifacts()
    kinds = {artifact.kind for artifact in made}
    verbs = {artifact.manifest.config.get("verb") for artifact in made}
    if "model" not in kinds:
        return []
    found = [(what, verb) for kind, of, verb, what in _OF_KINDS if kind not in kinds and of in kinds]
    found += [(what, verb) for verb, what in _of_subject(serve.model(run)) if verb.split()[0] not in verbs]
    return [(what, _command(run, verb)) for what, verb in found]


def _command(run: Run, verb: str) -> str:
    name, _, options = verb.partition(" ")
    return f"workbench {name} --run {shell(run.path)}{' ' * bool(options)}{options}"


def _of_subject(subject: object) -> list[tuple[str, str]]:
    """The analyses that fit a subject."""
    try:
        check_reads_text(subject)
        reads = True
    except ValueError:
        reads = False
    prompts = "--pairs bracket" if reads else "--examples"
    found = []
    if any(name.endswith("hook_pattern") for name in getattr(subject, "hook_dict", ())):
        found.append(("heads", "Score every attention head beside its controls"))
    if has_recurrence(subject):
        found.append(("dynamics", "Find its fixed points, and what lies about them"))
    found.append((f"patch {prompts}", "Patch prompts: where it holds what two of them differ in"))
    if reads:
        found.append(("lens", "Read its layers: what each would say already"))
    if isinstance(subject, Transformer):
        found.append((f"circuit {prompts}", "Search the edges that an answer goes through"))
    return found
