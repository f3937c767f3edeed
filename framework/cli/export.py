"""`groupwise export`: a tuned model in a form that others load, checked to answer as it did.

Exit code 1: the export was made, and its check has failed.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from groupwise.evaluation.tables import comparison_table, print_table
from groupwise.evaluation.text import percent
from groupwise.framework.cli.common import print_json
from groupwise.framework.cli.options import add_json, add_overrides, add_quiet
from groupwise.framework.export.check import NO_TRAINING_SHOWS, Check, lost
from groupwise.framework.export.formats import FORMATS, gguf
from groupwise.framework.export.gguf import QUANTISATIONS
from groupwise.framework.export.hub import check_folder, check_hub, check_name, push
from groupwise.framework.export.pass_at_k import with_samples
from groupwise.framework.export.place import EXPORT, size_of
from groupwise.framework.export.run import Outcome, export
from groupwise.framework.export.source import TUNED, Source, source_of
from groupwise.framework.export.tuned import Asked
from groupwise.framework.run.out_of_memory import amount
from groupwise.framework.run.terminal import Terminal
from groupwise.rewards.errors import UserError

DONE, CHECK_FAILED = 0, 1


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of a run, or of a model in it")
    parser.add_argument(
        "--format",
        choices=[*FORMATS, "gguf", "hub"],
        required=True,
        help="adapter: LoRA weights; merged: one model of 16 bits; gguf: for llama.cpp and Ollama; "
        "hub: adapter, or an export's folder as RUN, pushed to --repo",
    )
    parser.add_argument(
        "--quantization",
        type=str.lower,
        choices=[*QUANTISATIONS],
        metavar="TYPE",
        help=f"of a GGUF file's weights: {', '.join(QUANTISATIONS)} (q8_0)",
    )
    parser.add_argument(
        "--to", "-o", "--output", metavar="DIR", help="folder to make (RUN/exports/FORMAT)"
    )
    parser.add_argument(
        "--base", metavar="OWNER/NAME", help="the base model's name on the hub, if it lies here"
    )
    parser.add_argument("--repo", metavar="OWNER/NAME", help="where --format hub pushes to")
    parser.add_argument(
        "--public", action="store_true", help="a new repository is public; else it is private"
    )
    parser.add_argument(
        "--num-problems", type=int, metavar="N", help="held-out problems for Pass@K; 0: none (all)"
    )
    parser.add_argument("--num-samples", type=int, metavar="N", help="answers for each problem")
    parser.add_argument(
        "--no-check", action="store_true", help="neither load what was written nor ask it"
    )
    add_overrides(parser)
    add_json(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    _refuse_unfit_options(arguments)
    if arguments.format == "hub":
        return _push(arguments)
    outcome = _export(arguments, arguments.format)
    _tell(outcome, arguments)
    return DONE if outcome.passed else CHECK_FAILED


def _refuse_unfit_options(arguments: argparse.Namespace) -> None:
    if (arguments.num_problems or 0) < 0:
        raise UserError(f"--num-problems: at least 0, not {arguments.num_problems}")
    if arguments.quantization and arguments.format != "gguf":
        raise UserError(f"--quantization is for --format gguf, not for {arguments.format}")
    if (arguments.repo or arguments.public) and arguments.format != "hub":
        raise UserError(f"--repo and --public are for --format hub, not for {arguments.format}")
    if arguments.format == "hub" and not arguments.repo:
        raise UserError("--format hub: say where to push it, with --repo OWNER/NAME")
    if arguments.base is not None:
        check_name("--base", arguments.base)


def _export(arguments: argparse.Namespace, form: str) -> Outcome:
    format = gguf(arguments.quantization or "q8_0") if form == "gguf" else FORMATS[form]
    source = source_of(Path(arguments.run), arguments.overrides)
    source = replace(
        source,
        config=with_samples(source.config, arguments.num_samples),
        base_name=arguments.base,
    )
    asked = Asked(not arguments.no_check, arguments.num_problems)
    to = _place(arguments, source, format.name)
    return export(source, format, to, asked, Terminal(quiet=arguments.quiet))


def _place(arguments: argparse.Namespace, source: Source, form: str) -> Path:
    name = form if source.label == TUNED else f"{source.label}-{form}"
    return Path(arguments.to or source.run_dir.path / "exports" / name)


def _push(arguments: argparse.Namespace) -> int:
    """Pushes an export; of a run its adapter, or all weights: the one that is there, or a new."""
    check_hub(arguments.repo)
    folder = Path(arguments.run)
    if not (folder / EXPORT).is_file():
        source = source_of(folder, arguments.overrides)
        form = "adapter" if source.is_adapter else "merged"
        if source.is_adapter and not (arguments.base or source.public_base):
            raise UserError(
                "--format hub: the adapter's base model is a folder of this machine; say what the "
                "hub calls it, with --base OWNER/NAME, or push all weights: export --format "
                "merged, and then that folder --format hub"
            )
        folder = _place(arguments, source, form)
        if not (folder / EXPORT).is_file():
            outcome = _export(arguments, form)
            if not outcome.passed or not arguments.json:
                _tell(outcome, arguments)
            if not outcome.passed:
                return CHECK_FAILED
    check_folder(folder)
    with Terminal(quiet=arguments.quiet).stage("Push it"):
        url = push(folder, arguments.repo, public=arguments.public)
    if arguments.json:
        print_json({"export": str(folder), "repo": arguments.repo, "url": url})
    else:
        print(f"{folder} is pushed to {url}")
    return DONE


def _tell(outcome: Outcome, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(outcome.to_json())
    else:
        _print(outcome)


def _print(outcome: Outcome) -> None:
    print()
    if outcome.check is None:
        print("not checked: nothing says that it answers like the tuned model\n")
    else:
        _print_check(outcome.check)
    for failure in outcome.check.failures if outcome.check else ():
        print(f"FAILED: {failure}")
    print(f"{'the export' if outcome.passed else 'kept, to look at'}: {outcome.folder}")
    print(f"its size:   {amount(size_of(outcome.folder))}")


def _print_check(check: Check) -> None:
    found = check.findings
    if found is not None:
        same = found.prompts - found.other_prompts
        rows = [
            ("loaded by", found.loader),
            ("prompts", f"{same} of {found.prompts} have the tokens of the run"),
            (
                "greedy answers",
                f"{found.same_answers} of {found.prompts} the same, "
                f"{percent(found.greedy_agreement, 1)} of their tokens",
            ),
            (
                "likeliest token",
                f"the same at {percent(found.token_agreement, 1)} of {found.tokens} places",
            ),
            (
                "divergence",
                f"{found.divergence:.2g} nats a token; rounding explains {found.tolerance:.2g}; "
                f"from the model before training {found.from_base:.2g}",
            ),
        ]
        for name, text in rows:
            print(f"{name:<17} {text}")
        if not found.shows_training:
            print(f"note: {NO_TRAINING_SHOWS}")
        print()
    if check.comparison is not None:
        print_table(comparison_table(check.comparison))
        print(f"\n{lost(check.comparison.pairs[0])}\n")
