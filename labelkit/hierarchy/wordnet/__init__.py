"""WordNet: the nouns that come with labelkit, and any other copy. Loads no tensors."""
