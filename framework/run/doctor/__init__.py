"""What `groupwise doctor` looks at. It runs where nothing else does: standard library only.

diagnosis, findings     the diagnosis as a whole; one finding
known                   the known mismatches: what each does, what to do, where it is known from
installed, packages     versions, requirements, builds and doubles, from metadata and files
system                  the machine, its settings and its NVIDIA cards
children, reading       probes in processes of their own; findings from what they report
torch_probe             what torch sees, asked in such a process
report, scrub           as text, Markdown and JSON; without names, paths and tokens
"""
