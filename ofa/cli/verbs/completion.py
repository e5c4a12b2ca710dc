"""Print a script that completes verbs, options, formats, platforms and names of the zoo in bash or zsh."""

from __future__ import annotations

import argparse
import importlib
import keyword
from typing import Any

EXAMPLE = """ofa completion bash > ~/.ofa-completion && echo 'source ~/.ofa-completion' >> ~/.bashrc
  source <(ofa completion bash)"""
SHELLS = ("bash", "zsh")
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
SCRIPT = """\
_ofa() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} verb=${{COMP_WORDS[1]}} words=
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{verbs}" -- "$word")); return
  fi
  case "$before" in
{values}
  esac
  if [ -z "$words" ]; then
    case "$verb" in
{options}
    esac
    words="$words {names}"
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word") $(compgen -f -- "$word"))
}}
complete -o filenames -F _ofa ofa
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("shell", choices=SHELLS, help="for which shell")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print the script."""
    script = completion(args.shell)
    if not args.json:
        print(script, end="")
    return {"shell": args.shell, "script": script}


def completion(shell: str) -> str:
    """The script, made of the parsers of all verbs."""
    from latency_tables.catalogue import platform_names
    from ofa.cli.main import VERBS
    from ofa.deploy.formats.catalogue import FORMATS
    from ofa.runs.zoo import zoo_names

    options, choices = {}, {"--platform": sorted(platform_names()), "--format": list(FORMATS)}
    for verb in VERBS:
        parser = argparse.ArgumentParser(add_help=True)
        module = importlib.import_module(f"ofa.cli.verbs.{verb}{'_' if keyword.iskeyword(verb) else ''}")
        module.add_arguments(parser)
        words = ["--json"]
        for action in parser._actions:
            words += [word for word in action.option_strings if word.startswith("--")]
            if not action.option_strings and action.choices:
                words += map(str, action.choices)
            elif action.choices and len(action.option_strings) == 1:
                choices.setdefault(action.option_strings[0], sorted(map(str, action.choices)))
        options[verb] = words
    script = SCRIPT.format(
        verbs=" ".join(VERBS),
        values="\n".join(f'    {option}) words="{" ".join(words)}" ;;' for option, words in choices.items()),
        options="\n".join(f'      {verb}) words="{" ".join(words)}" ;;' for verb, words in options.items()),
        names=" ".join(zoo_names()),
    )
    return (ZSH if shell == "zsh" else "") + script
