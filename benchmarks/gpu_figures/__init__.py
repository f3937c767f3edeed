"""What sampling and training cost at Qwen3-4B's real shapes, counted without a GPU.

| file | what is in it |
|---|---|
| `counter.py` | a dispatch mode: operations that launch kernels, bytes they move, bytes that live |
| `products.py` | what a product with a 4-bit weight costs, by card and number of rows |
| `model.py` | the model out of fake tensors: real shapes, no data, NF4 from shapes |
| `sampling.py` | counts of one step of `slots`, of `generate` and of stock Unsloth |
| `training.py` | counts of a forward and backward through Unsloth's training code |
| `unsloth_kernels.py` | Unsloth's Triton kernels as single operations of the right shapes |
| `schedule.py` | rows in flight, over a rollout of answers of random lengths |
| `cards.py` | bandwidths and peaks, and the roofline |
| `counts.py` | everything counted, as one dataclass |
| `report.py` | the tables |
"""
