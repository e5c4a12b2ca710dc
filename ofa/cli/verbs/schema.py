"""Print the JSON schema of a recipe, space or platform file, with which an editor completes and checks it.

Rules over several keys are not in it: `ofa train`, `ofa query` and the others check the file as a whole.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

EXAMPLE = "ofa schema recipe > recipe.schema.json"
KINDS = {
    "recipe": "A training recipe (ofa train)",
    "space": "A search space",
    "platform": "A platform (ofa query --platform)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("kind", choices=list(KINDS), help="which file")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print the schema."""
    from ofa.files.json_schema import json_schema

    schema = json_schema(_dataclass(args.kind), KINDS[args.kind])
    if not args.json:
        print(json.dumps(schema, indent=2, allow_nan=False))
    return schema


def _dataclass(kind: str) -> type:
    if kind == "recipe":
        from ofa.runs.recipe import Recipe

        return Recipe
    if kind == "space":
        from ofa.space.search_space import SearchSpace

        return SearchSpace
    from latency_tables import Platform

    return Platform
