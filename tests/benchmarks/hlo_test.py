"""Costs are added up as the program runs: loops, branches, collectives."""

# ruff: noqa: E501 - a line of a program is one

from benchmarks import hlo

PROGRAM = """
HloModule jit_step

%body (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  ROOT %f1 = f32[8]{0} fusion(%x), kind=kLoop, calls=%c, metadata={op_name="jit(step)/jvp(Net)/block1/unit1/add"}, backend_config={"window_config":{"estimated_cycles":"100"}}
}

%then (y: f32[8]) -> f32[8] {
  ROOT %f2 = f32[8]{0} fusion(%y), kind=kLoop, calls=%c, metadata={op_name="jit(step)/mul"}, backend_config={"window_config":{"estimated_cycles":"7"}}
}

%else (z: f32[8]) -> f32[8] {
  ROOT %f3 = f32[8]{0} copy(%z), metadata={op_name="jit(step)/copy"}
}

ENTRY %main (p: f32[8], q: bf16[4,4]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  %q = bf16[4,4]{1,0} parameter(1)
  %w = f32[8]{0} while(%p), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %b = f32[8]{0} CONDITIONAL
  %s = bf16[4,4]{1,0} sort(%q), dimensions={0}, metadata={op_name="jit(step)/transpose(jvp(Net))/block1/unit1/sort"}
  %start = (f32[8]{0}, f32[8]{0}) copy-start(%p)
  %v = f32[8]{0} custom-call(%p), custom_call_target="ConcatBitcast"
  ROOT %r = f32[8]{0} all-reduce(%b), replica_groups={}, to_apply=%sum
}
"""
BRANCHES = (
  'conditional(%i, %w, %w), branch_computations={%then, %else}',
  'conditional(%i, %w, %w), true_computation=%then, false_computation=%else',
)


def test_costs_are_added_up_and_told_apart_by_module():
  for branches in BRANCHES:
    program = hlo.parse(PROGRAM.replace('CONDITIONAL', branches))
    assert program.total('cycles') == 3 * 100 + 7
    # A sort and a copy have no estimate: what they read and write. The copy's
    # operand is a parameter that the text does not declare.
    assert program.total('bytes') == 2 * 16 * 2 + 8 * 4
    assert program.total('collectives') == 1
    assert program.total('collective_bytes') == 8 * 4
    modules = program.by_module()
    assert modules['block1/unit1']['cycles'] == 300
    assert modules['backward block1/unit1']['bytes'] == 64
