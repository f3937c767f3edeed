"""A run's directory and what is kept in it, its processes, its terminal, its machine."""
