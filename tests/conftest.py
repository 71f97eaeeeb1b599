"""What every test has: a cache of engines of its own, never the user's."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

_FOLDER = tempfile.mkdtemp(prefix="zvc69-test-cache-")
os.environ["ZVC69_CACHE"] = _FOLDER
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
