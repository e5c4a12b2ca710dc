"""`python -m ofa` is `ofa`; so is `torchrun --nproc-per-node N -m -- ofa`."""

import sys

from ofa.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
