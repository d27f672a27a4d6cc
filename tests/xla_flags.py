"""What XLA is told in the tests, by the environment variable XLA_FLAGS."""

from importlib import metadata

# Compilation is most of the tests' time, so programs are left unoptimised.
UNOPTIMISED = '--xla_backend_optimization_level=0'
if metadata.version('jaxlib').startswith('0.10.'):
  # Its newer way to compile takes three times as long; later versions have no
  # other.
  UNOPTIMISED += ' --xla_cpu_use_fusion_emitters=false'
TWO_DEVICES = f'{UNOPTIMISED} --xla_force_host_platform_device_count=2'
