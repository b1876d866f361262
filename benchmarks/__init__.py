"""Benchmarks: `make bench`, `make bench-check`, `make bench-parts`. README.md says what each row means."""
