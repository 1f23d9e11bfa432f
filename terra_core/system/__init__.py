"""The machine below: programs, mounts, signals, waiting, and progress events."""
