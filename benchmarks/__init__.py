"""Measurements that anyone can rerun: `make bench`. Figures and what they mean are in benchmarks/README.md."""
