"""Benchmarks, one thing measured a file: ``Options``, ``run(options)`` here and ``measure(settings)`` in a process."""
