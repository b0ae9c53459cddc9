"""Self-contained HTML: a page a chart, a report a sweep, several sweeps over one another."""
