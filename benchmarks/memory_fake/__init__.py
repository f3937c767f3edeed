"""The memory plan beside the same run under fake tensors: real shapes, no data, no GPU.

| file | what is in it |
|---|---|
| `cases.py` | two models, and the settings of training and sampling that are measured |
| `tracker.py` | bytes that live, by part |
| `training.py` | a training step in Unsloth's code: forward, loss, backward, optimiser |
| `checkpointing.py` | Unsloth's checkpointing, with buffers that can be fake |
| `head.py` | Unsloth's log-probabilities in tiles, and its loss |
| `generation.py` | a rollout of the slot engine |
| `plan.py` | the plan for a case |
| `report.py` | the tables |

Models, counter and Unsloth's kernels are those of `benchmarks.gpu_figures`.
"""
