"""GRPO on one GPU: our rollouts, rewards and logs around the GRPOTrainer of TRL and Unsloth.

args = GRPOArguments(lr=5e-6, num_generations=8)
GRPOTrainer(model, [correctness_reward], args, train_dataset, tokenizer=tokenizer).train()

trainer, arguments, inputs     the public face: what it is given and returns
trl_config, trl_subclass       what TRL is told, and the methods of it that are overridden
rollouts, rollout_batch, rollout_metrics   completions of a step: made, kept, in numbers
batching, prefix_sharing       fewer and shorter forwards with the same gradient
dynamic_sampling               other problems in place of zero-variance groups
output_dir                     no earlier run in it is written over
memory_trial                   the longest step, tried before the first one
"""

from groupwise.framework.grpo_trainer.arguments import GRPOArguments
from groupwise.framework.grpo_trainer.trainer import GRPOTrainer

__all__ = ["GRPOArguments", "GRPOTrainer"]
