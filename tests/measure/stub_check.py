"""Stands in for measure.gpu_check and measure.gpu_page.

`exactness` finds one thing, `precision` finds one and hangs, `speed` fails.
"""

import json
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    if sys.argv[1].endswith(".json"):
        Path(sys.argv[2]).write_text("page")
        sys.exit(0)
    part, out = sys.argv[1], Path(sys.argv[sys.argv.index("--out") + 1])
    with out.open("a") as findings:
        findings.write(json.dumps({"part": part, "equal": True}) + "\n")
    if part == "precision":
        time.sleep(600)
    sys.exit(part == "speed")
