"""The words: why this plan, what else, formulas. The package can be called: ``flashgen.explain(spec)``."""

from flashgen.ask.package import callable_package

callable_package(__name__)
