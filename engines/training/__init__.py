"""Training, export and evaluation of bundles; needs the [train] extra."""
