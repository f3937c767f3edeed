"""Grading: find the answer in a text, read it, compare it with the reference."""
