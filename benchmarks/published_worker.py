"""One training step of the published package (PyPI `ofa`), on request; run by `train_step.py` in that package's environment.

Reads a JSON line of settings, then answers every line on standard input with the seconds of one step: the inner loop of its
`progressive_shrinking.train_one_epoch`, without teacher, on given subnets. Package imports it cannot satisfy beside a CPU
build of torch (torchvision) are replaced by empty modules: no step uses them.
"""

import json
import sys
import time
from unittest.mock import MagicMock

for name in ("", ".transforms", ".transforms.functional", ".datasets", ".models", ".models.utils", ".utils"):
    sys.modules[f"torchvision{name}"] = MagicMock()
sys.modules["torchvision.transforms"].RandomResizedCrop = type("RandomResizedCrop", (), {})

import torch  # noqa: E402
from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3  # noqa: E402
from ofa.utils import cross_entropy_with_label_smoothing  # noqa: E402


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    torch.set_num_threads(settings["threads"])
    net = OFAMobileNetV3(
        dropout_rate=0, width_mult=1.0, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4]
    )
    net.train()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, nesterov=True, weight_decay=3e-5)
    images = torch.randn(settings["batch"], 3, settings["size"], settings["size"])
    labels = torch.randint(0, 1000, (settings["batch"],))
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        net.zero_grad()
        for arch in settings["archs"]:
            net.set_active_subnet(ks=arch["ks"], e=arch["e"], d=arch["d"])
            cross_entropy_with_label_smoothing(net(images), labels, 0.1).backward()
        optimiser.step()
        print(time.perf_counter() - start, flush=True)


main()
