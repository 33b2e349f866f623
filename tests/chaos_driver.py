"""A driver for chaos.py: `ig3d run` that notes every epoch that a training reports, with the time.

python tests/chaos_driver.py SPACE STORAGE NOTES [--address HOST:PORT] [FIELD=VALUE ...]
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from ig3d_ray.config.load import load_space
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.pipeline import run
from ig3d_ray.workflow.progress import Reporter


class Noting(Reporter):
    """Tells as usual, and writes each event down at once: this process may be killed at any moment."""

    notes: Path

    def training(self, event: dict[str, Any]) -> None:
        with self.notes.open("a") as lines:
            lines.write(json.dumps({"at": time.time()} | event) + "\n")
        super().training(event)


def main() -> None:
    space_file, storage, notes, address, *overrides = sys.argv[1:]
    reporter = Noting()
    reporter.notes = Path(notes)
    space = load_space(Path(space_file), tuple(overrides))
    outcome = run(Store(storage), space, "small", address or None, reporter)
    sys.exit(1 if outcome.failed else 0)


if __name__ == "__main__":
    main()
