"""The policy: the model being tuned, loaded through Unsloth.

policy = load(config.model)
"""

from groupwise.framework.policy.loading import Policy, load

__all__ = ["Policy", "load"]
