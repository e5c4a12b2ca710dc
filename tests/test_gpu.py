"""What only a GPU can show: training, resuming and measuring there. Run with `-m gpu` on a machine that has one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ofa import Supernet, extract, load_space
from ofa.evaluation import Evaluator
from ofa.recipe import load_recipe
from ofa.run import RunDirectory
from ofa.training import Trainer
from tests.tiny import write_recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_training_on_a_gpu_learns_and_its_run_opens_on_a_cpu(tmp_path: Path) -> None:
    recipe, space = load_recipe(write_recipe(tmp_path, checkpoint_seconds=0))
    run = RunDirectory.create(tmp_path / "run", recipe, space)
    Trainer(run, "cuda", quiet=True).train()
    on_gpu = Evaluator(run, "cuda").top1([space.largest(), space.smallest()])
    on_cpu = Evaluator(run, "cpu").top1([space.largest(), space.smallest()])
    assert on_gpu[0] > 0.7  # chance is 0.33
    assert on_cpu == pytest.approx(on_gpu, abs=0.05)


def test_extraction_equals_the_supernet_on_a_gpu() -> None:
    space = load_space("mbv3-w1.0")
    net = Supernet(space, torch.Generator().manual_seed(0)).cuda().eval()
    images = torch.rand(2, 3, 128, 128, device="cuda")
    with torch.inference_mode():
        for subnet in (space.smallest(), space.largest()):
            torch.testing.assert_close(net(images, subnet), extract(net, subnet)(images), rtol=1e-4, atol=1e-5)
