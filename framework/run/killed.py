"""Whether the last session of a run was killed by the kernel for lack of main memory.

    hint = begin_session(run_dir.path)      # "" , or what a notice says
    end_session(run_dir.path)

Who is killed leaves no message. What is left is the file `.session`, which every other end removes,
and the kernel's count of such kills (`oom_kill` in /proc/vmstat), which has risen since.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

from groupwise.evaluation.log.files import write_text

SESSION = ".session"


def begin_session(folder: Path) -> str:
    """Notes that a session begins; returns what is known of the end of the last one."""
    now, before = _kills(), None
    file = folder / SESSION
    with suppress(OSError, ValueError):
        before = json.loads(file.read_text(encoding="utf-8"))
    if now is not None:
        write_text(file, json.dumps(now))
    if not isinstance(before, dict) or now is None or before.get("boot") != now["boot"]:
        return ""
    kills = before.get("kills")
    if not isinstance(kills, int) or kills >= int(now["kills"]):
        return ""
    return (
        "the last session of this run was killed, and since it began the kernel has killed for "
        "lack of main memory (out-of-memory killer). Close other programs, or lower "
        "training.completions_per_forward and training.max_rows, which leave the result the same"
    )


def end_session(folder: Path) -> None:
    """The session ends by itself, in whatever way."""
    with suppress(OSError):
        (folder / SESSION).unlink(missing_ok=True)


def _kills() -> dict[str, str | int] | None:
    """Which boot of the machine this is, and its count of processes killed for their memory."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        found = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text("ascii"), re.M)
        return {"boot": boot, "kills": int(found[1])} if found else None
    return None
