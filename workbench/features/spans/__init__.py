"""Stretches of text throughout which the same units are on, and where else they are."""
