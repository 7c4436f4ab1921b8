"""Progress bars, ordered threads, and text that may be shown: what any program needs."""
