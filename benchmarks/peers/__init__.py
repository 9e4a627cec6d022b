"""Contenders that do nothing but what a benchmark asks: the plain engines."""
