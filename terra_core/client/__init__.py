"""The clients of Terra's daemons: of any of them, and of a controller with answers that are models."""
