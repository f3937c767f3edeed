"""Supervised, scored-group and reward-model training, and what all trainers share.

sft                    the warm start, and method `sft`
group_scores, group_score_batches   method `group_scores`: offline GRPO; its batches as tensors
reward_model           `groupwise train-reward`
common                 arguments that depend on the machine, and the result of a training
callbacks              logs, health, trackers and stopping, attached to a trainer
effective_config       `config.effective.yaml`: the settings as the libraries had them
"""
