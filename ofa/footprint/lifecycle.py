"""Energy and CO2e of the parts of a life, and their sum.

E = mean power x hours x PUE; CO2e = E x grid intensity (Strubell, Ganesh, McCallum, ACL 2019, equations 1 and 2;
Lannelongue, Grealey, Inouye, Advanced Science 2021, doi 10.1002/advs.202100707). Intensity is location-based; offsets and
purchases of green electricity are not subtracted (Software Carbon Intensity, ISO/IEC 21031).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum

from ofa.errors import UserError
from ofa.footprint.checks import number

JOULES_PER_KWH = 3.6e6
KG_PER_LB = 0.45359237
"""The international avoirdupois pound, exactly."""
CAR_LIFETIME_LB = 126_000
"""CO2e of an American car with its fuel over its life (Strubell et al. 2019, table 1)."""
TREE_G_PER_YEAR = 11_000
"""CO2 that a mature tree takes up in a year (Green Algorithms, referenceValues.csv)."""
MEMORY_W_PER_GB = 0.3725
"""Power of memory (Green Algorithms: Lannelongue et al. 2021)."""
KINDS = ("metered", "estimated", "modelled", "unknown")
"""Origins of a part: read from a counter; calculated from measurements of the same kind of thing; from a model; none."""


def energy_kwh(power_w: float, hours: float, pue: float = 1.0, utilisation: float = 1.0) -> float:
    """Energy in kWh of a mean power over some hours (Strubell et al. 2019, equation 1).

    Args:
        power_w: mean power of all devices together, or their TDP together with a `utilisation`.
        hours: duration.
        pue: power usage effectiveness of the data centre, energy of the building over that of its computers, at least 1; 1
            outside a data centre.
        utilisation: mean power over `power_w`, in [0, 1].
    """
    power = number("power_w", power_w) * number("utilisation", utilisation, most=1)
    return power * number("hours", hours) * number("pue", pue, least=1) / 1000


def co2e_kg(kwh: float, g_per_kwh: float) -> float:
    """CO2e in kg of an energy on a grid of this intensity (Strubell et al. 2019, equation 2)."""
    return number("kwh", kwh) * number("g_per_kwh", g_per_kwh) / 1000


def g_per_kwh(kg: float, kwh: float) -> float:
    """Grid intensity behind a CO2e in kg and an energy in kWh."""
    return 1000 * number("kg", kg) / number("kwh", kwh, above=0)


def mixed_g_per_kwh(mix: Mapping[str, tuple[float, float]]) -> float:
    """Grid intensity of a mix of sources: share and g CO2e per kWh of each; the shares must add up to 1.

    Stack emissions alone and whole life cycles differ by more than countries do (codecarbon counts regions by the first and
    nations by the second), so all intensities must be of one kind.
    """
    shares = fsum(number(f"share of {name}", share, most=1) for name, (share, _) in mix.items())
    if abs(shares - 1) > 1e-6:
        raise UserError(f"shares of {', '.join(mix) or 'nothing'} add up to {shares:g}; must be 1")
    return fsum(share * number(f"g_per_kwh of {name}", grams) for name, (share, grams) in mix.items())


def computer_w(cores: float, w_per_core: float, usage: float, memory_gb: float, w_per_gb: float = MEMORY_W_PER_GB) -> float:
    """Mean power in W of cores and memory (Lannelongue et al. 2021): memory counts whole, whatever is used of it."""
    busy = number("cores", cores) * number("w_per_core", w_per_core) * number("usage", usage, most=1)
    return busy + number("memory_gb", memory_gb) * number("w_per_gb", w_per_gb)


def mean_power_w(kwh: float, hours: float) -> float:
    """Mean power in W behind an energy."""
    return 1000 * number("kwh", kwh) / number("hours", hours, above=0)


def embodied_kg(total_kg: float, used_h: float, lifetime_h: float, share: float = 1.0) -> float:
    """Share of a device's manufacture, in kg CO2e: by time, and by the part of the device (SCI, ISO/IEC 21031).

    Args:
        total_kg: CO2e of making (and perhaps moving, and scrapping) the device.
        used_h: hours reserved for the work.
        lifetime_h: hours of the device's life, or of its time in use: the second gives more, so say which.
        share: part of the device that is reserved, in [0, 1].

    Raises:
        UserError: the hours used are more than those of the life.
    """
    lifetime = number("lifetime_h", lifetime_h, above=0)
    return number("total_kg", total_kg) * number("used_h", used_h, most=lifetime) / lifetime * number("share", share, most=1)


def kwh_of_joules(joules: float) -> float:
    """J as kWh."""
    return number("joules", joules) / JOULES_PER_KWH


def joules_of_kwh(kwh: float) -> float:
    """Convert kWh to J."""
    return number("kwh", kwh) * JOULES_PER_KWH


def kg_of_lb(pounds: float) -> float:
    """Pounds as kg."""
    return number("pounds", pounds) * KG_PER_LB


def lb_of_kg(kg: float) -> float:
    """Convert kg to pounds."""
    return number("kg", kg) / KG_PER_LB


def car_lifetimes(kg: float) -> float:
    """CO2e in lives of a car, fuel included (Strubell et al. 2019, table 1)."""
    return lb_of_kg(kg) / CAR_LIFETIME_LB


def tree_months(kg: float) -> float:
    """Months that a mature tree needs to take up a CO2e (Green Algorithms)."""
    return 1000 * number("kg", kg) / (TREE_G_PER_YEAR / 12)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a life."""

    name: str
    kwh: float | None
    """Energy; None: unknown, or of no meaning (manufacture is counted in CO2e alone)."""
    kg: float | None
    """CO2e; None: unknown."""
    kind: str
    """One of `KINDS`."""
    source: str
    """Origin of the number, in words; the reason where it is unknown."""
    missing: tuple[str, ...] = ()
    """Parts that the energy lacks; with any, it is a lower bound."""


@dataclass(frozen=True, kw_only=True)
class Total:
    """The sum over the parts that are known."""

    kwh: float | None
    """None where no part's energy is known."""
    kg: float | None
    """None where no part's CO2e is known."""
    kwh_without: tuple[str, ...]
    """Parts whose energy is unknown."""
    kg_without: tuple[str, ...]
    """Parts whose CO2e is unknown."""
    missing: tuple[str, ...]
    """Whatever the parts that are counted lack."""


def total(parts: Iterable[Part], no_energy: tuple[str, ...] = ("embodied",)) -> Total:
    """Add up what is known; `no_energy`: parts that are counted in CO2e alone, whose energy is not missed."""
    parts = list(parts)
    kwh = [part.kwh for part in parts if part.kwh is not None]
    kg = [part.kg for part in parts if part.kg is not None]
    return Total(
        kwh=fsum(kwh) if kwh else None,
        kg=fsum(kg) if kg else None,
        kwh_without=tuple(part.name for part in parts if part.kwh is None and part.name not in no_energy),
        kg_without=tuple(part.name for part in parts if part.kg is None),
        missing=tuple(f"{part.name}: {text}" for part in parts for text in part.missing),
    )
