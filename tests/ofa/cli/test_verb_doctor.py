"""`ofa doctor` and `ofa completion`: what is here, and what a shell completes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ofa.cli.main import VERBS
from ofa.cli.verbs import doctor
from ofa.cli.verbs.completion import completion
from tests.verbs import ofa

Capture = pytest.CaptureFixture[str]


def test_it_says_what_is_here(capsys: Capture) -> None:
    import torch

    facts = ofa(capsys, "doctor")
    assert facts["libraries"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert facts["processor"]["cores"] >= 1
    assert len(facts["gpus"]) == torch.cuda.device_count()
    assert facts["extras"]["images"] is True
    assert "fashion-mnist" in facts["data"]["zoo"]
    from ofa.cli.main import main

    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) < 24
    assert all(line.isprintable() for line in shown)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"load": 9.0}, "OMP_NUM_THREADS=1"),
        ({"threads": 64}, "64 threads on 2 cores"),
        ({"shared_memory_mb": 64}, "--shm-size"),
        ({"instructions": "AVX2"}, "VNNI"),
    ],
)
def test_it_says_what_will_be_slow(change: dict[str, object], word: str) -> None:
    processor = {"cores": 2, "threads": 2, "load": 0.1, "instructions": "AVX512", "memory_gb": 8.0, "shared_memory_mb": 4096}
    sound = {"processor": processor, "gpus": [{}], "energy": {"counters": True}}
    assert doctor._advice(sound) == []
    (line,) = doctor._advice(sound | {"processor": processor | change})
    assert word in line


def test_without_gpu_and_counter_it_says_what_helps() -> None:
    processor = {"cores": 2, "threads": 2, "load": 0.1, "instructions": "AVX512", "memory_gb": 8.0, "shared_memory_mb": 4096}
    first, second = doctor._advice({"processor": processor, "gpus": [], "energy": {"counters": False}})
    assert "no GPU" in first
    assert "docs/energy.md" in second


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_takes_the_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    (tmp_path / "script").write_text(completion(shell))
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("ofa que", {"query"}),
        ("ofa query run --energy-m", {"--energy-mj"}),
        ("ofa query run --platform edge", {"edge-int8"}),
        ("ofa export net --format on", {"onnx"}),
        ("ofa query fashion", {"fashion-mnist"}),
        ("ofa schema rec", {"recipe"}),
        ("ofa ", set(VERBS)),
    ],
)
def test_bash_completes(words: str, offered: set[str], tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    script = tmp_path / "script"
    script.write_text(completion("bash"))
    *_, last = words.split(" ")
    given = words.split()[: len(words.split()) - bool(last)]
    array = " ".join([*given, f'"{last}"'])
    code = f"source {script}; COMP_WORDS=({array}); COMP_CWORD={len(given)}; _ofa; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert offered <= found
    assert all(word.startswith(last) for word in found)
