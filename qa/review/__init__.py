"""Reports for people: tables, pages, charts, the model card, the comparison of runs."""
