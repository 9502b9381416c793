"""Targets, the formulas read off a program, the search among tiles, and the explanation."""
