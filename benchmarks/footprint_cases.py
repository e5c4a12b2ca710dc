"""Published cases of footprints, from their printed inputs, by `ofa.footprint`: a function per kind, by the case's name.

`benchmarks/footprint.py` prints them for docs/footprint.md; `tests/ofa/footprint/test_golden.py` compares them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ofa import footprint
from ofa.footprint.energy_label import steps

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]
ONTARIO_KG_PER_MWH = {"oil": 816.6885263, "gas": 743.8415916}
"""Stack emissions that codecarbon's regional mixes use, kg CO2 per MWh."""


def strubell(case: Inputs) -> Outputs:
    """Equations 1 and 2 of Strubell et al. 2019."""
    kwh = footprint.energy_kwh(case["power_w"], case["hours"], case["pue"])
    kg = footprint.co2e_kg(kwh, 1000 * footprint.kg_of_lb(case["lb_co2e_per_kwh"]))
    return {"kwh": kwh, "kg": kg, "lb": footprint.lb_of_kg(kg)}


def patterson(case: Inputs) -> Outputs:
    """A row of Table 4 of Patterson et al. 2021; `net` subtracts purchases, which we do not."""
    kwh = footprint.energy_kwh(case["chips"] * case["power_w"], 24 * case["days"], case["pue"])
    return {
        "kwh": kwh,
        "kg": footprint.co2e_kg(kwh, 1000 * case["kg_per_kwh"]),
        "kg_net": footprint.co2e_kg(kwh, 1000 * case["kg_per_kwh_net"]),
    }


def ofa_rate(case: Inputs) -> Outputs:
    """The rate of the OFA paper's Table 1."""
    return {"lb_per_gpu_h": strubell({**case, "hours": 1})["lb"], "usd_per_gpu_h": case["usd_per_gpu_h"]}


def ofa_table1(case: Inputs) -> Outputs:
    """A row of the OFA paper's Table 1: GPU hours for all devices, at its rate."""
    hours = case["once_gpu_h"] + case["devices"] * case["each_gpu_h"]
    lb = hours * case["lb_per_gpu_h"]
    rate = RATE["power_w"], RATE["pue"]
    kwh = footprint.energy_kwh(rate[0], hours, rate[1])
    return {"gpu_h": hours, "kwh": kwh, "lb": lb, "kg": footprint.kg_of_lb(lb), "usd": hours * case["usd_per_gpu_h"]}


RATE = {"power_w": 188.14859375, "pue": 1.58}
"""Power of one V100 of 64 with its share of the server (Strubell et al. 2019, Table 3: 12,041.51 W / 64), and PUE."""


def break_even_devices(case: Inputs) -> Outputs:
    """Devices until the OFA paper's training pays."""
    return {"devices": footprint.break_even_devices(case["once_gpu_h"], case["each_gpu_h"], case["rival_each_gpu_h"])}


def mlco2(case: Inputs, typed: bool = False) -> Outputs:
    """The ML CO2 calculator at full load, and what its page shows: it rounds the intensity unless the user typed it."""
    kwh = footprint.energy_kwh(case["tdp_w"], case["hours"], case["pue"])
    kg_per_kwh = case["g_per_kwh"] / 1000 if typed else round(int(case["g_per_kwh"]) / 1000, 2)
    page = round(round(kwh, 2) * kg_per_kwh, 2)
    return {"kwh": kwh, "kg": footprint.co2e_kg(kwh, case["g_per_kwh"]), "page_kwh": round(kwh, 2), "page_kg": page}


def kwh_at_grid(case: Inputs) -> Outputs:
    """CO2e of an energy on a grid."""
    kg = footprint.co2e_kg(case["kwh"], case["g_per_kwh"])
    return {"kg": kg, "g": 1000 * kg}


def mix(case: Inputs) -> Outputs:
    """The intensity of a mix of sources."""
    return {
        "g_per_kwh": footprint.mixed_g_per_kwh({name: (part["share"], part["g_per_kwh"]) for name, part in case.items()})
    }


def ontario(case: Inputs) -> Outputs:
    """A regional mix of codecarbon, where all but oil and gas count as nothing."""
    shares = {name: case[name] / case["total"] for name in ONTARIO_KG_PER_MWH}
    sources = {name: (share, ONTARIO_KG_PER_MWH[name]) for name, share in shares.items()}
    intensity = footprint.mixed_g_per_kwh(sources | {"others": (1 - sum(shares.values()), 0.0)})
    return {"kg": footprint.co2e_kg(case["kwh"], intensity)}


def part_load(case: Inputs) -> Outputs:
    """Half of the TDP, where no counter is readable."""
    return {"kwh": footprint.energy_kwh(case["tdp_w"], case["seconds"] / 3600, utilisation=case["load"])}


def container(case: Inputs) -> Outputs:
    """The sum of a container's parts, and what it implies."""
    kwh = case["cpu_kwh"] + case["gpu_kwh"] + case["ram_kwh"]
    ram_w = footprint.mean_power_w(case["ram_kwh"], case["seconds"] / 3600)
    return {"kwh": kwh, "g_per_kwh": footprint.g_per_kwh(case["kg"], kwh), "ram_w": ram_w}


