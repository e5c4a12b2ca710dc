"""Usual divisions of an inference's time among the terms of a latency model, from which `ofa calibrate` starts.

`PRIOR` is the mean of five fits to published measurements, each divided by its own median over 200 random subnets of
mbv3-w1.2, so that only proportions are left: the Pixel 1's table of blocks (ProxylessNAS; TensorFlow Lite on a phone's
processor), and V100 and Titan RTX at batch 32 and 64 (HELP; per batch). Printed by `python benchmarks/make_platforms.py
--prior`. The Note10's table and the published specialised nets are not in it, so errors on those are of devices that the
prior has not seen (the Pixel 1 excepted).
"""

from dataclasses import replace

from latency_tables.cost_models.op_model import LatencyModel, OpTime

PRIOR = LatencyModel(
    ops={
        "conv_1x1": OpTime(ms_per_mmac=0.00164, ms_per_weight_mb=0.00336, ms_per_activation_mb=0.00574, overhead_ms=0.00286),
        "conv_kxk": OpTime(ms_per_mmac=0.00705, overhead_ms=0.019),
        "depthwise": OpTime(ms_per_mmac=0.00376, ms_per_weight_mb=0.00325, ms_per_activation_mb=0.00817),
        "linear": OpTime(ms_per_mmac=0.000779),
        "pool": OpTime(ms_per_activation_mb=0.00373),
        "elementwise": OpTime(overhead_ms=0.00393),
    }
)
"""Batch 1 in single precision. Only the proportions matter; the sum over a network has no meaning."""

_USUAL = PRIOR.ops["conv_1x1"]
_PATCH = 9
"""Copies of each input that a 3x3 convolution makes where it is computed as a matrix product of patches (im2col)."""

EVERY_KIND = LatencyModel(
    ops={
        "conv_1x1": _USUAL,
        "conv_kxk": replace(_USUAL, ms_per_activation_mb=_PATCH * _USUAL.ms_per_activation_mb),
        "depthwise": replace(_USUAL, ms_per_mmac=PRIOR.ops["depthwise"].ms_per_mmac),
        "linear": _USUAL,
        "pool": OpTime(ms_per_activation_mb=_USUAL.ms_per_activation_mb, overhead_ms=_USUAL.overhead_ms),
        "elementwise": OpTime(ms_per_activation_mb=_USUAL.ms_per_activation_mb, overhead_ms=_USUAL.overhead_ms),
    }
)
"""The prior for networks of many designs, given as lists of operations: every term of every kind, at the rates of 1x1
convolutions.

Subnets of one space need few of these terms, networks of many designs all of them. With the plain rate of feature maps for
k x k convolutions, the time of a stem (little work, large maps) is taken for work, and a ResNet left out of the fit is
predicted at twice its energy; with that of copied patches, within 17% (docs/platforms.md).
"""
