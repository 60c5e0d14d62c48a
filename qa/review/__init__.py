"""What people look at: tables, pages, charts, the model card, the comparison of runs."""
