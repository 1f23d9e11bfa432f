"""Real parts to try Terra on: a network, a Docker Engine, a registry and machines, apart from the host's own.

Everything runs in a network namespace, so that nothing reaches the host's network, and everything is a context manager
that takes down what it put up. A part whose process was killed before it could do so is taken down by the next part that
starts. Every part needs root. Start them from the main thread: a daemon gets SIGTERM when the thread that started it ends.
"""
