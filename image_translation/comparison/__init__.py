"""From run folders to tables, statistics and one HTML page. Nothing here needs torch."""
