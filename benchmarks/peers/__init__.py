"""Servers to compare with: small programs, each run as `python -m benchmarks.peers.NAME PORT`.

Each takes the path and the commands of a room's socket and answers with events of the same size. None of them signs
people in, checks who is enrolled, or stores anything.
"""
