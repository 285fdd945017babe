"""Topic-guided text generation: Wang et al. 2019 and the family around it."""
