"""What people look at: tables, the page, plots."""
