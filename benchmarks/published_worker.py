"""Steps and evaluations of the published package (PyPI `ofa`), on request; run in that package's environment.

Reads a JSON line of settings, then answers every line on standard input with seconds, by the clock and of processor time: of
a training step (the inner loop of its `progressive_shrinking.train_one_epoch`, without teacher, on given subnets) or of one
subnet's evaluation. Package imports it cannot satisfy beside a CPU build of torch (torchvision) are replaced by empty
modules: nothing here uses them.
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
from ofa.imagenet_classification.elastic_nn.utils import set_running_statistics  # noqa: E402
from ofa.utils import accuracy, cross_entropy_with_label_smoothing  # noqa: E402


def step(net, optimiser, archs, images, labels):
    net.train()
    net.zero_grad()
    for arch in archs:
        net.set_active_subnet(ks=arch["ks"], e=arch["e"], d=arch["d"])
        cross_entropy_with_label_smoothing(net(images), labels, 0.1).backward()
    optimiser.step()


def evaluate(net, arch, recalibration, validation):
    """As the package's evaluation script: extract, `set_running_statistics`, the inner loop of `RunManager.validate`."""
    net.set_active_subnet(ks=arch["ks"], e=arch["e"], d=arch["d"])
    subnet = net.get_active_subnet(preserve_weight=True)
    set_running_statistics(subnet, recalibration)
    subnet.eval()
    with torch.no_grad():
        for images, labels in validation:
            output = subnet(images)
            torch.nn.functional.cross_entropy(output, labels).item()
            accuracy(output, labels, topk=(1, 5))


def batches(count, batch, size):
    return [(torch.randn(batch, 3, size, size), torch.randint(0, 1000, (batch,))) for _ in range(count // batch)]


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    batch, size, archs = settings["batch"], settings["size"], settings["archs"]
    torch.set_num_threads(settings["threads"])
    device = torch.device(settings.get("device", "cpu"))
    net = OFAMobileNetV3(
        dropout_rate=0, width_mult=1.0, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4]
    )
    net.to(device)
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, nesterov=True, weight_decay=3e-5)
    images, labels = (tensor.to(device) for tensor in batches(batch, batch, size)[0])
    recalibration, validation = (batches(settings.get(name, 0), batch, size) for name in ("recalibration", "validation"))
    print("ready", flush=True)
    for request in sys.stdin:
        start, processor = time.perf_counter(), time.process_time()
        if request.startswith("evaluate"):
            evaluate(net, archs[int(request.split()[1])], recalibration, validation)
        else:
            step(net, optimiser, archs, images, labels)
        if device.type == "cuda":
            torch.cuda.synchronize()
        print(time.perf_counter() - start, time.process_time() - processor, flush=True)


main()
