"""Supervised, offline and reward-model training, and what all trainers share."""
