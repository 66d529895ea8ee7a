"""A fork server's program: ``python zygote.py FD [PRELOAD...]``. The node starts me with an environment's python.

I load my siblings by path under the name ``lightship_inside`` (the package itself is not importable here, nor should
a container's program find it), take my directory off ``sys.path``, and hand over to ``forkserver``.
"""

from __future__ import annotations

import importlib
import os
import sys
import types


def main() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    package = types.ModuleType("lightship_inside")
    package.__path__ = [here]
    sys.modules["lightship_inside"] = package
    forkserver = importlib.import_module("lightship_inside.forkserver")
    forkserver.serve(int(sys.argv[1]), sys.argv[2:])


if __name__ == "__main__":
    main()
