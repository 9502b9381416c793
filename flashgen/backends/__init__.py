"""The GPU languages: a room for each, behind the door ``flashgen.plan.backend``."""
