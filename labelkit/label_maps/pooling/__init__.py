"""LabelPooling: the mean of a label map over a crop, for one crop or a batch of them."""
