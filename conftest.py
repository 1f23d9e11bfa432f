"""The fixtures of every test, those of plugins and applications included: unit tests start no program, others leave nothing."""

pytest_plugins = ["lab.fixtures", "lab.parts", "lab.schedule"]
