"""Benchmarks. Each is a dataclass of options whose method ``measure`` returns one row of measurements per setting."""
