"""Supervised, scored-group and reward-model training, and what all trainers share."""
