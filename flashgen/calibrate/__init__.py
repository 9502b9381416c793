"""A target's fitted numbers, from attention kernels measured on the GPU at hand (``flashgen calibrate``)."""
