"""GRPO on one GPU: our rollouts, rewards and logs around the GRPOTrainer of TRL and Unsloth.

args = GRPOArguments(lr=5e-6, num_generations=8)
GRPOTrainer(model, [correctness_reward], args, train_dataset, tokenizer=tokenizer).train()
"""

from groupwise.framework.grpo_trainer.arguments import GRPOArguments
from groupwise.framework.grpo_trainer.trainer import GRPOTrainer

__all__ = ["GRPOArguments", "GRPOTrainer"]
