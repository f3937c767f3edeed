"""The `groupwise` command: one module per command, imported only when that command is run.

main           arguments in, exit code out; the table of commands
common         config, overrides and runs from parsed arguments; JSON output
options        options that several commands share
aliases        option names of older GRPO scripts, as other names of config keys
train, ...     each command: its options (`add_options`) and what it does (`run`)
"""

from groupwise.framework.cli.main import main

__all__ = ["main"]
