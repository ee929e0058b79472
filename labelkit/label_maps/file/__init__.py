"""The label-map file: layout, codec, reader, writer, merge and reuse."""
