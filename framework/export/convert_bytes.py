"""llama.cpp's converter for a tokenizer that merges nothing, such as the toy's: a program.

    python -m groupwise.framework.export.convert_bytes LLAMA_CPP/convert_hf_to_gguf.py MODEL …

The converter refuses a tokenizer whose way of cutting a text into words it does not recognise.
Where each byte is a token, no way makes a difference, and GPT-2's is named.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    folder = Path(sys.argv[0]).parent
    sys.path[:0] = [str(folder), str(folder / "gguf-py")]
    from conversion.base import TextModel

    TextModel.get_vocab_base_pre = lambda _model, _tokenizer: "gpt-2"
    runpy.run_path(sys.argv[0], run_name="__main__")
