"""What was laid down on a machine, how its files differ from that now, and which versions of its system its disks hold."""
