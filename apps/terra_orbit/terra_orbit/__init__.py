"""Orbit: containers with addresses of their own, for services and for trying a machine's image before it gets the machine."""

API_PORT = 9100
"""The port of the agent's API."""
