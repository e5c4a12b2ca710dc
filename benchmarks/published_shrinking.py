"""Progressive shrinking by the published package's own functions (PyPI `ofa`), one phase; run by `shrinking_quality.py`.

Reads a JSON line of settings, then images and labels of every batch as raw bytes, on standard input. Leaves the weights in
a file. What the package does with ImageNet, horovod and a GPU around its functions is replaced by the least that calls them:
its `train`, `train_elastic_depth` and `train_elastic_expand` run as they are.
"""

import json
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

for name in ("", ".transforms", ".transforms.functional", ".datasets", ".models", ".models.utils", ".utils"):
    sys.modules[f"torchvision{name}"] = MagicMock()
sys.modules["torchvision.transforms"].RandomResizedCrop = type("RandomResizedCrop", (), {})
for name in ("horovod", "horovod.torch"):
    sys.modules[name] = MagicMock()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3  # noqa: E402
from ofa.imagenet_classification.elastic_nn.training import progressive_shrinking  # noqa: E402
from ofa.imagenet_classification.run_manager.run_config import RunConfig  # noqa: E402
from ofa.utils import cross_entropy_with_label_smoothing, init_models  # noqa: E402

torch.Tensor.cuda = lambda tensor: tensor  # its loop moves every batch to a GPU


class Batches:
    """The training loader: batches come from the parent process, the same that the other recipes see."""

    def __init__(self, settings: dict) -> None:
        self.shape, self.steps = settings["images"], settings["steps_per_epoch"]

    def __len__(self) -> int:
        return self.steps

    def __iter__(self):
        for _ in range(self.steps):
            images = np.frombuffer(sys.stdin.buffer.read(4 * int(np.prod(self.shape))), dtype=np.float32)
            labels = np.frombuffer(sys.stdin.buffer.read(8 * self.shape[0]), dtype=np.int64)
            yield torch.tensor(images).view(self.shape), torch.tensor(labels)


class Config(RunConfig):
    """Its learning rates and optimiser; its data provider replaced."""

    train_loader = None
    data_provider = SimpleNamespace(image_size=0)


class Manager:
    """What the functions ask of the package's `RunManager`."""

    start_epoch, best_acc = 0, 0.0

    def __init__(self, net: torch.nn.Module, settings: dict) -> None:
        self.net = self.network = net
        self.run_config = Config(
            settings["epochs"], settings["learning_rate"], "cosine", None, "", 0, 0, None, "sgd",
            {"momentum": 0.9, "nesterov": True}, settings["weight_decay"], 0.1, "bn#bias", None, "he_fout", 10**6, 10**6,
        )  # fmt: skip
        self.run_config.train_loader = Batches(settings)
        keys = self.run_config.no_decay_keys.split("#")
        parameters = [net.get_parameters(keys, mode="exclude"), net.get_parameters(keys, mode="include")]
        self.optimizer = self.run_config.build_optimizer(parameters)

    def train_criterion(self, output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Label smoothing as in the recipes."""
        return cross_entropy_with_label_smoothing(output, labels, 0.1)

    def get_metric_dict(self) -> dict:
        """Nothing is kept."""
        return {}

    def update_metric(self, *args: object) -> None:
        """Nothing is kept."""

    def get_metric_vals(self, metrics: dict, return_dict: bool = False):
        """Nothing was kept."""
        return {} if return_dict else (0.0, 0.0)

    def write_log(self, *args: object, **options: object) -> None:
        """Nothing is written."""


def make_net(settings: dict, choices: dict) -> OFAMobileNetV3:
    net = OFAMobileNetV3(
        n_classes=10,
        dropout_rate=settings["dropout"],
        width_mult=settings["width_mult"],
        ks_list=choices["kernels"],
        expand_ratio_list=choices["expands"],
        depth_list=choices["depths"],
    )
    net.first_conv.conv.stride = (1, 1)  # as in the space: the images are small
    return net


def pass_inputs_through(net: OFAMobileNetV3) -> None:
    """What the package's `zero_last_gamma` does for nets that are not elastic; its training calls it for none."""
    for block in net.blocks:
        if block.shortcut is not None:
            norm = block.conv.point_linear.bn
            torch.nn.init.zeros_(getattr(norm, "bn", norm).weight)


def main() -> None:
    settings = json.loads(sys.stdin.buffer.readline())
    torch.set_num_threads(1)
    torch.manual_seed(settings["seed"])
    net = make_net(settings, settings["opened"])
    teacher = make_net(settings, settings["largest"])
    init_models(net, "he_fout")
    if settings["zero_gamma"]:
        pass_inputs_through(net)
    kind, before = settings["phase"].split("-")[0], settings["before"]
    if before is not None and kind != "largest":
        teacher.load_state_dict(torch.load(settings["teacher"], weights_only=True)["state_dict"])
    args = SimpleNamespace(
        kd_ratio=0.0 if kind == "largest" else 1.0,
        kd_type="ce",
        teacher_model=teacher,
        dynamic_batch_size=settings["subnets_per_step"],
        warmup_epochs=0,
        warmup_lr=-1,
        validation_frequency=10**6,
        ofa_checkpoint_path=before,
        resume=False,
    )
    progressive_shrinking.validate = lambda *args, **options: (0.0, 0.0, 0.0, "")  # measured elsewhere
    manager = Manager(net, settings)
    train = progressive_shrinking.train
    if kind == "depth":
        progressive_shrinking.train_elastic_depth(train, manager, args, {})
    elif kind == "expand":
        progressive_shrinking.train_elastic_expand(train, manager, args, {})
    else:
        if kind == "kernel":
            progressive_shrinking.load_models(manager, net, before)
        train(manager, args, None)
    torch.save({"state_dict": net.state_dict()}, settings["out"])


main()
