"""Progress bars, ordered threads, and text that is safe to show: parts that any program needs."""
