"""The GPU preset, compiled for cards that are not there."""

import re
from importlib import metadata

import gpu_compile
import gpu_program
import pytest

needs_cuda = pytest.mark.skipif(
    not gpu_compile.has_cuda(), reason='jax\'s CUDA plugin is absent: pip install -e ".[cuda]"'
)
HLO = """
%fused_gather (param_0.1: f32[1000,2], param_1.2: s32[10,1]) -> f32[10,2] {
  %param_1.2 = s32[10,1]{1,0} parameter(1)
  %param_0.1 = f32[1000,2]{1,0} parameter(0)
  ROOT %gather.1 = f32[10,2]{1,0} gather(%param_0.1, %param_1.2), slice_sizes={1,2}
}

%fused_scatter (param_0.3: f32[1000,2], param_1.4: s32[10,1], param_2.5: f32[10,2]) -> f32[1000,2] {
  %param_0.3 = f32[1000,2]{1,0} parameter(0)
  %param_1.4 = s32[10,1]{1,0} parameter(1)
  %param_2.5 = f32[10,2]{1,0} parameter(2)
  ROOT %scatter.1 = f32[1000,2]{1,0} scatter(%param_0.3, %param_1.4, %param_2.5), WINDOW
}

%body (state: (f32[1000,2], s32[10,1])) -> (f32[1000,2], s32[10,1]) {
  %state = (f32[1000,2]{1,0}, /*index=1*/s32[10,1]{1,0}) parameter(0)
  %table = f32[1000,2]{1,0} get-tuple-element(%state), index=0
  %index = s32[10,1]{1,0} get-tuple-element(%state), index=1
  %rows = f32[10,2]{1,0} fusion(%table, %index), kind=kLoop, calls=%fused_gather
  %new = f32[1000,2]{1,0} fusion(%table, %index, %rows), kind=kInput, calls=%fused_scatter
  ROOT %tuple.1 = (f32[1000,2]{1,0}, s32[10,1]{1,0}) tuple(%new, %index)
}

%condition (state.1: (f32[1000,2], s32[10,1])) -> pred[] {
  %state.1 = (f32[1000,2]{1,0}, s32[10,1]{1,0}) parameter(0)
  ROOT %go = pred[] constant(true)
}

ENTRY %main (p.0: f32[1000,2], p.1: s32[10,1]) -> f32[1000,2] {
  %p.0 = f32[1000,2]{1,0} parameter(0)
  %p.1 = s32[10,1]{1,0} parameter(1)
  %both = (f32[1000,2]{1,0}, s32[10,1]{1,0}) tuple(%p.0, %p.1)
  %loop = (f32[1000,2]{1,0}, s32[10,1]{1,0}) while(%both), condition=%condition, body=%body, TRIPS
  ROOT %out = f32[1000,2]{1,0} get-tuple-element(%loop), index=0
}
""".replace("TRIPS", 'backend_config={"known_trip_count":{"n":"7"}}')
HLO = HLO.replace("WINDOW", "update_window_dims={1}")
SECTORS, TABLE, INDEX, ROWS = 10 * 32, 8000, 40, 80


@pytest.mark.parametrize(
    ("l2_bytes", "expected"),
    [
        # The gather reads, the scatter reads and writes, the sectors of ten rows.
        (0, (SECTORS + INDEX + ROWS) + (2 * SECTORS + INDEX + ROWS)),
        (2**20, (SECTORS + INDEX + ROWS) + (2 * SECTORS + INDEX + ROWS)),
    ],
)
def test_a_table_is_counted_by_what_is_touched(l2_bytes: int, expected: int):
    cost = gpu_program.step_cost(gpu_program.parse(HLO), l2_bytes)
    assert (cost.num_kernels, cost.num_bytes) == (2, expected)


def test_a_table_in_the_cache_is_read_once_at_most():
    many = HLO.replace("[10,", "[9000,")
    cost = gpu_program.step_cost(gpu_program.parse(many), l2_bytes=TABLE)
    assert cost.num_bytes == (TABLE + 9000 * 12) + (2 * TABLE + 9000 * 12)


def test_loops_multiply_and_those_of_unknown_length_ask_the_host():
    assert gpu_program.cost(gpu_program.parse(HLO)).num_kernels == 14
    unknown = gpu_program.parse(re.sub(r", backend_config=.*", "", HLO))
    assert gpu_program.cost(unknown).num_kernels == 2
    assert gpu_program.cost(unknown).host_loops == 1
    with pytest.raises(ValueError, match="not one scan"):
        gpu_program.step_cost(unknown)


def test_atomics_are_told_apart():
    ptx = """
    atom.relaxed.sys.global.cas.b32 %r1, [%rd1], %r2, %r3;
    atom.global.v2.f32.add {%f1, %f2}, [%rd1], {%f3, %f4};
    red.relaxed.sys.global.add.f32 [%rd1], %f1;
    redux.sync.add.s32 %r1, %r2, 0xffffffff;
    atom.relaxed.sys.global.max.s32 %r1, [%rd1], %r2;
    """
    assert gpu_program.atomics([ptx]) == {"compare_and_swap": 1, "add": 2}


@pytest.mark.parametrize("card", gpu_compile.CARDS)
def test_the_cards_are_described(card: str):
    found = gpu_compile.describe(card)
    assert found["name"].startswith("NVIDIA")
    assert 8e9 < found["memory"] < 1e11
    assert 2e11 < found["bandwidth"] < 1e13
    assert 2e6 < found["l2"] < 1e8


@needs_cuda
@pytest.mark.slow
def test_the_flag_replaces_compare_and_swap_by_additions():
    atomics = gpu_compile.in_a_process("rtx3060", "compiler.scatter_add()")
    assert atomics["compare_and_swap"] == 0
    assert atomics["add"] > 0
    if (0, 10, 2) <= tuple(map(int, metadata.version("jaxlib").split(".")[:3])) <= (0, 11, 0):
        without = gpu_compile.in_a_process("rtx3060", "compiler.scatter_add()", xla_flags=" ")
        assert without["compare_and_swap"] > 0


@needs_cuda
@pytest.mark.slow
def test_a_step_never_waits_for_the_host_and_fits_the_smallest_card():
    (step,) = gpu_compile.in_a_process("rtx3060", "compiler.preset('lego.py', render=False)")
    assert step["host_loops"] == step["branches"] == 0
    assert step["compare_and_swap"] == 0
    assert step["add"] > 0
    assert step["memory"] < 0.75 * step["card_memory"]  # of which jax reserves three quarters
