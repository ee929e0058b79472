"""WordNet: the noun synsets included in labelkit, other copies, and names matched to synsets."""
