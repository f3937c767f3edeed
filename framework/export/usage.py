"""Programs that use an export, for its model card: what the check does, as its reader would.

Each is Python that runs as it is, in the folder of the export.
"""

from __future__ import annotations

from groupwise.framework.export.tuned import Tuned

_QUANTISED = {
    4: """quantization_config=BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype="{dtype}",
    ),""",
    8: "quantization_config=BitsAndBytesConfig(load_in_8bit=True),",
}


def of_adapter(tuned: Tuned) -> str:
    """An adapter on its base model, in the precision of the training."""
    quantised = _QUANTISED.get(tuned.precision.bits, "")
    base = tuned.source.public_base or "path/to/the/base/model"
    classes = ["AutoModelForCausalLM", "AutoTokenizer", "GenerationConfig"]
    if quantised:
        classes.append("BitsAndBytesConfig")
    options = [f'dtype="{tuned.precision.dtype}",', quantised.format(dtype=tuned.precision.dtype)]
    given = "\n    ".join(filter(None, [f"{base!r},", *options]))
    return f"""from peft import PeftModel
from transformers import {", ".join(sorted(classes))}

folder = "."
tokenizer = AutoTokenizer.from_pretrained(folder)
base = AutoModelForCausalLM.from_pretrained(
    {given}
)
model = PeftModel.from_pretrained(base, folder)
model.generation_config = GenerationConfig.from_pretrained(folder)
{_ask(tuned)}"""


def of_weights(tuned: Tuned) -> str:
    """A plain model."""
    return f"""from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
{_ask(tuned)}"""


def _messages(tuned: Tuned) -> str:
    """A question as the run put it: with its system prompt."""
    system = tuned.source.config.data.system_prompt
    turns = [{"role": "system", "content": system}] if system else []
    return ",\n    ".join(map(repr, [*turns, {"role": "user", "content": "What is 12 + 7?"}]))


def _ask(tuned: Tuned) -> str:
    config = tuned.source.config
    variables = config.model.chat_template_kwargs
    more = f",\n    **{variables!r}" if variables else ""
    return f"""
messages = [
    {_messages(tuned)},
]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True{more}
)
answer = model.generate(**inputs.to(model.device), do_sample=False)
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""


def of_gguf(tuned: Tuned, file: str) -> str:
    """A GGUF file, by llama.cpp's Python binding."""
    config = tuned.source.config
    params = config.eval_sampling_params
    return f"""from llama_cpp import Llama

model = Llama("{file}", n_ctx={config.model.max_seq_length})
messages = [
    {_messages(tuned)},
]
answer = model.create_chat_completion(messages, temperature=0, max_tokens={params.max_tokens})
print(answer["choices"][0]["message"]["content"])
"""
