"""Windows → batches: which windows an epoch has and in which order, as a function of the seed."""
