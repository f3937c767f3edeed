"""What the commands do, once their arguments are known: one module a command, with its `run`."""
