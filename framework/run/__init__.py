"""A run's directory and what is kept in it, its processes, its terminal, its machine.

directory, resume        the run's folder: created, locked, opened, resumed
inputs                   the files that a run began with, by content
checkpoints, stop        which checkpoint is whole; Ctrl-C, and a closed window
metrics, tracking        `metrics.jsonl`; Weights & Biases and trackio
health, health_checks, health_history   what goes wrong in a run, found from its numbers
time_left, speeds        hours to the end of a run, as a range; what runs took on this machine
terminal, screen         stages and progress bars; a terminal that may go away
memory                   what is no longer used, given back
killed                   whether the kernel ended the last session for lack of memory
errors, out_of_memory    messages for weights that cannot be written, and for memory that ran out
processes                several processes as one run
machine, doctor          hardware and versions; what is wrong with an installation, and the remedy
"""
