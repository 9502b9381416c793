"""The explorer: what the planner would choose with any size of shared memory, as one page or as pictures.

A spec and a target come in; out goes one HTML file that needs no network. Its charts are our own SVG
(``templates/explore``), not a charting library's: 40 kB of script instead of 4.5 MB, legible on a phone, in
the dark and to a screen reader, each with a table of the same numbers.

``flashgen.explore(spec)``, a call of this package, gives the page to Python.
"""

from flashgen.ask.package import callable_package

callable_package(__name__)
