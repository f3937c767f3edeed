"""The policy: the model being tuned, loaded through Unsloth.

policy = load(config.model)

loading         `Policy` and `load`: model, tokenizer, adapter
folders         model folders checked, identified and resolved, without torch
targets         which layers get an adapter, and what is trained
vocabulary      the tokenizer compared with the embedding
merge           an earlier adapter merged into its base model
checkpointing   `use_gradient_checkpointing: auto`
unsloth         Unsloth's import, and the table of all workarounds for libraries
"""

from groupwise.framework.policy.loading import Policy, load

__all__ = ["Policy", "load"]
