#!/usr/bin/env bash
# Resolves *.in into complete locks. Run by `make lock`, when a version is meant to change.
#
# Unsloth is added by hand: its own requirements name xformers (it takes PyTorch's attention without
# it) and a certifi that registries may not have yet. torchvision is for a GPU alone: its build does
# not load beside a CPU torch.
set -euo pipefail
cd "$(dirname "$0")"
unsloth="unsloth==2026.10.9
unsloth_zoo==2026.10.9"
compile() { uv pip compile --quiet --python-version 3.11 --no-header --no-annotate "$@"; }

{ compile base.in gpu.in; echo "$unsloth"; } | sort -f > gpu.new
grep -vE '^(nvidia-|cuda-|torchvision==)' gpu.new > cpu.new
mv gpu.new gpu.txt
mv cpu.new cpu.txt
compile dev.in > dev.new
comm -23 <(sort -f dev.new) cpu.txt > dev.txt
compile gguf.in > gguf.new
comm -23 <(sort -f gguf.new) cpu.txt > gguf.txt
rm dev.new gguf.new
