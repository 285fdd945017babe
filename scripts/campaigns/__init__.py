"""Long trials of what can go wrong, a module each; see ``scripts/campaign.py``."""
