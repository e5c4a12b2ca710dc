"""Find the packages; `configs/` is installed as `ofa/configs/`. Everything else about the project is in pyproject.toml."""

from pathlib import Path

from setuptools import find_namespace_packages, setup

CONFIGS = {"ofa.configs": "configs"}
CONFIGS |= {
    f"ofa.configs.{folder.name}": f"configs/{folder.name}" for folder in Path("configs").iterdir() if folder.is_dir()
}

FOUND = find_namespace_packages(include=["ofa*", "latency_tables*", "search*"], exclude=["*__pycache__*"])

setup(packages=[*FOUND, *CONFIGS], package_dir=CONFIGS)
