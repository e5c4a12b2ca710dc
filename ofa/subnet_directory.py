"""`load_subnet` under its old address, which the `load.py` of subnets written before version 0.2 imports."""

from ofa.deploy.subnet_directory import load_subnet

__all__ = ["load_subnet"]
