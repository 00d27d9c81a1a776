"""Benchmarks: compare the speed of servers on this machine, in the same run. `make bench` runs them all."""
