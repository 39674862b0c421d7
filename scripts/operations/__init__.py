"""What scripts/operate.py is made of."""
