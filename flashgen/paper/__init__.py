"""The papers' tables and curves, reproduced by counting: ``flashgen paper``.

Each figure is a file that makes a ``Section``: tables with their captions, charts, and what explains the
difference to what the papers print. Nothing is fitted to them: programs are those of ``schedule``, tiles are
those that the planner chooses or that the papers' rule gives, bytes and FLOPs are counted off the programs.
"""
