"""Benchmarks: how fast a server is on this machine, beside others in the same run. `make bench` runs them all."""
