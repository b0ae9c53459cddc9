"""Speed benchmarks; `make bench` runs them."""
