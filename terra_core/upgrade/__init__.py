"""The next version of a machine's system: planned, and laid down beside the one that runs; see docs/decisions/0087."""
