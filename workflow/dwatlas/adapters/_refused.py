"""Methods that a user may ask for and that are no adapters here: why their weight difference cannot be studied.

Measured with the pinned PEFT on the test models (four training steps, then merge and reload), or read from its sources
where it fails to run.
"""

from __future__ import annotations

REFUSED = {
    "prompt_tuning": "has no exact weight difference: it adds virtual tokens, no weight changes",
    "multitask_prompt_tuning": "has no exact weight difference: it adds virtual tokens, no weight changes",
    "p_tuning": "has no exact weight difference: it adds virtual tokens, no weight changes",
    "cpt": "has no exact weight difference: it adds virtual tokens, no weight changes",
    "prefix_tuning": "has no exact weight difference: it adds keys and values, no weight changes",
    "cartridge": "has no exact weight difference: it adds keys and values, no weight changes",
    "adaption_prompt": "has no exact weight difference: it adds prompts inside the attention, no weight changes",
    "shadow": "has no exact weight difference: a second network runs beside the model, its output depends on the input",
    "lily": "has no exact weight difference: a router chooses its change by the input",
    "xlora": "has no exact weight difference: a router chooses its change by the input",
    "arrow": "has no exact weight difference: a router chooses its change by the input",
    "poly": "has no exact weight difference: its change depends on the task that is given with the input",
    "alora": "has no exact weight difference: it acts only on the tokens after its invocation",
    "lora_bias": "trains a bias, which PEFT cannot merge where the base has none; take lora, or bias",
    "trainable_tokens": "changes embeddings, which are no part of dW here",
    "adamss": "has no exact weight difference: its subspaces are found anew at every load",
    "kasa": "is not the base model at its start: it removes the r smallest singular directions of every weight",
    "para": "is not the base model at its start: it removes a random subspace of every weight; take deft",
    "loftq": "is not the base model at its start: it quantises the base",
    "qlora": "quantises the base, so that no weight of the model that is compared is left to add dW to; take lora",
    "qalora": "acts on a quantised base only; on other weights PEFT trains lora; take lora",
    "eva": "takes its start from activations on training data, without which PEFT trains lora; take lora",
    "corda": "takes its start from activations on training data, without which PEFT refuses it",
    "lora_ga": "takes its start from gradients on training data, and PEFT reloads it wrong",
    "monteclora": "trains on random draws of its own that no seed of a study fixes, with a loss of its own",
    "bone": "is called miss in the pinned PEFT; take miss",
}
"""Kind, as a user would type it (``_`` for ``-``) → what is wrong with it."""


def why_refused(kind: str) -> str | None:
    """``KIND REASON; what to do``, or ``None`` when the kind is not one of them."""
    reason = REFUSED.get(kind.lower().replace("-", "_"))
    if reason is None:
        return None
    return f"{kind} {reason}" if "; take " in reason else f"{kind} {reason}; choose another"
