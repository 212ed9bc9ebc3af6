"""How difficult a development set's tokens are for a student: a page that helps to choose Γ.

  sekd analyze analysis --run runs/student --teacher runs/teacher
  sekd analyze analysis --run runs/student --config-file kd.yaml --data dev.jsonl
  sekd analyze analysis --run runs/kd@all --divergence jensen_shannon

OUT then holds analysis.html, analysis.json, the charts as .svg, and report.json. The recipe is the
(last) run's own unless --config-file names one: it gives criterion, teacher, vocabulary, prompt
and, without --data, the development set. An existing result is never overwritten; an interrupted
command is simply started again.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fairseq2.utils.argparse import ConfigAction
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sekd_plugin.analysis.difficulty.analysis import Choice
from sekd_plugin.analysis.difficulty.candidates import Candidate
from sekd_plugin.analysis.difficulty.figures import all_figures
from sekd_plugin.analysis.difficulty.result import PAGE, read_figures, summary, write_result
from sekd_plugin.checks import at_least, between
from sekd_plugin.corpus import read_pairs
from sekd_plugin.corpus.result_folder import finished_report
from sekd_plugin.errors import ConfigError, SekdError
from sekd_plugin.progress import StreamProgress
from sekd_plugin.thresholds import thresholds
from sekd_plugin.toolkits.fairseq2.analyzing.measuring import run_analysis
from sekd_plugin.toolkits.fairseq2.analyzing.plan import origin, plan_analysis
from sekd_plugin.toolkits.fairseq2.analyzing.subject import COMPARED, Subject
from sekd_plugin.toolkits.fairseq2.checkpoint_choice import chosen_checkpoints, run_and_choice
from sekd_plugin.toolkits.fairseq2.device import chosen_device
from sekd_plugin.toolkits.fairseq2.recipe_loading import load_recipe
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection, TrainingConfig


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to make")
    parser.add_argument(
        "--run",
        action="append",
        required=True,
        metavar="RUN",
        help="a student's training folder, with @step_N, @best, @last or @all; repeatable, and "
        "Γ is given for the last checkpoint",
    )
    parser.add_argument(
        "--teacher",
        metavar="RUN",
        help="a training folder, likewise, or a folder exported for Hugging Face "
        "(default: the recipe's)",
    )
    parser.add_argument("--config-file", type=Path, metavar="FILE", help="the recipe")
    parser.add_argument(
        "--config",
        action=ConfigAction,
        help="settings that replace the recipe's, as section.key=value",
    )
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="the development set (default: dataset.valid)"
    )
    parser.add_argument("--target-file", type=Path, help="its translations, for plain text")
    parser.add_argument("--source-field", help="default: the recipe's")
    parser.add_argument("--target-field", help="default: the recipe's")
    parser.add_argument(
        "--divergence",
        action="append",
        default=[],
        metavar="NAME",
        help="compare with this one: a name, '{name: …, config: {…}}', or all; repeatable "
        f"(default: {', '.join(COMPARED)})",
    )
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="NAME",
        help="look at this one too, likewise; repeatable",
    )
    parser.add_argument(
        "--hard-ratio",
        type=float,
        default=Subject.reference_ratio,
        metavar="R",
        help="the share of hard tokens that parts and tokens are shown for "
        f"(default: {Subject.reference_ratio:g})",
    )
    parser.add_argument("--sentences", type=int, metavar="N", help="only the first N sentences")
    parser.add_argument(
        "--show",
        type=int,
        default=Subject.shown,
        metavar="N",
        help=f"the page holds the first N sentences (default: {Subject.shown})",
    )
    parser.add_argument(
        "--batch-tokens",
        type=int,
        default=Subject.batch_tokens,
        help=f"default: {Subject.batch_tokens}",
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: CUDA where there is one)")


def run(args: Namespace) -> int:
    """Measure, write the page, and print which Γ to start with."""
    between("--hard-ratio", args.hard_ratio, 0.0, 1.0, open_low=True, open_high=True)
    at_least("--show", args.show, 0)
    at_least("--batch-tokens", args.batch_tokens, 1)
    if args.sentences is not None:
        at_least("--sentences", args.sentences, 1)
    device = chosen_device(args.device)
    config = load_recipe(_recipe_file(args), args.config or [])
    subject = Subject(
        runs=args.run,
        config=config,
        files=_files(args, config),
        teacher=args.teacher,
        divergences=[_choice(text, "--divergence") for text in args.divergence],
        thresholds=[_candidate(text) for text in args.threshold],
        sentences=args.sentences,
        reference_ratio=args.hard_ratio,
        shown=args.show,
        batch_tokens=args.batch_tokens,
    )
    if args.out.name in ("", "..") or args.out.resolve() == Path.cwd():
        raise SekdError(f"{args.out}: cannot become the result's folder; name a new one")
    plan = plan_analysis(subject)
    made_from = origin(plan)
    progress = StreamProgress()
    if finished_report(args.out, made_from) is None:
        if plan.note is not None:
            progress.say(plan.note)
        figures = all_figures(run_analysis(plan, device, progress))
        write_result(args.out, figures, made_from)
    else:
        progress.say(f"{args.out} was finished already")
        figures = read_figures(args.out)
    print(summary(figures))
    print(f"\npage: {args.out / PAGE}")
    return 0


def _recipe_file(args: Namespace) -> Path:
    if args.config_file is not None:
        return Path(args.config_file)
    run, choice = run_and_choice(args.run[-1])
    chosen_checkpoints(run, choice)  # says, if need be, that this is no run
    return run / "config.yaml"


def _files(args: Namespace, config: TrainingConfig) -> list[CorpusFileSection]:
    """The development set; its fields and prompt, and so its direction, are the recipe's.

    What is named with ``--data`` is like the recipe's first file, but for fields that are given.
    """
    if args.data is None:
        if args.target_file is not None:
            raise ConfigError("--target-file", "needs --data, the file of the sources")
        files = config.dataset.valid
    else:
        like = next(iter([*config.dataset.valid, *config.dataset.train]), None)
        own = {"path": args.data, "target_path": args.target_file}
        if like is None:
            files = [CorpusFileSection(**own)]
        else:
            files = [replace(like, **own, weight=1.0, noise=None)]
    found = []
    for file in files:
        section = replace(
            file,
            source_field=args.source_field or file.source_field,
            target_field=args.target_field or file.target_field,
        )
        read_pairs(  # says at once that a file is missing
            section.path,
            target_path=section.target_path,
            source_field=section.source_field,
            target_field=section.target_field,
        )
        found.append(section)
    return found


def _choice(text: str, key: str) -> Choice:
    """A name as it is, or a mapping written in YAML's flow style."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        value = None
    if not isinstance(value, Mapping):
        raise ConfigError(key, f"{text!r} is not allowed; write NAME or '{{name: …, config: …}}'")
    return value


def _candidate(text: str) -> Candidate:
    name, config = thresholds.named(_choice(text, "--threshold"), "--threshold")
    return Candidate(name=name, config=config)
