"""A sweep on Ray: workers, and who hears of them."""