def green_algorithms(case: Inputs) -> Outputs:
    """The Green Algorithms calculator."""
    watts = footprint.computer_w(case["cores"], case["w_per_core"], case["usage"], case["memory_gb"], case["w_per_gb"])
    kwh = case["runs"] * footprint.energy_kwh(watts, case["hours"], case["pue"])
    kg = footprint.co2e_kg(kwh, case["g_per_kwh"])
    return {"kwh": kwh, "kg": kg, "tree_months": footprint.tree_months(kg)}


def bloom(case: Inputs) -> Outputs:
    """BLOOM's training."""
    kwh = footprint.energy_kwh(case["tdp_w"], case["gpu_h"], case["pue"])
    return {"kwh": kwh, "kg": footprint.co2e_kg(kwh, case["g_per_kwh"])}


def bloom_api(case: Inputs) -> Outputs:
    """BLOOM's requests."""
    joules = footprint.inference_j_at_break_even(footprint.joules_of_kwh(case["kwh"]), case["requests"])
    return {**kwh_at_grid(case), "wh_per_request": 1000 * footprint.kwh_of_joules(joules)}


def bloomz(case: Inputs) -> Outputs:
    """Inferences until a model's use passes its training."""
    once = footprint.joules_of_kwh(case["train_kwh"] + case["finetune_kwh"])
    return {"inferences": footprint.break_even_inferences(once, footprint.joules_of_kwh(case["kwh_per_inference"]))}


def streaming(case: Inputs) -> Outputs:
    """An hour of video."""
    size = 1e9 * case["gb"]
    parts = ("fixed", "router", "mobile")
    joules = {part: footprint.network_j(size, case[f"{part}_kwh_per_gb"]) for part in parts}
    return {f"{part}_wh": 1000 * footprint.kwh_of_joules(value) for part, value in joules.items()}


def power_model(case: Inputs) -> Outputs:
    """Malmodin's power model of a line."""
    core = footprint.line_w(case["mbps"], case["core_w"], case["core_w_per_mbps"])
    home = footprint.line_w(case["mbps"], case["cpe_w"], case["cpe_w_per_mbps"])
    return {"wh_per_h": case["dc_w"] + core + home}


def lora(case: Inputs) -> Outputs:
    """A packet of LoRa."""
    seconds = footprint.lora_airtime_s(case["payload_bytes"], case["sf"], case["bandwidth_hz"])
    mj = 1000 * seconds * case["tx_a"] * case["volt"]
    return {"ms": 1000 * seconds, "mj": mj, "mj_per_byte": mj / case["payload_bytes"]}


def lte(case: Inputs) -> Outputs:
    """One image over LTE."""
    per_byte = footprint.radio_j_per_byte(case["mw_per_mbps"], case["base_mw"], case["mbps"])
    return {
        "transfer_j": footprint.transmission_j(case["bytes"], per_byte),
        "promotion_j": case["promotion_mw"] / 1000 * case["promotion_s"],
        "tail_j": case["tail_mw"] / 1000 * case["tail_s"],
    }


def macro(case: Inputs) -> Outputs:
    """An analog array's peak efficiency, as energies."""
    per_op = 1 / (case["tops_per_w"] * 1e12)
    per_mac = case["ops_per_mac"] * per_op
    inference = per_mac * case["macs"]
    return {
        "j_per_op": per_op,
        "j_per_mac": per_mac,
        "j_per_inference": inference,
        "j_per_int8_inference": inference * case["cells_per_int8_weight"],
    }


def ten_times(case: Inputs) -> Outputs:
    """What "ten times more than digital" implies."""
    tops = case["tops_per_w"] / case["factor"]
    return {"digital_tops_per_w": tops, "digital_j_per_mac": 2 / (tops * 1e12)}


def million(case: Inputs) -> Outputs:
    """The energy of an inference that "a million inferences" implies."""
    joules = footprint.inference_j_at_break_even(footprint.joules_of_kwh(case["train_kwh"]), case["inferences"])
    return {"implied_wh_per_inference": 1000 * footprint.kwh_of_joules(joules), "implied_j_per_inference": joules}


def edge_cloud(case: Inputs) -> Outputs:
    """An inference on the device, or on a server."""
    found = footprint.edge_against_cloud(
        case["edge_j"],
        case["server_j"],
        case["bytes"],
        case["radio_j_per_byte"],
        case["network_kwh_per_gb"],
        case["server_pue"],
    )
    grams = found.grams(case["g_per_kwh"])
    return {
        "radio_j": found.radio_j,
        "network_j": found.network_j,
        "server_j": found.server_j,
        "cloud_j": found.cloud_j,
        "cloud_over_edge": found.cloud_over_edge,
        "edge_g": grams["edge"],
        "cloud_g": grams["cloud"],
        "edge_j_at_break_even": found.cloud_j,
    }


