"""The fixtures of every test, those of plugins and applications included: unit tests start no program, others leave nothing."""

from hypothesis import settings

pytest_plugins = ["lab.fixtures", "lab.parts", "lab.schedule"]
settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")
