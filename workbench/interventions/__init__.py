"""Interventions: what a subject does when its activations are edited, beside edits as large that mean nothing.

In the order in which they import each other:

- edits: `subspace`, `edits`, `controls`; `positions`, `pairs`, `replacing`, `hooks` (`edit_at`).
- runs: `values` (what stands at hooks), `many` (edits in shared passes), `metrics`, `passes` (any hooks in
  shared passes), `intervals`, `hook_parts` (heads, positions and units of a hook), `gradients`.
- ablation: `masked_keys`, `stand_ins`, `ablation`.
- patching: `sites`, `rerunning`, `resuming`, `patch_plan`, `patching`; `attribution`, `agreement`; `path_patching`.
- reading out: `reading_out`, `tuned_lens`, `lens_rows`, `logit_lens`, `lens_tokens`; `components`,
  `direct_logit_attribution`.
- behaviour: `interchange`, `rotation`; `steering`.
"""

from workbench.interventions.ablation import ablate, ablating
from workbench.interventions.agreement import agreement
from workbench.interventions.attribution import attribution_patching
from workbench.interventions.controls import along_random, random_subspace
from workbench.interventions.direct_logit_attribution import beside_random, direct_logit_attribution
from workbench.interventions.edits import Edit, add, erase, project_out, set_to, swap
from workbench.interventions.hooks import edit_at
from workbench.interventions.interchange import interchange_scores
from workbench.interventions.lens_tokens import lens_tokens
from workbench.interventions.logit_lens import logit_lens, read_outs
from workbench.interventions.metrics import LogitDifference, TargetLoss, restored
from workbench.interventions.patching import activation_patching
from workbench.interventions.path_patching import path_patching
from workbench.interventions.rotation import fit_rotation
from workbench.interventions.steering import steer, steerable, steering_direction, steering_effects
from workbench.interventions.subspace import Subspace
from workbench.interventions.tuned_lens import TunedLens

__all__ = [
    "Edit",
    "LogitDifference",
    "Subspace",
    "TargetLoss",
    "TunedLens",
    "ablate",
    "ablating",
    "activation_patching",
    "add",
    "agreement",
    "along_random",
    "attribution_patching",
    "beside_random",
    "direct_logit_attribution",
    "edit_at",
    "erase",
    "fit_rotation",
    "interchange_scores",
    "lens_tokens",
    "logit_lens",
    "path_patching",
    "project_out",
    "random_subspace",
    "read_outs",
    "restored",
    "set_to",
    "steer",
    "steerable",
    "steering_direction",
    "steering_effects",
    "swap",
]
