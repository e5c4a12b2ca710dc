"""Energy of sending data: the device's radio, the network, and edge against cloud.

A radio takes energy per byte, and once a burst for waking up and for the tail after the last byte (Huang et al., MobiSys
2012, for LTE: the tail of one image alone is a hundred times its transfer). A network's energy per gigabyte is an average:
almost all of it does not depend on the data (Malmodin, Electronics Goes Green 2020), so it is not what one more image costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from ofa.footprint.checks import number, whole
from ofa.footprint.lifecycle import JOULES_PER_KWH, co2e_kg, kwh_of_joules

BYTES_PER_GB = 1e9
BITS = 8
ASLAN_KWH_PER_GB, ASLAN_YEAR, ASLAN_HALVES_IN_YEARS = 0.06, 2015, 2
LORA_PREAMBLE_SYMBOLS, LORA_SYNC_SYMBOLS = 8, 4.25
LOW_DATA_RATE_S = 0.016
"""LoRa symbols longer than this use the low data rate optimisation (SX1276 data sheet, 4.1.1.6)."""


def radio_j_per_byte(mw_per_mbps: float, base_mw: float, mbps: float) -> float:
    """Energy of a byte, in J, of a radio whose power rises with its rate (Huang et al. 2012, section 4)."""
    rate = number("mbps", mbps, above=0)
    watts = (number("mw_per_mbps", mw_per_mbps) * rate + number("base_mw", base_mw)) / 1000
    return watts / (rate * 1e6 / BITS)


def transmission_j(
    size_bytes: float, j_per_byte: float, wake_j: float = 0.0, tail_j: float = 0.0, bursts: float = 1.0
) -> float:
    """Energy of sending, in J: every byte, and waking and tail once a burst.

    Args:
        size_bytes: bytes of all bursts together.
        j_per_byte: energy of a byte.
        wake_j: energy of waking the radio up.
        tail_j: energy from the last byte until the radio sleeps.
        bursts: number of bursts; below 1 where several payloads share one.
    """
    once = number("wake_j", wake_j) + number("tail_j", tail_j)
    return number("size_bytes", size_bytes) * number("j_per_byte", j_per_byte) + number("bursts", bursts) * once


def network_j(size_bytes: float, kwh_per_gb: float) -> float:
    """Energy of a network for some bytes, in J, at an average intensity; 1 GB is 1e9 bytes."""
    return number("size_bytes", size_bytes) / BYTES_PER_GB * number("kwh_per_gb", kwh_per_gb) * JOULES_PER_KWH


def fixed_line_kwh_per_gb(year: float) -> float:
    """Intensity of fixed lines, core and access: 0.06 kWh/GB in 2015, halving every two years.

    Aslan, Mayers, Koomey, France, J. Industrial Ecology 22(4), 2018, doi 10.1111/jiec.12630. After 2015 an extrapolation,
    which operators' statistics contradict (Traficom 2022: 0.05 kWh/GB in 2021).
    """
    return float(
        ASLAN_KWH_PER_GB * 2 ** (-(number("year", year, least=2000, most=2100) - ASLAN_YEAR) / ASLAN_HALVES_IN_YEARS)
    )


def line_w(mbps: float, base_w: float, w_per_mbps: float) -> float:
    """Power of a part of a network, in W: a base that is always there, and a little with the rate (Malmodin 2020)."""
    return number("base_w", base_w) + number("w_per_mbps", w_per_mbps) * number("mbps", mbps)


def lora_airtime_s(
    payload_bytes: int, spreading_factor: int, bandwidth_hz: float = 125_000.0, coding_rate: int = 1
) -> float:
    """Time on air of a LoRa packet, in s (Semtech SX1276 data sheet, section 4.1.1.7).

    With explicit header, checksum and a preamble of 8 symbols, as LoRaWAN sends upwards.

    Args:
        payload_bytes: 0 to 255.
        spreading_factor: 7 to 12.
        bandwidth_hz: of the channel.
        coding_rate: 1 to 4, for 4/5 to 4/8.
    """
    size, factor = whole("payload_bytes", payload_bytes, 0, 255), whole("spreading_factor", spreading_factor, 7, 12)
    coding = whole("coding_rate", coding_rate, 1, 4)
    symbol_s = 2.0**factor / number("bandwidth_hz", bandwidth_hz, above=0)
    bits_per_symbol = factor - (2 if symbol_s > LOW_DATA_RATE_S else 0)
    groups = ceil((BITS * size - 4 * factor + 28 + 16) / (4 * bits_per_symbol))
    symbols = 8 + max(groups * (coding + 4), 0)
    return (LORA_PREAMBLE_SYMBOLS + LORA_SYNC_SYMBOLS + symbols) * symbol_s


@dataclass(frozen=True, kw_only=True)
class EdgeAgainstCloud:
    """The energy of one inference on the device, and of sending its input to a server that infers."""

    edge_j: float
    radio_j: float
    network_j: float
    server_j: float
    """The server with the overhead of its data centre."""

    @property
    def cloud_j(self) -> float:
        """Radio, network and server."""
        return self.radio_j + self.network_j + self.server_j

    @property
    def cloud_over_edge(self) -> float | None:
        """Energy of the cloud as a multiple of the edge's; None where that is 0."""
        return None if self.edge_j == 0 else self.cloud_j / self.edge_j

    def grams(self, g_per_kwh: Mapping[str, float]) -> dict[str, float]:
        """CO2e of an inference, in g, as `edge` and `cloud`; the intensities are those of `edge`, `network` and `server`."""

        def of(joules: float, place: str) -> float:
            return 1000 * co2e_kg(kwh_of_joules(joules), g_per_kwh[place])

        cloud = of(self.radio_j, "edge") + of(self.network_j, "network") + of(self.server_j, "server")
        return {"edge": of(self.edge_j, "edge"), "cloud": cloud}


def edge_against_cloud(
    edge_j: float,
    server_j: float,
    size_bytes: float,
    j_per_byte: float,
    kwh_per_gb: float,
    pue: float = 1.0,
    wake_j: float = 0.0,
    tail_j: float = 0.0,
    inferences_per_burst: float = 1.0,
) -> EdgeAgainstCloud:
    """Compare an inference on the device with one on a server.

    Args:
        edge_j: energy of an inference on the device.
        server_j: energy of one on the server, without the data centre's overhead.
        size_bytes: bytes sent per inference.
        j_per_byte: energy of a byte in the device's radio.
        kwh_per_gb: intensity of the network between.
        pue: of the server's data centre, at least 1.
        wake_j: energy of waking the radio, once a burst.
        tail_j: energy after the last byte, once a burst.
        inferences_per_burst: inputs that are sent together, at least 1.
    """
    bursts = 1 / number("inferences_per_burst", inferences_per_burst, least=1)
    return EdgeAgainstCloud(
        edge_j=number("edge_j", edge_j),
        radio_j=transmission_j(size_bytes, j_per_byte, wake_j, tail_j, bursts),
        network_j=network_j(size_bytes, kwh_per_gb),
        server_j=number("server_j", server_j) * number("pue", pue, least=1),
    )
