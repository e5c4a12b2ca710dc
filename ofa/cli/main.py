"""`ofa VERB ...`: dispatch, exit codes and output. No heavy import before a verb is known.

A verb is a module `ofa.cli.verbs.VERB` (`import_` for `import`, which is a keyword) with `EXAMPLE` (shown in its help),
`add_arguments(parser)` and `run(args)`, which prints text for users, and returns the data that `--json` prints for machines.
"""

from __future__ import annotations

import argparse
import importlib
import json
import keyword
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from ofa.cli.foreign_errors import line_of
from ofa.cli.late_warnings import first_rank, warned_at_the_end
from ofa.errors import UserError, is_printable, one_line

VERBS = {
    "train": "train a supernet by progressive shrinking; the same command resumes",
    "import": "the published weights: a run to query and to train on, or a subnet",
    "evaluate": "accuracy of subnets of a trained run on held-out data",
    "predictor": "measure a sample of subnets, fit and report the accuracy predictor",
    "query": "the best subnet under a platform's limits, ready to use",
    "extract": "write out a subnet of your own choice, ready to use",
    "export": "write a subnet in the formats of other runtimes, checked",
    "benchmark": "compare a subnet in every format that is installed",
    "finetune": "train a queried subnet further, taught by the run's largest net",
    "pareto": "draw accuracy against energy or latency",
    "report": "write one page about a run: fronts, subnets, training, footprint",
    "pack": "pack a run into one file that answers anywhere, without the training data",
    "footprint": "energy and CO2e over a life, break-even points, the energy label",
    "zoo": "list trained supernets that ship, or show one; their names are accepted wherever a run is",
    "platforms": "list platforms, or show one with its provenance",
    "profile": "measure this machine as a platform",
    "calibrate": "fit a platform to end-to-end timings of a few networks",
    "data": "put a data set where the recipes look for it",
    "schema": "print the JSON schema of a recipe, space or platform, for editors",
    "doctor": "show versions, devices, meters, extras, and what will be slow here",
    "completion": "print a script that completes commands in bash or zsh",
}

SMALL_MATRICES = ("query", "pareto", "zoo", "footprint")
"""Verbs with small matrix products, which a second BLAS thread slows down, on a busy machine by a lot."""
RAISED_AGAIN_S = 0.02
"""When an interrupt that Python has dropped is raised again."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0, or 2 for a user's mistake, 130 when interrupted, 143 when terminated."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    for word in argv:
        if not is_printable(word):
            parser.error(f"argument {word} has a line break or a control character, or is not UTF-8; give another name")
    verb = next((word for word in argv if not word.startswith("-")), None)
    if verb not in VERBS:
        asked = parser.parse_args([word for word in argv if word != verb])  # --help ends here
        if verb is None and asked.version:
            print(f"ofa-energy {_version()}")
            return 0
        if verb is None:
            parser.print_help()
        else:
            print(one_line(f"ofa: error: unknown verb {verb!r}; verbs are {', '.join(VERBS)}"), file=sys.stderr)
        return 2
    if verb in SMALL_MATRICES:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy reads it when it is imported; torch does not
    module = importlib.import_module(f"ofa.cli.verbs.{verb}{'_' if keyword.iskeyword(verb) else ''}")
    command = _Parser(
        prog=f"ofa {verb}",
        description=module.__doc__,
        epilog=f"example:\n  {module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--json", action="store_true", help="print one JSON object for machines, nothing else")
    module.add_arguments(command)
    args = command.parse_args([word for i, word in enumerate(argv) if i != argv.index(verb)])
    terminated: list[int] = []
    try:
        with warned_at_the_end(verb), _terminating(terminated):
            result = module.run(args)
        if args.json and result is not None:  # of several processes, only rank 0 has a result
            print(json.dumps(result))
    except Terminated:
        return _told_to_end(verb)
    except KeyboardInterrupt:
        if first_rank():
            print(f"ofa {verb}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader ended (`ofa ... | head`), which is not an error
        return 0
    except Exception as error:
        if terminated:  # a module that was interrupted while it was imported says that it cannot be imported
            return _told_to_end(verb)
        foreign = None if isinstance(error, UserError) else line_of(error)
        if foreign is None and not isinstance(error, UserError):
            raise
        print(f"ofa {verb}: error: {error if foreign is None else one_line(foreign)}", file=sys.stderr)
        return 2
    return 0


class Terminated(KeyboardInterrupt):
    """SIGTERM, which Slurm and Docker send before they kill; everything open is closed, as after Ctrl-C."""


def _told_to_end(verb: str) -> int:
    """The exit code after SIGTERM."""
    if first_rank():
        print(f"ofa {verb}: terminated; the same command resumes where it can", file=sys.stderr)
    return 143


@contextmanager
def _terminating(came: list[int]) -> Iterator[None]:
    """Run a block in which SIGTERM raises `Terminated`; has no effect outside the main thread. `came` gets its number.

    Python drops what is raised while it runs a destructor or the callback of a weak reference. `Terminated` and Ctrl-C are
    raised again soon after.
    """
    process = os.getpid()

    def terminate(number: int, frame: object) -> None:
        if os.getpid() != process:
            os._exit(143)  # a process that decodes images
        came.append(number)
        raise Terminated

    def dropped(told: Any) -> None:
        if not isinstance(told.exc_value, KeyboardInterrupt):
            hook(told)
            return
        number = signal.SIGTERM if isinstance(told.exc_value, Terminated) else signal.SIGINT
        again = threading.Timer(RAISED_AGAIN_S, os.kill, (process, number))
        again.daemon = True
        again.start()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, hook = signal.signal(signal.SIGTERM, terminate), sys.unraisablehook
    sys.unraisablehook = dropped
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage that `--help` shows."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, one_line(f"{self.prog}: error: {message} ({self.prog} --help shows the options)") + "\n")


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, VERBS))
    lines = "\n".join(f"  {verb:{width}}  {text}" for verb, text in VERBS.items())
    parser = _Parser(
        prog="ofa",
        usage="ofa VERB ... (ofa VERB --help shows its options and an example)",
        description=f"Once-for-all networks: train once, query a subnet for any device.\n\nverbs:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=True,
    )
    parser.add_argument("--version", action="store_true", help="print the version, and exit")
    return parser


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("ofa-energy")
    except metadata.PackageNotFoundError:
        return "of a folder that is not installed"


if __name__ == "__main__":
    sys.exit(main())
