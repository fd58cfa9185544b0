"""What could be made of what a run has, and the command that makes each."""

import shlex

from apps import serve
from apps.text import shell
from models.transformer import Transformer
from workbench.dynamics import has_recurrence
from workbench.features.reading.text import check_reads_text
from workbench.runs import Artifact, Run

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
    found += [(what, verb) for verb, what in _of_subject(run, serve.model(run)) if verb.split()[0] not in verbs]
    return [(what, command(run, verb)) for what, verb in found]


def command(run: Run, verb: str) -> str:
    """A verb with its options, as a command for a run."""
    name, _, options = verb.partition(" ")
    return f"workbench {name} --run {shell(run.path)}{' ' * bool(options)}{options}"


def circuit_verb(run: Run, subject: object) -> str | None:
    """The verb that searches for a circuit, with its options: of a subject without a graph of edges, by its latents.

    None where there is no dictionary of these yet either.
    """
    verb = f"circuit {prompts_of(subject)}"
    if isinstance(subject, Transformer):
        return verb
    dictionaries = [artifact.name for artifact in run.artifacts() if _has_nodes(artifact)]
    return f"{verb} --features {shlex.quote(dictionaries[-1])}" if dictionaries else None


def _has_nodes(artifact: Artifact) -> bool:
    """Whether it is a dictionary whose latents can be nodes: one that writes what it reads, of one hook."""
    cfg = artifact.manifest.config.get("sae", {})
    across = cfg.get("d_out") is not None or cfg.get("n_layers") is not None
    return artifact.kind == "sae" and not artifact.stale and bool(cfg.get("hook_name")) and not across


def prompts_of(subject: object) -> str:
    """The option that gives a subject prompts of its own kind."""
    return "--pairs bracket" if _reads(subject) else "--examples"


def _reads(subject: object) -> bool:
    try:
        check_reads_text(subject)
    except ValueError:
        return False
    return True


def _of_subject(run: Run, subject: object) -> list[tuple[str, str]]:
    """The analyses that fit a subject."""
    found = []
    if any(name.endswith("hook_pattern") for name in getattr(subject, "hook_dict", ())):
        found.append(("heads", "Score every attention head beside its controls"))
    if has_recurrence(subject):
        found.append(("dynamics", "Find its fixed points, and what lies about them"))
    found.append((f"patch {prompts_of(subject)}", "Patch prompts: where it holds what two of them differ in"))
    if _reads(subject):
        found.append(("lens", "Read its layers: what each would say already"))
    if (verb := circuit_verb(run, subject)) is not None:
        parts = "edges" if isinstance(subject, Transformer) else "latents"
        found.append((verb, f"Search the {parts} that an answer goes through"))
    return found
