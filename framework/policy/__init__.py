"""The model being tuned: loaded through Unsloth, saved as plain transformers + peft load it."""

from groupwise.framework.policy.loading import Policy, load

__all__ = ["Policy", "load"]
