"""Reads costs out of a compiled program's text (XLA's HLO).

libtpu writes its estimate of the cycles into most operations. Of those without
one, the bytes that they read and write are added up instead; collectives are
counted by themselves, and asynchronous copies, which run beside the rest, not
at all.
"""

import collections
import dataclasses
import functools
import re

_BYTES = {
  'pred': 1, 's8': 1, 'u8': 1, 's16': 2, 'u16': 2, 'bf16': 2, 'f16': 2,
  's32': 4, 'u32': 4, 'f32': 4, 's64': 8, 'u64': 8, 'f64': 8, 'c64': 8,
}  # fmt: skip
_SHAPE = re.compile(r'\b([a-z]+\d*)\[([\d,]*)\]')
_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.\-]+) .*\{$')
_INSTRUCTION = re.compile(
  r'^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$'
)
_COLLECTIVES = (
  'all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all',
  'collective-permute',
)  # fmt: skip
# Nothing is moved by these, or beside the rest.
_FREE = (
  'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'iota',
  'after-all', 'partition-id', 'replica-id', 'opt-barrier', 'copy-start',
  'copy-done', 'slice-start', 'slice-done', 'async-start', 'async-update',
  'async-done', 'while',
)  # fmt: skip
_VIEW = 'custom_call_target="ConcatBitcast"'  # of what such a copy has brought


@dataclasses.dataclass(frozen=True)
class Instruction:
  """An operation, with its own costs."""

  kind: str
  module: str  # where in the network it is from
  costs: collections.Counter  # cycles, bytes, collectives, collective_bytes
  called: tuple[tuple[str, int], ...]  # computations and how often


class Program:
  """The computations of a program, and what they cost."""

  def __init__(self, computations: dict[str, list[Instruction]], entry: str):
    self._computations = computations
    self._entry = entry

  def total(self, cost: str) -> float:
    """'cycles', 'bytes', 'collectives' or 'collective_bytes' of all."""
    return sum(costs[cost] for costs in self.by_module().values())

  def by_module(self) -> dict[str, collections.Counter]:
    """Costs by module, loops counted as often as they run."""
    return self._costs(self._entry)

  @functools.cache  # noqa: B019 - programs are few
  def _costs(self, name: str) -> dict[str, collections.Counter]:
    found = collections.defaultdict(collections.Counter)
    for instruction in self._computations[name]:
      found[instruction.module].update(instruction.costs)
      for called, times in instruction.called:
        for module, costs in self._costs(called).items():
          for cost, value in costs.items():
            found[module][cost] += value * times
    return dict(found)


def parse(text: str) -> Program:
  """Reads a compiled program's `as_text()`."""
  computations, entry, shapes, rows = {}, None, {}, None
  for line in text.splitlines():
    if header := _COMPUTATION.match(line):
      shapes, rows = {}, []
      computations[header[2]] = rows
      entry = header[2] if header[1] else entry
    elif rows is not None and (match := _INSTRUCTION.match(line)):
      name, shape, kind, rest = match.groups()
      shapes[name] = _size(shape)
      rows.append(_instruction(shape, kind, rest, shapes))
  return Program(computations, entry)


def _instruction(
  shape: str, kind: str, rest: str, shapes: dict[str, int]
) -> Instruction:
  costs = collections.Counter()
  operands = re.findall(r'%([\w.\-]+)', rest.partition(')')[0])
  base = kind.removesuffix('-start')
  estimate = re.search(r'"estimated_cycles":"(\d+)"', rest)
  if base in _COLLECTIVES:
    costs['collectives'] = 1
    costs['collective_bytes'] = sum(shapes.get(o, 0) for o in operands)
  elif estimate:
    costs['cycles'] = int(estimate[1])
  elif not (kind in _FREE or kind.endswith('-done') or _VIEW in rest):
    costs['bytes'] = _size(shape) + sum(shapes.get(o, 0) for o in operands)
  called = ()
  if kind == 'while':
    times = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', rest)
    body = re.search(r'body=%?([\w.\-]+)', rest)[1]
    called = ((body, int(times[1]) if times else 1),)
  elif kind in ('call', 'async-start'):
    names = re.findall(r'(?:to_apply|calls)=%?([\w.\-]+)', rest)
    called = tuple((name, 1) for name in names)
    costs.clear()
  elif kind == 'conditional':
    names = re.search(r'branch_computations=\{([^}]*)\}', rest)
    names = (
      names[1]
      if names
      else ','.join(
        re.findall(r'(?:true|false)_computation=%?([\w.\-]+)', rest)
      )
    )
    called = tuple((name, 1) for name in re.findall(r'[\w.\-]+', names))
    costs.clear()
  return Instruction(kind, _module(rest), costs, called)


def _module(rest: str) -> str:
  """The network's part that an operation is from, its forms left out."""
  found = re.search(r'op_name="([^"]*)"', rest)
  if not found:
    return '(none)'
  backward = 'transpose(' in found[1]
  parts = [
    part
    for part in found[1].split('/')
    if not re.match(
      r'(jit|pmap|jvp|transpose|vmap|shard_map|while|body)\b', part
    )
  ]
  return ('backward ' if backward else '') + '/'.join(parts[:-1][:4])


def _size(shape: str) -> int:
  """Bytes of a shape or of a tuple of them."""
  size = 0
  for kind, dims in _SHAPE.findall(shape):
    count = 1
    for dim in filter(None, dims.split(',')):
      count *= int(dim)
    size += count * _BYTES.get(kind, 0)
  return size
