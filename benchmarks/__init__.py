"""Side-by-side measurements. ``make bench`` runs them and prints one table of ratios."""
