"""What commands answer, asked from Python: ``flashgen.explain``, ``flashgen.explore``, ``flashgen.verify``.

Here is what they share; each stands in the package that it is named after.
Answers are frozen, print as the commands do, and show themselves in a notebook.
"""
