"""Installing a machine's image on its own disks.

:mod:`terra_core.install.probe` looks at the disks, :mod:`terra_core.install.plan` plans what is done to them, and
:mod:`terra_core.install.use` does it. Nothing is written before the plan is made and found possible.
"""
