"""Weight gradient of a depthwise convolution whose kernel is larger than its map: plain PyTorch against `ElasticConv`.

Prints one JSON line per case: milliseconds of a forward and backward pass (medians, taking turns) and their ratio.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch

from ofa.nets.elastic_layers import ElasticConv
from ofa.nets.plain import initialise

CASES = ((256, 5, 4, 128), (672, 7, 4, 64), (960, 7, 2, 64), (960, 3, 2, 64))  # channels, kernel, map (pixels), batch


def seconds(conv: ElasticConv, images: torch.Tensor) -> float:
    start = time.perf_counter()
    conv(images, images.shape[1]).sum().backward()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for channels, kernel, size, batch in CASES:
        conv = ElasticConv(channels, channels, (kernel,), depthwise=True).to(memory_format=torch.channels_last)
        initialise(conv)
        images = torch.randn(batch, channels, size, size).to(memory_format=torch.channels_last).requires_grad_()
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(args.repeats + 1):
            for training in (True, False):  # in training mode the layer takes the fast path
                times[training].append(seconds(conv.train(training), images))
        ours, plain = (float(np.median(times[mode][1:])) for mode in (True, False))
        facts = {"channels": channels, "kernel": kernel, "size": size, "batch": batch, "threads": args.threads}
        print(json.dumps(facts | {"ours_ms": 1e3 * ours, "pytorch_ms": 1e3 * plain, "ratio": plain / ours}))


if __name__ == "__main__":
    main()
