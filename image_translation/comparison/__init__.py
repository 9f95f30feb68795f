"""From folders of runs to tables, statistics and one page; nothing here needs torch."""
