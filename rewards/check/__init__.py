"""Proof that rewards do what they should on a user's own data."""