def demo(case: Inputs) -> Outputs:
    """Inferences until use passes training, in energy and in CO2e."""
    joules = case["train_j"], case["inference_j"]
    grams = case["train_g_per_kwh"], case["use_g_per_kwh"]
    return {
        "inferences": footprint.break_even_inferences(*joules),
        "inferences_co2e": footprint.break_even_inferences(*joules, *grams),
    }


def embodied(case: Inputs) -> Outputs:
    """A phone's manufacture per inference, over its time in use and over its life."""
    hours, life = case["inference_s"] / 3600, case["lifespan_h"]
    share = case["resource_share"]
    return {
        "g_per_inference_of_on_time": 1000
        * footprint.embodied_kg(case["embodied_kg"], hours, life * case["on_share"], share),
        "g_per_inference_of_lifetime": 1000 * footprint.embodied_kg(case["embodied_kg"], hours, life, share),
    }


def label(case: Inputs) -> Outputs:
    """A label."""
    given = {name: value for name, value in case.items() if name != "native_values"}
    found = footprint.label(input_values=case["native_values"], **given)
    return {"index_nj": found.index_nj, "letter": found.letter, "letters": found.letters}


def stars(case: Inputs) -> Outputs:
    """The two rules of the AI Energy Score for its stars, which are not ours."""
    values = case["wh"]
    low, width = min(values), (max(values) - min(values)) / 5
    ranks = {value: rank for rank, value in enumerate(sorted(values))}
    return {
        "by_range": [5 - min(4, int((value - low) / width)) for value in values],
        "by_count": [5 - 5 * ranks[value] // len(values) for value in values],
    }


def display(case: Inputs) -> Outputs:
    """The index of the label of displays, (EU) 2019/2013, which is not ours."""
    area = 3 * (90 * math.tanh(0.025 + 0.0035 * (case["area_dm2"] - 11)) + 4) + 3
    return {"eei": (case["power_w"] + 1) / area + case["corr"]}


RULES: dict[str, Callable[[Inputs], Outputs]] = {
    "strubell_five_cars": lambda case: {
        "cars": footprint.car_lifetimes(footprint.kg_of_lb(case["lb"])),
        "tonnes": footprint.kg_of_lb(case["lb"]) / 1000,
    },
    "strubell_": strubell,
    "patterson_correction": lambda case: {"factor": case["strubell_tonnes"] / case["measured_tonnes"]},
    "patterson_": patterson,
    "ofa_rate": ofa_rate,
    "ofa_table1_": ofa_table1,
    "break_even_devices_": break_even_devices,
    "mlco2_v100_100h_custom": lambda case: mlco2(case, typed=True),
    "mlco2_": mlco2,
    "codecarbon_mix": mix,
    "codecarbon_ontario": ontario,
    "codecarbon_constant_mode": part_load,
    "codecarbon_unknown_cpu": part_load,
    "codecarbon_container_sum": container,
    "codecarbon_": kwh_at_grid,
    "green_algorithms_australia_switzerland": lambda case: {"factor": case["au"] / case["ch"]},
    "green_algorithms_tree_month": lambda case: {"g_per_tree_month": 1000 / footprint.tree_months(1.0)},
    "green_algorithms_": green_algorithms,
    "sci_": lambda case: {
        "g": 1000 * footprint.embodied_kg(case["embodied_kg"], case["reserved_h"], case["lifespan_h"]),
    },
    "bloom_training": bloom,
    "bloom_inference_api": bloom_api,
    "break_even_inferences_demo": demo,
    "break_even_inferences_": bloomz,
    "carbontracker_": kwh_at_grid,
    "transmission_streaming_hour": streaming,
    "transmission_power_model": power_model,
    "transmission_aslan_": lambda case: {"kwh_per_gb": footprint.fixed_line_kwh_per_gb(case["year"])},
    "transmission_lora_": lora,
    "transmission_lte_": lte,
    "imec_analog_macro": macro,
    "imec_ten_times": ten_times,
    "seed_million_": million,
    "edge_versus_cloud": edge_cloud,
    "embodied_share": embodied,
    "label_steps": lambda case: {"classes": [steps(factor) for factor in case["factors"]]},
    "label_": label,
    "ai_energy_score_rule": stars,
    "eu_display_label": display,
}
"""The rule of each case, by the beginning of its name; the first that fits."""


def computed(name: str, inputs: Inputs) -> Outputs:
    """What our functions make of a case; raises `KeyError` for a kind that is not known."""
    for beginning, rule in RULES.items():
        if name.startswith(beginning):
            return rule(inputs)
    raise KeyError(name)


def agrees(got: Any, wanted: Any, rel_tol: float) -> bool:
    """Whether a result is the expected one: numbers within the tolerance, all else exactly."""
    if isinstance(wanted, list):
        return len(got) == len(wanted) and all(agrees(a, b, rel_tol) for a, b in zip(got, wanted, strict=True))
    if wanted is None or isinstance(wanted, str):
        return bool(got == wanted)
    return got is not None and math.isclose(got, wanted, rel_tol=max(rel_tol, 1e-12), abs_tol=1e-15)
