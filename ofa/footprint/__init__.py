"""The footprint of a network over its life: kWh, kg CO2e, break-even points, the energy label. No torch.

Numbers in, numbers out, with the publication behind each formula; only `tables` and `energy_label` read files, those in
`data/`. A number that is negative, infinite or not a number raises `UserError`, which is a `ValueError`.
"""

from ofa.footprint.break_even import (
    break_even_bytes,
    break_even_devices,
    break_even_inferences,
    inference_j_at_break_even,
)
from ofa.footprint.energy_label import Label, label
from ofa.footprint.lifecycle import (
    Part,
    Total,
    car_lifetimes,
    co2e_kg,
    computer_w,
    embodied_kg,
    energy_kwh,
    g_per_kwh,
    joules_of_kwh,
    kg_of_lb,
    kwh_of_joules,
    lb_of_kg,
    mean_power_w,
    mixed_g_per_kwh,
    total,
    tree_months,
)
from ofa.footprint.transmission import (
    EdgeAgainstCloud,
    edge_against_cloud,
    fixed_line_kwh_per_gb,
    line_w,
    lora_airtime_s,
    network_j,
    radio_j_per_byte,
    transmission_j,
)

__all__ = [
    "EdgeAgainstCloud",
    "Label",
    "Part",
    "Total",
    "break_even_bytes",
    "break_even_devices",
    "break_even_inferences",
    "car_lifetimes",
    "co2e_kg",
    "computer_w",
    "edge_against_cloud",
    "embodied_kg",
    "energy_kwh",
    "fixed_line_kwh_per_gb",
    "g_per_kwh",
    "inference_j_at_break_even",
    "joules_of_kwh",
    "kg_of_lb",
    "kwh_of_joules",
    "label",
    "lb_of_kg",
    "line_w",
    "lora_airtime_s",
    "mean_power_w",
    "mixed_g_per_kwh",
    "network_j",
    "radio_j_per_byte",
    "total",
    "transmission_j",
    "tree_months",
]
