"""Many rounds of crashes, for as long as one has patience.

make soak ROUNDS=500
.venv/bin/python -m tests.crash.soak --rounds 500 --seed 7
"""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import tempfile
from pathlib import Path

from tests.crash.rounds import Report, play
from tests.crash.stage import Stage
from tests.ports import free_port


def main() -> int:
    """Play, and print the report; the exit status is 1 if anything was lost or is there twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="the same seed, the same crashes")
    options = parser.parse_args()
    # Whoever ends it gets the disk and the processes cleaned up too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"seed {options.seed}", flush=True)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="tollgate-soak-") as directory, Stage(Path(directory), free_port) as stage:
        for report in play(stage, options.rounds, options.seed):
            found = f", lost {report.lost}, twice {report.twice}" if report.lost or report.twice else ""
            print(f"round {report.rounds}: {report.acknowledged} spans acknowledged{found}", flush=True)
    print(report)
    return int(bool(report.lost or report.twice))


if __name__ == "__main__":
    sys.exit(main())
