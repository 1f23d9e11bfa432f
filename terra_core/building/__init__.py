"""What every builder needs, whatever engine it builds on: the files that a build sees, its Dockerfile, and its time.

Above the contract, whose :class:`~terra_core.hookspecs.BuildRequest` it reads, and open to plugins.
"""
