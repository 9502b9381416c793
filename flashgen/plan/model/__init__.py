"""Time from what a program does and a target's numbers."""
