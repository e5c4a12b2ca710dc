"""Sources of labelled images: files, arrays, data sets known by name."""
