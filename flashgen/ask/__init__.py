"""What commands answer, asked from Python: ``flashgen.explain``, ``flashgen.explore``, ``flashgen.verify``.

Here is what they share, and ``explain``; the other two stand in the packages that they are named after.
Answers are frozen, print as the commands do, and show themselves in a notebook.
"""
