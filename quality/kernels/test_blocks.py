"""A block is an island: what is around it, how many there are, and what was called before, changes nothing in it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from fixtures.strategies import batches, blocks, fewer, seeds

pytestmark = pytest.mark.needs("quantize", "locality")


def same(first, second):
    """Whether two blocks' or batches' stored arrays are equal to the bit."""
    return all(np.array_equal(first[name].view(np.uint8), second[name].view(np.uint8)) for name in first)


def part(stored, index):
    return {name: np.ascontiguousarray(array[index]) for name, array in stored.items()}


@given(batches(), st.integers(0, 3), st.integers(0, 255), st.floats(-1, 1, width=32))
@fewer(2)
def test_changing_a_value_changes_its_block_alone(kernel, batch, number, position, share):
    values = kernel.values([*batch, batch[0]])
    number, changed = number % len(values), values.copy()
    changed[number, position % kernel.form.block] = share * np.abs(values[number]).max()
    others = [each for each in range(len(values)) if each != number]

    before, after = kernel.quantize(values), kernel.quantize(changed)

    assert same(part(before, others), part(after, others))


@given(batches(), seeds())
@fewer(2)
def test_order_of_blocks(kernel, batch, seed):
    values = kernel.values(batch)
    order = np.random.default_rng(seed).permutation(len(values))

    assert same(part(kernel.quantize(values), order), kernel.quantize(values[order]))


@given(batches(most=2), seeds())
@fewer(40)
def test_many_blocks_are_as_each_alone(kernel, batch, seed):
    rng, few = np.random.default_rng(seed), kernel.values(batch)
    count = 2**19 // (4 * kernel.form.block) + 3
    many = few[rng.integers(len(few), size=count)] * rng.choice((1, 0.5, 0.25), (count, 1)).astype(np.float32)
    picked = rng.integers(count, size=20)

    whole, alone = kernel.quantize(many), kernel.quantize(many[picked])

    assert same(part(whole, picked), alone)
    assert np.array_equal(kernel.decode(whole)[picked], kernel.decode(alone))


class Calls(RuleBasedStateMachine):
    """Calls in any order: the first answer for each input is the answer ever after."""

    kernel = None

    def __init__(self):
        super().__init__()
        self.first, self.read = {}, {}

    def offers(self, method):
        return method in self.kernel.kernel.offers

    @rule(block=blocks(), scale=st.sampled_from((1.0, -1.0, 0.5)))
    def quantize(self, block, scale):
        values = self.kernel.values([block]) * np.float32(abs(scale) if self.unsigned else scale)
        self.remember(self.first, values.tobytes(), self.kernel.quantize(values))

    @precondition(lambda self: self.first)
    @rule(data=st.data())
    def again(self, data):
        key = data.draw(st.sampled_from(list(self.first)))
        values = np.frombuffer(key, np.float32).reshape(1, -1)
        self.remember(self.first, key, self.kernel.quantize(values))

    @precondition(lambda self: self.first)
    @rule(data=st.data(), block=blocks())
    def among_others(self, data, block):
        # An answer that some earlier call left behind is found out by asking for the same in another call.
        key = data.draw(st.sampled_from(list(self.first)))
        values = np.concatenate([self.kernel.values([block]), np.frombuffer(key, np.float32).reshape(1, -1)])
        self.remember(self.first, key, part(self.kernel.quantize(values), [1]))

    @precondition(lambda self: self.first and self.offers("dequantize"))
    @rule(data=st.data())
    def dequantize(self, data):
        key = data.draw(st.sampled_from(list(self.first)))
        self.remember(self.read, key, {"values": self.kernel.dequantize(self.first[key])})

    @precondition(lambda self: self.offers("set_threads"))
    @rule(threads=st.integers(1, 3))
    def set_threads(self, threads):
        self.kernel.call("set_threads", form=self.kernel.form.name, threads=threads)

    def teardown(self):
        if self.offers("set_threads"):
            self.kernel.call("set_threads", form=self.kernel.form.name, threads=0)

    @property
    def unsigned(self):
        return self.kernel.form.levels is not None and self.kernel.form.levels[0] >= 0

    def remember(self, known, key, answer):
        self.last = known.setdefault(key, answer), answer

    @invariant()
    def answers_repeat(self):
        assert same(*getattr(self, "last", ({}, {})))


def test_earlier_calls_change_nothing(kernel):
    machine = type("Calls", (Calls,), {"kernel": kernel})

    run_state_machine_as_test(machine, settings=settings(fewer(13), stateful_step_count=15))
