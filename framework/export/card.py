"""The model card of an export: what it is, how it is used, its numbers, and how it was made.

    write_text(folder / "README.md", card(tuned, library, usage, check))

Its front matter is what the hub reads. Nothing of this machine is in it: files are named without
their folders, and what the config says of places and of tracking is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from groupwise.evaluation.log.files import read_json
from groupwise.evaluation.summary import SUMMARY
from groupwise.evaluation.text import percent, printable, rounded
from groupwise.framework.config import ExperimentConfig, TrainingConfig, WarmStartConfig
from groupwise.framework.config.locations import exists, paths_in
from groupwise.framework.export.check import NO_TRAINING_SHOWS, Check, lost
from groupwise.framework.export.source import Source
from groupwise.framework.export.tuned import Tuned

_METHODS = {
    "grpo": "reinforcement learning (GRPO)",
    "group_scores": "offline GRPO on scored answers",
    "sft": "supervised training",
}
_OF_THE_MACHINE = ("output_dir", "tracking", "rewards.import_from")


def card(tuned: Tuned, library: str, usage: str, check: Check | None) -> str:
    """The text of a README.md. `library`: the hub's name of what loads it; `usage`: a program."""
    source, config = tuned.source, tuned.source.config
    sections = [
        f"---\n{_front_matter(source, library)}\n---",
        f"# {_plain(config.name)}",
        _what(source),
        f"## Use\n\n{_fenced(usage, 'python')}",
        *_prompts(config),
        *_numbers(source, check),
        f"## How it was made\n\n{_how(tuned)}",
        f"## The check of this export\n\n{_checked(check)}",
        f"## The config\n\n{_fenced(_shown(source.run_dir.config()), 'yaml')}",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(source: Source, library: str) -> str:
    from huggingface_hub import ModelCardData  # slow: not at start-up

    data = ModelCardData(
        base_model=source.public_base,
        library_name=library,
        pipeline_tag="text-generation",
        tags=["groupwise", source.config.training.method.replace("_", "-")],
        datasets=[name for name in _trained_on(source.config) if _is_hub_data(name)] or None,
        **_licence(source.base.name),
    )
    return str(data.to_yaml()).rstrip()


def _licence(base: str) -> dict[str, Any]:
    """What the base model's own card says of its licence, where there is one here."""
    from huggingface_hub import ModelCard, try_to_load_from_cache  # slow: not at start-up

    found = Path(base) / "README.md"
    if not Path(base).is_dir():
        cached = try_to_load_from_cache(base, "README.md") if base.count("/") == 1 else None
        found = Path(cached if isinstance(cached, str) else "")
    if not found.is_file():
        return {}
    try:
        data = ModelCard.load(found).data.to_dict()
    except (ValueError, yaml.YAMLError, OSError):  # somebody else's text
        return {}
    names = ("license", "license_name", "license_link")
    return {name: str(data[name]) for name in names if data.get(name)}


def _is_warm_started(config: ExperimentConfig) -> bool:
    return config.training.method == "grpo" and config.training.warm_start.enabled


def _trained_on(config: ExperimentConfig) -> list[str]:
    """The data of all its training, as the config names them."""
    data, warm = config.data.train, config.training.warm_start
    if config.training.method == "sft":
        return [warm.data or data]
    return [data, warm.data] if _is_warm_started(config) and warm.data else [data]


def _is_hub_data(name: str) -> bool:
    """Whether it names a data set of the hub, and no file."""
    is_name = re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).suffix[1:].isalpha()
    return bool(is_name) and not exists(name)


def _shown_data(name: str) -> str:
    """Of a file its name alone."""
    return _plain(name if _is_hub_data(name) else Path(name).name)


def _what(source: Source) -> str:
    base = source.public_base
    on = f"[{_plain(base)}](https://huggingface.co/{_plain(base)})" if base else "a local model"
    method = _METHODS[source.config.training.method]
    text = f"{on[0].upper()}{on[1:]}, tuned by {method} with Groupwise."
    if source.label != "tuned":
        text += f" These are the weights of `{_plain(source.label)}`, not those of the run's end."
    return text


def _prompts(config: ExperimentConfig) -> list[str]:
    """How the prompts were made that it was trained and measured on."""
    lines = []
    if config.data.system_prompt:
        lines.append(f"The system prompt of training:\n\n{_fenced(config.data.system_prompt)}")
    if config.data.prompt_template != "{question}":
        lines.append(f"Questions were put as:\n\n{_fenced(config.data.prompt_template)}")
    if config.model.chat_template_kwargs:
        given = yaml.safe_dump(config.model.chat_template_kwargs, sort_keys=False)
        lines.append(f"Variables of the chat template:\n\n{_fenced(given, 'yaml')}")
    return lines


