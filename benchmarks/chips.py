"""TPUs in numbers."""

# bfloat16 FLOP/s, clock in Hz, bytes/s and bytes of memory of a chip: Google's
# data sheets, and the clocks that fit libtpu's estimates.
CHIPS = {
  'v4': (275e12, 1.05e9, 1228e9, 32 * 2**30),
  'v5e': (197e12, 1.5e9, 819e9, 16 * 2**30),
  'v5p': (459e12, 1.75e9, 2765e9, 95 * 2**30),
}

# Dollars a chip and hour, assumed: list prices change and differ by region, and
# spot capacity costs less (https://cloud.google.com/tpu/pricing).
PRICES = {'v4': 3.22, 'v5e': 1.20, 'v5p': 4.20}
