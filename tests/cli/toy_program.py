"""The whole program with the toy codec in place of the networks: `python -m tests.cli.toy_program encode ...`.

ZVC69_TOY_DELAY_S slows its networks down to those of a real model.
"""

import os

from tests.pipeline.engines import ToyEngines
from zvc69_cli.cli.main import run

if __name__ == "__main__":
    run(engines=ToyEngines(float(os.environ.get("ZVC69_TOY_DELAY_S", "0"))))