def _numbers(source: Source, check: Check | None) -> list[str]:
    """Pass@K before and after training, and of the export, each with its interval."""
    pair = check.comparison.pairs[0] if check and check.comparison else None
    before = "before training"
    if _is_warm_started(source.config):
        before = "after the warm start"  # which is what was measured as base
    logs = {before: "base", "tuned": pair.base if pair else source.label}
    if pair:
        logs["this export"] = pair.other
    found = {name: source.run_dir.evaluation(label) / SUMMARY for name, label in logs.items()}
    summaries = {name: read_json(file) for name, file in found.items() if file.is_file()}
    if not summaries:
        return []
    rows = [["", *summaries], ["---", *("---:" for _ in summaries)]]
    for k in next(iter(summaries.values()))["pass_at_k"]:
        cells = [_estimate(summary["pass_at_k"].get(k)) for summary in summaries.values()]
        rows.append([f"pass@{k}", *cells])
    asked = ((s["num_examples"], s["num_samples"]) for s in summaries.values())
    rows.append(["problems × answers", *(f"{n} × {all_ / n:g}" for n, all_ in asked)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    data = source.config.data
    name = _shown_data(data.eval or data.train)
    text = f"## Numbers\n\nOn held-out problems of {name}, in %, with 95 % intervals:\n\n{table}"
    if pair is None:
        return [text]
    asked_all = len({summary["num_examples"] for summary in summaries.values()}) == 1
    some = "" if asked_all else "This export was asked only some of these problems. On those: "
    return [f"{text}\n\n{some}{lost(pair)}"]


def _estimate(found: Mapping[str, Any] | None) -> str:
    if not found or found["value"] is None:
        return "–"
    value, low, high = (
        None if found[name] is None else rounded(100 * found[name])
        for name in ("value", "low", "high")
    )
    return f"{value}" if low is None else f"{value} [{low}, {high}]"  # one problem: no interval


def _how(tuned: Tuned) -> str:
    config, model = tuned.source.config, tuned.source.config.model
    training = config.training
    precision = {4: "4 bits (NF4)", 8: "8 bits"}.get(
        tuned.precision.bits, f"{tuned.precision.dtype}"
    )
    lora = f"LoRA of rank {model.lora_r}, alpha {model.lora_alpha:g}, on a base in {precision}"
    lines = [
        f"trained: {'every weight' if model.full_finetuning else lora}",
        f"data: {', '.join(map(_shown_data, _trained_on(config)))}",
    ]
    warm = training.warm_start
    supervised = f"{_length(warm)}, learning rate {warm.learning_rate:g}"
    if _is_warm_started(config):
        lines.append(f"warm start, supervised: {supervised}")
    if training.method == "grpo":
        shape = f"{training.prompts_per_step} problems × {training.num_generations} answers a step"
        parts = ", ".join(f"{_plain(n)} {p.weight:g}" for n, p in config.rewards.parts.items())
        lines += [f"GRPO: {_length(training)}, {shape}", f"rewards, with weights: {parts}"]
    rest = supervised if training.method == "sft" else f"learning rate {training.learning_rate:g}"
    lines.append(f"{rest}; seed {config.seed}")
    manifest = read_json(tuned.source.run_dir.manifest)
    versions = {k: v for k, v in manifest.get("versions", {}).items() if v}
    shown = ("groupwise", "torch", "transformers", "trl", "peft", "unsloth", "bitsandbytes")
    lines.append("versions: " + ", ".join(f"{n} {versions[n]}" for n in shown if n in versions))
    return "\n".join(f"- {line}" for line in lines)


def _length(training: TrainingConfig | WarmStartConfig) -> str:
    if training.max_steps is not None:
        return f"{training.max_steps} steps"
    return f"{training.num_train_epochs:g} epochs"


def _checked(check: Check | None) -> str:
    if check is None or check.findings is None:
        return "It was not checked."
    found = check.findings
    return (
        f"Loaded by {found.loader} in a fresh process, it was asked {found.prompts} prompts of the "
        f"run: {found.same_answers} greedy answers are the tuned model's to the last token, "
        f"{percent(found.token_agreement, 1)} of {found.tokens} likeliest tokens are the same, and "
        f"its probabilities differ by {found.divergence:.2g} nats a token (KL divergence), where "
        f"rounding explains {found.tolerance:.2g}; from the model before training it differs by "
        f"{found.from_base:.2g}." + ("" if found.shows_training else f" Note: {NO_TRAINING_SHOWS}.")
    )


def _shown(config: ExperimentConfig) -> str:
    """The config as YAML, with files by their names alone."""
    data = config.to_dict()
    for key, path in paths_in(data).items():
        if exists(path) or Path(path).is_absolute():
            _set(data, key, Path(path).name)
    for key in _OF_THE_MACHINE:
        _set(data, key, None)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key, or removes it with None."""
    *above, last = key.split(".")
    for name in above:
        data = data[name]
    if value is None:
        data.pop(last, None)
    else:
        data[last] = value


def _plain(text: str) -> str:
    """A name in a line of Markdown: no control characters, no markup."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", printable(text, limit=200))


def _fenced(text: str, language: str = "") -> str:
    """A block of code that its text cannot end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{printable(text, lines=True).rstrip()}\n{fence}"
