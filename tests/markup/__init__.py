"""Inputs for the markup tests."""
