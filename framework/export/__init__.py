"""A tuned model in the forms that others load, and the proof that it still answers as it did."""
