"""The fixtures of every test, Terra's own and those of its plugins: unit tests start no program, others leave nothing."""

pytest_plugins = ["lab.fixtures", "lab.parts", "lab.schedule"]
