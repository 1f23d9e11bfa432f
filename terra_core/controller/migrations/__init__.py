"""The schemas of the controller's database; :mod:`terra_core.service.migration` says how to add one.

1. The tables of the first controllers. The earliest have no ``identity`` in ``about``, which is added at start.
2. A target names the plugins that made it (decision 0043). Its keys are those of any transport.
3. Tokens and the audit log.
4. Images are laid down once for a layout of disks (decision 0073): the table ``golden_volumes``, and ``layout`` of machines.
5. What happened to machines (decision 0080): the tables ``happenings`` and ``boots``, and ``since`` of machines.
6. Tokens that machines report their boots with (decision 0079).
7. Upgrades of machines (decision 0092): ``upgrade`` of machines.
8. The controllers of the database (decision 0096), and who leads (decision 0097): the tables ``controllers`` and ``lead``.
9. Numbers of happenings and of changes have 64 bits on a database server.
"""
