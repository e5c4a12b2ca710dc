"""Usual division of an inference's time among the terms of a latency model, from which `ofa calibrate` starts.

The mean of five fits to published measurements, each divided by its own median over 200 random subnets of mbv3-w1.2, so that
only proportions are left: the Pixel 1's table of blocks (ProxylessNAS; TensorFlow Lite on a phone's processor), and V100 and
Titan RTX at batch 32 and 64 (HELP; per batch). Printed by `python benchmarks/make_platforms.py --prior`. The Note10's table
and the published specialised nets are not in it, so errors on those are of devices that the prior has not seen (the Pixel 1
excepted).
"""

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
