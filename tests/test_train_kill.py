import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_killed_run_ends_bit_identical():
    root = Path(__file__).parents[1]
    command = [sys.executable, "benchmarks/kill.py", "--kills", "2", "--json"]
    output = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout
    assert json.loads(output)["differing"] == 0
