"""Break-even points: devices until training once pays, inferences until use passes training, bytes until edge beats cloud.

Each answers None where it never happens.
"""

from __future__ import annotations

from fractions import Fraction

from ofa.footprint.checks import number


def break_even_devices(once: float, each: float, rival_each: float, rival_once: float = 0.0) -> int | None:
    """The fewest devices n for which once + n x each < rival_once + n x rival_each; None: never.

    Any unit (GPU hours, kWh, kg) that is the same for all. A tie is not enough. Numbers count as they are written, 0.1
    as one tenth, so that a tie in decimals is a tie. For a once-for-all net against a search per device see Cai et al.,
    ICLR 2020 (arXiv 1908.09791), table 1.
    """
    fixed, per, rival_per, rival_fixed = (
        Fraction(repr(number(name, value)))
        for name, value in (("once", once), ("each", each), ("rival_each", rival_each), ("rival_once", rival_once))
    )
    if fixed + per < rival_fixed + rival_per:
        return 1
    if per >= rival_per:
        return None
    return (fixed - rival_fixed) // (rival_per - per) + 1


def break_even_inferences(
    once_j: float, inference_j: float, once_g_per_kwh: float = 1.0, use_g_per_kwh: float = 1.0
) -> float | None:
    """Inferences until use has taken as much as training (Luccioni, Jernite, Strubell 2024, arXiv 2311.16863, table 5).

    In energy; in CO2e where the grid intensities of training and use are given, which then differ.

    Returns:
        None where an inference takes nothing: never.
    """
    once = number("once_j", once_j) * number("once_g_per_kwh", once_g_per_kwh)
    each = number("inference_j", inference_j) * number("use_g_per_kwh", use_g_per_kwh)
    return None if each == 0 else once / each


def inference_j_at_break_even(once_j: float, inferences: float) -> float:
    """Energy of an inference, in J, of which so many take as much as training: what a claimed number implies."""
    return number("once_j", once_j) / number("inferences", inferences, above=0)


def break_even_bytes(
    edge_j: float, server_j: float, j_per_byte: float, pue: float = 1.0, burst_j: float = 0.0
) -> float | None:
    """Bytes per inference from which the cloud takes more energy than the edge.

    Args:
        edge_j: energy of an inference on the device.
        server_j: energy of one on the server, without the data centre's overhead.
        j_per_byte: energy of moving a byte: radio and network.
        pue: of the server's data centre, at least 1.
        burst_j: energy of waking the radio and of its tail, per inference.

    Returns:
        0 where the edge takes less even if nothing had to be sent; None where bytes cost nothing and the cloud wins.
    """
    fixed = number("server_j", server_j) * number("pue", pue, least=1) + number("burst_j", burst_j)
    ahead = number("edge_j", edge_j) - fixed
    per_byte = number("j_per_byte", j_per_byte)
    if ahead < 0:
        return 0.0
    return None if per_byte == 0 else ahead / per_byte
