"""Peak memory and step time of QLoRA GRPO on a real architecture, as an 8 or 10 GiB card sees it.

    python -m benchmarks.gpu_memory [--cards 8 10] [--steps 4]     on a machine with an NVIDIA GPU
    python -m benchmarks.gpu_memory --tiny                         the same code on any machine

Writes benchmarks/results/gpu_memory.md (not with --tiny, which prints). The model has Qwen3-4B's
architecture with random weights: memory and speed need no more. A smaller card is imitated by
ballast: that much of the larger card is taken first, so that autotuners see what is left. Random
weights never end an answer, so completions have full length; rewards are random, so that no group
is without variance. The first steps compile and verify: numbers are of the last.

Each setting runs in a process of its own through `groupwise train`, with the shipped config.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from groupwise.framework.cli.main import main as groupwise
from groupwise.framework.data.toy import make_tokenizer

RESULTS = Path(__file__).parent / "results" / "gpu_memory.md"
GIB = 2**30
QWEN3_4B = {
    "vocab_size": 151_936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
TINY = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cards", type=int, nargs="+", default=[8, 10], help="GiB")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--worker", type=int, metavar="GIB", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    arguments, more = parser.parse_known_args()
    if arguments.worker is not None:
        return worker(arguments.worker, [*arguments.rest, *more])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_parts(folder, TINY if arguments.tiny else QWEN3_4B)
        rows = [measure(card, folder, arguments) for card in arguments.cards]
    text = table(rows, arguments)
    if not arguments.tiny:
        RESULTS.write_text(text, encoding="utf-8")
    print(text)
    return 0


def noise(example: Any, completion: Any) -> float:
    """A reward that differs within every group, and is the same in every run."""
    text = f"{example.id}/{completion.text}".encode()
    return hashlib.blake2b(text, digest_size=2).digest()[0] / 255


def make_parts(folder: Path, architecture: dict[str, int]) -> None:
    """A model folder with random weights, and problems with prompts of about 250 tokens."""
    import torch  # slow, both: not at start-up
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = make_tokenizer()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = Qwen3Config(
        **architecture,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = Qwen3ForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = [
        {"question": f"Problem {n}: " + "how many are there in all? " * 8, "answer": str(n)}
        for n in range(64)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "problems.jsonl").write_text(lines, encoding="utf-8")


def measure(card: int, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run of the card's config; the last step's numbers, or what stopped it."""
    out = folder / f"card-{card}"
    command = [sys.executable, "-m", "benchmarks.gpu_memory", "--worker", str(card)]
    command += ["train", f"qwen3_4b_gsm8k_{card}gb", "--output-dir", str(out), "--name", "run"]
    settings = {
        "model.name": str(folder / "model"),
        "data.train": str(folder / "problems.jsonl"),
        "data.eval": str(folder / "problems.jsonl"),
        "data.answer_after": None,
        "data.config_name": None,
        "training.max_steps": arguments.steps,
        "training.warm_start.enabled": False,
        "rewards.parts": {"noise": {"use": "benchmarks.gpu_memory:noise"}},
        "evaluation.before": False,
        "evaluation.after": False,
    }
    if arguments.tiny:
        settings |= {
            "model.dtype": "float32",
            "model.load_in_4bit": False,
            "model.max_seq_length": 512,
            "data.max_prompt_length": 400,
            "training.max_completion_length": 8,
        }
    for key, value in settings.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    environment = {**os.environ, "UNSLOTH_FUSED_LINEAR_FLASH_MIN_ROWS": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    row: dict[str, Any] = {"card": card, "error": None}
    if done.returncode:
        row["error"] = done.stderr.strip().splitlines()[-1]
        return row
    last = json.loads((out / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    ballast = float((out / "ballast").read_text()) if (out / "ballast").is_file() else 0.0
    row |= {
        "peak_gb": last["memory/peak_gb"] - ballast,
        "step_seconds": last["step_seconds"],
        "rollout_seconds": last["rollout_seconds"],
        "tokens": last["completion_tokens"],
    }
    return row


def worker(card: int, command: list[str]) -> int:
    """Takes all of the GPU but `card` GiB, then runs the command in this process."""
    import torch  # slow: not at start-up

    ballast = None
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        if free > card * GIB:
            size = free - card * GIB
            ballast = torch.empty(size, dtype=torch.uint8, device="cuda")
            out = Path(command[command.index("--output-dir") + 1])
            out.mkdir(parents=True)
            (out / "ballast").write_text(str(size / 1e9))
    code = groupwise(command)
    del ballast
    return code


def table(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> str:
    import torch  # slow: not at start-up

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    lines = [
        "# Peak memory of QLoRA GRPO",
        "",
        f"`python -m benchmarks.gpu_memory --cards {' '.join(map(str, arguments.cards))} "
        f"--steps {arguments.steps}` on {device}. Qwen3-4B's architecture, random weights, the "
        "shipped configs. GB = 1e9 bytes, reserved by PyTorch; the CUDA context comes on top.",
        "",
        "| card, GiB | peak GB | step s | rollout s | completion tokens a step |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        if row["error"]:
            lines.append(f"| {row['card']} | failed: {row['error']} | | | |")
        else:
            lines.append(
                f"| {row['card']} | {row['peak_gb']:.2f} | {row['step_seconds']:.2f} "
                f"| {row['rollout_seconds']:.2f} | {row['tokens']:.0f} |"
            )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
