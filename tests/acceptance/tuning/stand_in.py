"""Stands in for Katib's example programs: it prints what they print, computed from the parameters that it is given.

``test_corpus`` mounts me where the examples' images have their programs. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import pathlib

GIVEN = argparse.ArgumentParser()
for name in ("--lr", "--momentum"):
    GIVEN.add_argument(name, type=float, default=0.5)
for name in ("--epochs", "--batch-size"):
    GIVEN.add_argument(name, type=int, default=1)
for name in ("--log-path", "--checkpoint"):
    GIVEN.add_argument(name, default="")


def main() -> None:
    given = GIVEN.parse_args()
    if given.checkpoint:
        population(given)
        return
    loss = 0.1 + abs(given.lr - 0.02) + abs(given.momentum - 0.6)
    lines = [f"{{metricName: loss, metricValue: {loss + 1 / step:.4f}}};"
             f"{{metricName: accuracy, metricValue: {1 - (loss + 1 / step) / 4:.4f}}}" for step in (1, 2, 4, 8)]
    if given.log_path:
        pathlib.Path(given.log_path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        for step in (1, 2, 4, 8):
            print(f"epoch {step}: loss={loss + 1 / step:.4f} accuracy={1 - (loss + 1 / step) / 4:.4f}", flush=True)
    print("trial", os.environ.get("TRIAL_NAME", ""), os.environ.get("TRIAL_KIND", ""),
          os.environ.get("TRIAL_LABEL_CUSTOM", ""), os.environ.get("KATIB_TRIAL_NAME", ""))


def population(given: argparse.Namespace) -> None:
    """One member: it goes on from the steps that it finds in its checkpoint."""
    kept = pathlib.Path(given.checkpoint) / "steps"
    steps = int(kept.read_text(encoding="utf-8")) if kept.exists() else 0
    steps += given.epochs
    kept.write_text(str(steps), encoding="utf-8")
    print(f"Validation-accuracy={min(0.98, steps * given.lr):.4f}", flush=True)


if __name__ == "__main__":
    main()
